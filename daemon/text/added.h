/* SPDX-License-Identifier: MIT
 *
 * Finds added tokens in raw text: leftmost, then longest.
 *
 * Immutable once open; any thread. A search costs at most the longest added token for each byte
 * of the text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct token_table;

struct added { /* a tree of bytes; node 0 is the root */
    struct added_node *nodes;
    uint32_t n, room;
    uint32_t first[256]; /* children of the root, 0: none */
};

/* -EINVAL names two added tokens with the same text; -ENOMEM. `ret` is zeroed by the caller. */
int added_init(struct added *ret, const struct token_table *table, struct err *err);
void added_fini(struct added *added);

/* The first match in the text; special ones only if asked for. Returns its id and where it lies,
 * or -1. */
int32_t added_search(const struct added *added, const struct token_table *table, const char *text,
                     size_t bytes, bool special, size_t *start, size_t *end);
/* The token that has exactly this text, or -1. */
int32_t added_find(const struct added *added, const char *text, size_t bytes);
