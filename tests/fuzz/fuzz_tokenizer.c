/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json: any bytes as one, and behind a NUL as tokenizer_config.json. See vocabulary.h.
 */
#include "target.h"
#include "vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    vocabulary_try(data, bytes, "tokenizer.json", "tokenizer_config.json", "tokenizer.json");
    return 0;
}
