/* SPDX-License-Identifier: MIT
 *
 * What a group of a strip holds, in pairs of registers of 8 rows: codes as bytes, and the integers
 * and floats that make weights of them, laid out for any number of rows of x to meet. All inlined,
 * with the type a constant.
 */
#pragma once

#include <immintrin.h>

#include "inline.h"
#include "strip.h"

/* How a format's codes are counted; ref/split.c says the same. */
struct counting {
    int part;       /* weights that share a scale */
    int log_offset; /* codes count from 1 << this; -1: from zero */
    int run;        /* words whose products with x, added up in pairs, fit 16 bits; 0: one, of codes
                     * that have a sign */
};

INLINE struct counting counting(enum mk_type type)
{
    switch (type) {
    case MK_Q8_0:
    case MK_IQ4_NL:
    case MK_IQ4_XS:
        return (struct counting){32, -1, 0};
    case MK_Q4_0:
        return (struct counting){32, 3, 8};
    case MK_Q5_0:
    case MK_MXFP4:
        return (struct counting){32, 4, 4};
    case MK_Q2_K:
        return (struct counting){16, -1, 4};
    case MK_Q3_K:
        return (struct counting){16, 2, 4};
    case MK_Q6_K:
        return (struct counting){16, 5, 2};
    case MK_Q5_1:
    case MK_Q5_K:
        return (struct counting){32, -1, 4};
    default: /* Q4_1, Q4_K */
        return (struct counting){32, -1, 8};
    }
}

INLINE bool has_minimum(enum mk_type type)
{
    return type == MK_Q4_1 || type == MK_Q5_1 || type == MK_Q2_K || type == MK_Q4_K ||
           type == MK_Q5_K;
}

INLINE int elements_of(enum mk_type type) /* of a block */
{
    return (int)mk_type_info[type].block_elements;
}

/* One block of 8 rows. */
struct column {
    const uint8_t *lone, *word;
};

/* Half h of block b of a group of `blocks` at `group`. */
INLINE struct column column(enum mk_type type, const uint8_t *group, int blocks, int b, int h)
{
    int lone = STRIP_ROWS * strip_lone(type).bytes;
    return (struct column){group + b * lone + h * lone / 2,
                           group + blocks * lone + (size_t)(b * strip_words(type)) * 64 + 32 * h};
}

INLINE __m256i word(struct column c, int i)
{
    return _mm256_loadu_si256((const void *)(c.word + (size_t)i * 64));
}

/* ------------------------------------------------------------------ codes */

/* Bits of v at `from` in each byte moved to `to`, under a mask of where they end up. */
INLINE __m256i move_bits(__m256i v, int from, int to, int mask)
{
    if (from > to)
        v = _mm256_srli_epi16(v, from - to);
    else if (from < to)
        v = _mm256_slli_epi16(v, to - from);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* What nibbles of uneven steps mean; plus 16 for MXFP4. */
INLINE __m256i uneven(enum mk_type type, __m256i nibble)
{
    const __m128i iq4 =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    const __m128i e2m1 =
        _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(type == MK_MXFP4 ? e2m1 : iq4), nibble);
}

/* Weights 4i … 4i + 3 of part p of a block, as codes. */
INLINE __m256i code(enum mk_type type, struct column c, int p, int i)
{
    int half = p / 8, pair = p % 8 / 2, at = 4 * (p % 2) + i; /* where parts are 16 */
    __m256i v;
    switch (type) {
    case MK_Q8_0:
        return word(c, i);
    case MK_Q4_0:
        return move_bits(word(c, i % 4), i / 4 * 4, 0, 15);
    case MK_Q4_1:
        return move_bits(word(c, 1 + i % 4), i / 4 * 4, 0, 15);
    case MK_IQ4_NL:
    case MK_MXFP4:
        return uneven(type, move_bits(word(c, i % 4), i / 4 * 4, 0, 15));
    case MK_IQ4_XS:
        return uneven(type, move_bits(word(c, 2 + 4 * p + i % 4), i / 4 * 4, 0, 15));
    case MK_Q5_0:
    case MK_Q5_1:
        v = move_bits(word(c, (type == MK_Q5_0 ? 1 : 2) + i % 4), i / 4 * 4, 0, 15);
        return _mm256_or_si256(v, move_bits(word(c, type == MK_Q5_0 ? 0 : 1), i, 4, 16));
    case MK_Q4_K:
        return move_bits(word(c, 4 + 8 * (p / 2) + i), p % 2 * 4, 0, 15);
    case MK_Q5_K:
        v = move_bits(word(c, 12 + 8 * (p / 2) + i), p % 2 * 4, 0, 15);
        return _mm256_or_si256(v, move_bits(word(c, 4 + i), p, 4, 16));
    case MK_Q6_K:
        v = move_bits(word(c, 16 * half + 8 * (pair & 1) + at), pair / 2 * 4, 0, 15);
        return _mm256_or_si256(v, move_bits(word(c, 32 + 8 * half + at), 2 * pair, 4, 48));
    case MK_Q2_K:
        return move_bits(word(c, 4 + 8 * half + at), 2 * pair, 0, 3);
    default: /* Q3_K */
        v = move_bits(word(c, 8 + 8 * half + at), 2 * pair, 0, 3);
        return _mm256_or_si256(v, move_bits(word(c, at), 4 * half + pair, 2, 4));
    }
}

/* ------------------------------------------------------------------ scales */

