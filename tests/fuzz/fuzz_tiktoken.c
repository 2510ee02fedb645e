/* SPDX-License-Identifier: MIT
 *
 * tiktoken.model: any bytes as one, and behind a NUL as tokenizer_config.json, without which there
 * is no vocabulary of this form. See vocabulary.h.
 */
#include "target.h"
#include "vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    vocabulary_try(data, bytes, "tiktoken.model", "tokenizer_config.json", "tokenizer_config.json");
    return 0;
}
