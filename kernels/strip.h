/* SPDX-License-Identifier: MIT
 *
 * Strips: how formats of integer codes are packed for vectors of 16 rows.
 *
 * A strip is 16 rows of weights, cut into groups of 256 columns. A group's blocks are turned word
 * by word: word i of a block is followed by word i of the same block of the next row, so that one
 * register holds the same four bytes of 16 rows, and a product with four numbers of x adds up 16
 * results at once. What of a block makes no whole word, a half float or an exponent, stands before
 * the words of its group, block by block. Nothing is added or lost: a strip has the bytes of its
 * rows, and the last one of a matrix is filled up with zeros.
 *
 * Fifth bits that count by weight (Q5_0, Q5_1) are turned as well: bit i of byte b of their word is
 * that of weight 4i + b, where the weight itself is found.
 */
#pragma once

#include <stdbool.h>

#include "mk.h"

enum { STRIP_ROWS = 16 };

/* What of a block is no part of a word: `bytes` of them from `at` on. */
struct strip_lone {
    int at, bytes;
};

/*  X(enumerator) for each format that is packed so: first those whose own codes are so coarse that
 *  rounding their weights to int8 adds little to the error that they have, then the others */
#define STRIP_COARSE_TYPES(X)                                                                      \
    X(Q4_0)                                                                                        \
    X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4)
#define STRIP_TYPES(X) STRIP_COARSE_TYPES(X) X(Q6_K) X(Q8_0)

/*  X(enumerator) for each that stays as rows of the file */
#define PLAIN_TYPES(X)                                                                             \
    X(F32)                                                                                         \
    X(F16)                                                                                         \
    X(BF16)                                                                                        \
    X(IQ1_S) X(IQ1_M) X(IQ2_XXS) X(IQ2_XS) X(IQ2_S) X(IQ3_XXS) X(IQ3_S) X(NVFP4) X(FP8_E4M3)

static inline bool strip_has(enum mk_type type)
{
#define STRIP_IS(id) || type == MK_##id
    return false STRIP_TYPES(STRIP_IS);
#undef STRIP_IS
}

static inline struct strip_lone strip_lone(enum mk_type type)
{
    switch (type) {
    case MK_Q8_0:
    case MK_Q4_0:
    case MK_Q5_0:
    case MK_IQ4_NL:
        return (struct strip_lone){0, 2};
    case MK_MXFP4:
        return (struct strip_lone){0, 1};
    case MK_Q3_K:
        return (struct strip_lone){108, 2};
    case MK_Q6_K:
        return (struct strip_lone){208, 2};
    default:
        return (struct strip_lone){0, 0};
    }
}

/* Words of a block. */
static inline int strip_words(enum mk_type type)
{
    return ((int)mk_type_info[type].block_bytes - strip_lone(type).bytes) / 4;
}

/* Which word of a block holds fifth bits by weight; -1: none does. */
static inline int strip_fifths(enum mk_type type)
{
    return type == MK_Q5_0 ? 0 : type == MK_Q5_1 ? 1 : -1;
}

/* Bytes of the strips of [n][k]. */
static inline size_t strip_bytes(enum mk_type type, int n, int k)
{
    size_t strips = ((size_t)n + STRIP_ROWS - 1) / STRIP_ROWS;
    return strips * STRIP_ROWS * mk_row_bytes(type, (size_t)k);
}

/* Rows of a file to strips, in plain C. */
void mk_strip_pack(enum mk_type type, void *dst, const void *src, int n, int k);
/* Row j of strips, unpacked. */
void mk_strip_unpack(enum mk_type type, const void *strips, float *dst, int k, int j);