/* Bits of v from `from` on as 32-bit numbers. */
INLINE __m256i bits(__m256i v, int from, int mask)
{
    return _mm256_and_si256(_mm256_srli_epi32(v, from), _mm256_set1_epi32(mask));
}

/* Two bits of v at `from`, where a number of six bits has its highest. */
INLINE __m256i high_bits(__m256i v, int from)
{
    if (from < 4)
        v = _mm256_slli_epi32(v, 4 - from);
    else
        v = _mm256_srli_epi32(v, from - 4);
    return _mm256_and_si256(v, _mm256_set1_epi32(48));
}

/* The integer scale of part p, of blocks with parts. */
INLINE __m256i scale_of(enum mk_type type, struct column c, int p)
{
    const __m256i middle = _mm256_set1_epi32(32);
    switch (type) {
    case MK_Q2_K:
        return bits(word(c, p / 4), p % 4 * 8, 15);
    case MK_Q3_K:
        return _mm256_sub_epi32(
            _mm256_or_si256(bits(word(c, 24 + p % 8 / 4), p % 4 * 8 + p / 8 * 4, 15),
                            high_bits(word(c, 26), p % 4 * 8 + p / 4 * 2)),
            middle);
    case MK_Q4_K:
    case MK_Q5_K:
        if (p < 4)
            return bits(word(c, 1), p * 8, 63);
        return _mm256_or_si256(bits(word(c, 3), p % 4 * 8, 15),
                               high_bits(word(c, 1), p % 4 * 8 + 6));
    case MK_Q6_K:
        return _mm256_srai_epi32(_mm256_slli_epi32(word(c, 48 + p / 4), 24 - p % 4 * 8), 24);
    default: /* IQ4_XS */
        return _mm256_sub_epi32(
            _mm256_or_si256(bits(word(c, 1), 4 * p, 15), high_bits(word(c, 0), 16 + 2 * p)),
            middle);
    }
}

/* The integer that is taken off, in steps of dmin; of blocks with parts and minimums. */
INLINE __m256i minimum_of(enum mk_type type, struct column c, int p)
{
    if (type == MK_Q2_K)
        return bits(word(c, p / 4), p % 4 * 8 + 4, 15);
    if (p < 4)
        return bits(word(c, 2), p * 8, 63);
    return _mm256_or_si256(bits(word(c, 3), p % 4 * 8 + 4, 15),
                           high_bits(word(c, 2), p % 4 * 8 + 6));
}

INLINE __m256 halves(__m256i v) /* the lower 16 bits of each lane */
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

/* The float scale of a block. */
INLINE __m256 d_of(enum mk_type type, struct column c)
{
    switch (type) {
    case MK_MXFP4: { /* half of 2^(e - 127), as codes are twice their values */
        __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)c.lone));
        __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
        __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), e);
        __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
        return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
    }
    case MK_Q8_0:
    case MK_Q4_0:
    case MK_Q5_0:
    case MK_IQ4_NL:
    case MK_Q3_K:
    case MK_Q6_K:
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)c.lone));
    case MK_Q2_K:
        return halves(word(c, 20));
    default:
        return halves(word(c, 0));
    }
}

/* The float scale of its minimums. */
INLINE __m256 dmin_of(enum mk_type type, struct column c)
{
    return halves(_mm256_srli_epi32(word(c, type == MK_Q2_K ? 20 : 0), 16));
}

/* ------------------------------------------------------------------ a group, laid out */

/* Of each entry, first the 8 rows of the lower half, then the others. */
struct panel {
    __m256i code[MK_DOT_GROUP / 4][2];
    __m256i scale[16][2]; /* of each part, in both halves of a row's lane; K types */
    __m256i less[8][2];   /* what counts times the sum of x: minimums, or scales of codes that count
                           * from elsewhere; those of two parts in a lane; K types */
    __m256 d[8][2], dmin[8][2]; /* of each block */
};

INLINE __m256i pair(__m256i low, __m256i high) /* their lower 16 bits, in one lane */
{
    return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa);
}

INLINE void lay_out_block(enum mk_type type, struct column col, int b, int h, struct panel *ret)
{
    const struct counting how = counting(type);
    const int elements = elements_of(type), each = elements / how.part;
    __m256i(*dst)[2] = ret->code + b * elements / 4;
#pragma GCC unroll 16
    for (int p = 0; p < each; p++)
#pragma GCC unroll 8
        for (int i = 0; i < how.part / 4; i++)
            dst[p * how.part / 4 + i][h] = code(type, col, p, i);
    ret->d[b][h] = d_of(type, col);
    if (has_minimum(type))
        ret->dmin[b][h] = dmin_of(type, col);
    if (each == 1)
        return;
#pragma GCC unroll 8
    for (int p = 0; p < each; p += 2) {
        __m256i low = scale_of(type, col, p), high = scale_of(type, col, p + 1);
        ret->scale[p][h] = pair(low, low);
        ret->scale[p + 1][h] = pair(high, high);
        if (has_minimum(type))
            ret->less[p / 2][h] = pair(minimum_of(type, col, p), minimum_of(type, col, p + 1));
        else
            ret->less[p / 2][h] = pair(low, high);
    }
}

/* Columns [0, n) of a group. */
INLINE void lay_out_group(enum mk_type type, const uint8_t *group, int n, struct panel *ret)
{
    const int blocks = n / elements_of(type);
    for (int b = 0; b < blocks; b++)
        for (int h = 0; h < 2; h++)
            lay_out_block(type, column(type, group, blocks, b, h), b, h, ret);
}
