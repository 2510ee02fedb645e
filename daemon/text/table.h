/* SPDX-License-Identifier: MIT
 *
 * The token table of a model file, checked: what every id stands for and what it may be used for.
 *
 * Read once by vocab_open, immutable afterwards; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct meta;

enum token_flags {
    TOKEN_ADDED = 1,   /* plain text, found by search; never the result of a merge */
    TOKEN_SPECIAL = 2, /* an added one that content must not produce */
    TOKEN_UNUSED = 4,  /* padding: never found, never sampled */
    TOKEN_END = 8,     /* ends a generation */
};

struct token_table {
    int32_t n;
    uint8_t *flags;   /* [n] token_flags */
    uint32_t *at;     /* [n + 1] where the bytes of a token begin */
    char *bytes;      /* of all tokens, one after the other */
    size_t max_bytes; /* of the longest */
};

/* -EINVAL names the token that is wrong; -ENOMEM. `ret` is zeroed by the caller. */
int token_table_read(const struct meta *meta, struct token_table *ret, struct err *err);
void token_table_fini(struct token_table *table);

static inline const char *token_table_bytes(const struct token_table *table, int32_t id,
                                            size_t *bytes)
{
    *bytes = table->at[id + 1] - table->at[id];
    return table->bytes + table->at[id];
}
