/* SPDX-License-Identifier: MIT
 *
 * Pre-tokenizers: where a text is cut before pairs are merged.
 *
 * The rules of a vocabulary are data: an ordered list of regular expressions, one row of a table
 * for each. Every expression runs inside every piece the ones before it left; its matches and the
 * gaps between them become pieces. A piece is all an expression sees: its end is the end of text
 * for look-ahead, look-behind and anchors. Immutable once open; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

enum { PRETOK_MAX_PATTERNS = 8 };

struct pretok_rules {
    const char *name;                              /* tokenizer.ggml.pre */
    const char *patterns[PRETOK_MAX_PATTERNS + 1]; /* PCRE2 with UTF and UCP; ended by NULL */
    bool whole; /* pieces that are a token become it unmerged, unless the file says otherwise */
};

extern const struct pretok_rules pretok_table[]; /* ended by a row without a name */

struct pretok;

/* The row of a name, or NULL. */
const struct pretok_rules *pretok_find(const char *name);

/**
 * Compile rules. Where the machine forbids code made at run time, matching is interpreted: slower,
 * the same pieces.
 *
 *   fails   -EINVAL naming the pattern and where it is wrong; -ENOMEM
 */
int pretok_open(const struct pretok_rules *rules, struct pretok **ret, struct err *err);
void pretok_close(struct pretok *pretok);
OWN_DEFINE(pretok, pretok_close);

/* Takes one piece, never empty; a negative value ends the split and is handed on. */
typedef int (*pretok_emit)(void *arg, const char *piece, size_t bytes);

/**
 * Cut a text into pieces, in order. Together they are the text. A byte that belongs to no UTF-8
 * character is a piece of its own, and the expressions do not see across it.
 *
 *   fails   -EINVAL when an expression gives up at the match or heap limit; -ENOMEM; what emit says
 */
int pretok_split(const struct pretok *pretok, const char *text, size_t bytes, pretok_emit emit,
                 void *arg, struct err *err);
