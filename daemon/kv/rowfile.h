/* SPDX-License-Identifier: MIT
 *
 * Rows of the cache as a file: a head that says whose and of what they are, then a block a page.
 *
 *     head     struct head of rowfile.c: magic, version, key, counts
 *              a sum, a size and a coding for each block; tokens; one bit a row; the name
 *              a sum of all that
 *     blocks   pages in token order, as they lie in memory or packed by zstd
 *
 * The head is read whole and checked when a file is opened, blocks when they are read. Sums are
 * XXH3, 128 bits for the head and 64 for a block: it hashes faster than memory reads, so that every
 * byte can be checked at every use, and covers also what is not packed, which a zstd frame's own 32
 * bits do not. It finds accidents; against forgery stands that nobody else may write the folder.
 *
 * Numbers are in the machine's byte order: a file never leaves it. The caller's descriptors,
 * tokens and pages are borrowed. Any thread; store.h keeps all calls on one.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

enum {
    ROWFILE_MOST_TOKENS = 1 << 22,
    ROWFILE_MOST_NAME = 63,
    ROWFILE_MOST_PAGE = 1 << 28, /* bytes */
};

/* Whose rows, and of what. Two rows are the same only if all of this is, and the tokens up to them.
 */
struct rowfile_key {
    uint64_t model[2]; /* digest of the weights */
    uint64_t kind[2];  /* digest of what a row and a page are, and of the arithmetic behind them */
    uint32_t uid;
    uint32_t page_bytes;
};

struct rowfile_text {
    const int32_t *token;
    int n_tokens;
    int n_rows;            /* of the first tokens; at least 1 */
    const uint8_t *answer; /* bit i % 8 of byte i / 8: row i was made by an answer's arithmetic */
    const char *name;      /* "": none */
};

struct rowfile {
    struct rowfile_key key;
    struct rowfile_text text;
    uint64_t bytes;  /* the file's */
    uint64_t sum[2]; /* the head's: no other file has it */
    int n_pages;

    const struct rowfile_block *block;
    uint64_t head_bytes;
    void *memory; /* what the pointers point into */
};

/* Pages of that many rows, and bytes of the file if nothing can be packed. */
int rowfile_pages(int n_rows);
uint64_t rowfile_most_bytes(const struct rowfile_key *key, const struct rowfile_text *text);

/**
 * Write a file and sync it.
 *
 *   fd      an empty file
 *   page    page[rowfile_pages(n_rows)]; what lies behind the last row is written too
 *   fails   -ENOSPC, -EIO … as the disk does; -ENOMEM
 */
int rowfile_write(int fd, const struct rowfile_key *key, const struct rowfile_text *text,
                  void *const *page, struct err *err);

/**
 * Read and check a head.
 *
 *   fails   -ESTALE   of another kind, version or byte order: none of our business
 *           -EBADMSG  ours, but cut or changed
 *           -EIO … as the disk does; -ENOMEM
 */
int rowfile_open(int fd, struct rowfile **ret, struct err *err);
void rowfile_close(struct rowfile *file); /* not the descriptor */
OWN_DEFINE(rowfile, rowfile_close);

/**
 * Read some pages of a file and check them.
 *
 *   page    page[i] gets page i, for from <= i < n_pages
 *   fails   -EBADMSG for a changed block; -EIO … as the disk does; -ENOMEM. All of these pages are
 *           zeros then, so that no half of an answer is left in them.
 */
int rowfile_read(const struct rowfile *file, int fd, int from, int n_pages, void *const *page,
                 struct err *err);
