/* SPDX-License-Identifier: MIT
 *
 * tiktoken.model, the vocabulary that Kimi-K2 and Moonlight publish: a token in base64 and its rank
 * a line. Ranks are ids, and pairs merge by the rank of what comes out, so the merges are not
 * written down; they are found here. One thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct hf_text;
struct hf_vocab;

/* Ids kept behind the ranks; special tokens are some of them, as tokenizer_config.json says. */
enum { HF_TIKTOKEN_RESERVED = 256 };

/* The tokens, their merges and the splitting rule into an empty vocabulary. The file's text is used
 * up. -EINVAL naming the line at fault. */
int hf_tiktoken_read(struct hf_text *file, struct hf_vocab *vocab, struct err *err);
/* Ids below `end` that no special token claimed become unused tokens, named as Kimi's code does. */
void hf_tiktoken_reserve(struct hf_vocab *vocab, uint32_t end);
