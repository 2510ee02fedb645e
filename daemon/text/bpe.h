/* SPDX-License-Identifier: MIT
 *
 * Byte pair encoding: one piece of text to ids, merging neighbours by rank.
 *
 * The tables are immutable once open; any thread, with a bpe_work of its own. Only ordinary tokens
 * can come out: neither a byte nor a merge leads to an added token.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct meta;
struct token_table;
struct ids;
struct bpe;

/* Scratch of one caller; zeroed is empty. */
struct bpe_work {
    struct bpe_symbol *symbols;
    struct bpe_pair *heap;
    size_t n_symbols, n_heap, heap_room, symbol_room;
};
void bpe_work_fini(struct bpe_work *work);

/**
 * Read tokenizer.ggml.merges against the tokens of the same file, which are kept in sight.
 *
 *   whole   a piece that is a token becomes it, even where no merges lead there
 *   fails   -EINVAL naming the token or merge: spelled twice, malformed, of unknown parts, or no
 *           token for a byte that UTF-8 needs; -ENOMEM
 */
int bpe_open(const struct meta *meta, const struct token_table *table, bool whole, struct bpe **ret,
             struct err *err);
void bpe_close(struct bpe *bpe);
OWN_DEFINE(bpe, bpe_close);

/**
 * Append the ids of a piece. Takes n log n, whatever the piece.
 *
 *   fails   -ENOMEM; -EINVAL for a byte outside UTF-8 that the vocabulary has no token for
 */
int bpe_encode(const struct bpe *bpe, struct bpe_work *work, const char *piece, size_t bytes,
               struct ids *ret, struct err *err);
