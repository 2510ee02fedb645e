/* SPDX-License-Identifier: MIT
 *
 * A vocabulary while it is gathered from a checkpoint's files: texts by id, merges in their order.
 * Texts are borrowed until hf_vocab_put() has copied them. One thread owns it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/json.h"

struct meta;

enum { HF_MAX_TOKENS = 1 << 18, HF_MAX_MERGES = 1 << 19 };

enum hf_token { HF_ABSENT = 0, HF_NORMAL = 1, HF_CONTROL = 3, HF_ADDED = 4, HF_UNUSED = 5 };

struct hf_slot {
    const char *text;
    uint32_t bytes;
    uint8_t kind; /* enum hf_token: the type that a GGUF file gives it */
};

struct hf_vocab {
    struct hf_slot *slot; /* by id */
    uint32_t n, room;     /* the highest id and one */
    char *merges;         /* "left right", each ended by NUL */
    uint32_t *start;      /* n_merges + 1 offsets */
    size_t merge_bytes, merge_room;
    uint32_t n_merges, start_room;
    const char *pre;
    bool whole;       /* pieces that are a token become it, without merges */
    char *own;        /* of tiktoken.model: the texts, which no file holds as they are */
    uint32_t n_ranks; /* and how many of the ids are ranks; 0: there is tokenizer.json */
};

void hf_vocab_fini(struct hf_vocab *vocab);

/* Words of these come through the walk. An added token may stand for one of the vocabulary. */
int hf_vocab_add(struct json *json, struct hf_vocab *vocab, uint64_t id,
                 const struct json_text *text, enum hf_token kind);
/* One text "left right", or two apart. */
int hf_vocab_merge(struct json *json, struct hf_vocab *vocab, const struct json_text *left,
                   const struct json_text *right);
/* The id of an added token, -1: none. */
int64_t hf_vocab_find(const struct hf_vocab *vocab, const struct json_text *text);

/* The keys; ids up to `rows` that nobody claims become padding. Empties the vocabulary's merges. */
int hf_vocab_put(struct hf_vocab *vocab, const char *label, int rows, struct meta *meta,
                 struct err *err);
