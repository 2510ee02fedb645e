/* SPDX-License-Identifier: MIT
 *
 * What a group of a strip holds, in registers of 16 rows: codes, and the integers and floats that
 * make weights of them. All inlined, with the type a constant.
 */
#pragma once

#include <immintrin.h>

#include "strip.h"
#include "zmm.h"

/* How a format's codes are counted; ref/split.c says the same. */
struct counting {
    int part;       /* weights that share a scale */
    int log_offset; /* codes count from 1 << this; -1: from zero */
    int lowest, highest;
};

INLINE struct counting counting(enum mk_type type)
{
    switch (type) {
    case MK_Q8_0:
        return (struct counting){32, 7, -128, 127};
    case MK_Q4_0:
        return (struct counting){32, 3, -8, 7};
    case MK_Q5_0:
        return (struct counting){32, 4, -16, 15};
    case MK_IQ4_NL:
    case MK_IQ4_XS:
        return (struct counting){32, 7, -127, 113};
    case MK_MXFP4:
        return (struct counting){32, 4, -12, 12};
    case MK_Q2_K:
        return (struct counting){16, -1, 0, 3};
    case MK_Q3_K:
        return (struct counting){16, 2, -4, 3};
    case MK_Q6_K:
        return (struct counting){16, 5, -32, 31};
    case MK_Q5_1:
    case MK_Q5_K:
        return (struct counting){32, -1, 0, 31};
    default: /* Q4_1, Q4_K */
        return (struct counting){32, -1, 0, 15};
    }
}

INLINE bool has_minimum(enum mk_type type)
{
    return counting(type).log_offset < 0;
}

INLINE int elements_of(enum mk_type type) /* of a block */
{
    return (int)mk_type_info[type].block_elements;
}

/* One block of 16 rows. */
struct column {
    const uint8_t *lone, *word;
};

/* Block b of a group of `blocks` at `group`. */
INLINE struct column column(enum mk_type type, const uint8_t *group, int blocks, int b)
{
    int lone = STRIP_ROWS * strip_lone(type).bytes;
    return (struct column){group + b * lone,
                           group + blocks * lone + (size_t)(b * strip_words(type)) * 64};
}

INLINE __m512i word(struct column c, int i)
{
    return _mm512_loadu_si512(c.word + (size_t)i * 64);
}

/* ------------------------------------------------------------------ codes */

/* Bits of v at `from` in each byte moved to `to`, under a mask of where they end up. */
INLINE __m512i move_bits(__m512i v, int from, int to, int mask)
{
    if (from > to)
        v = _mm512_srli_epi16(v, (unsigned)(from - to));
    else if (from < to)
        v = _mm512_slli_epi16(v, (unsigned)(to - from));
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* What nibbles of uneven steps mean, plus their offset. */
INLINE __m512i uneven(enum mk_type type, __m512i nibble)
{
    const __m128i iq4 =
        _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15);
    const __m128i e2m1 =
        _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(type == MK_MXFP4 ? e2m1 : iq4), nibble);
}

/* Weights 4i … 4i + 3 of part p of a block, as unsigned codes. */
INLINE __m512i code(enum mk_type type, struct column c, int p, int i)
{
    int half = p / 8, pair = p % 8 / 2, at = 4 * (p % 2) + i; /* where parts are 16 */
    __m512i v;
    switch (type) {
    case MK_Q8_0:
        return _mm512_xor_si512(word(c, i), _mm512_set1_epi8((char)0x80));
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
        return _mm512_or_si512(v, move_bits(word(c, type == MK_Q5_0 ? 0 : 1), i, 4, 16));
    case MK_Q4_K:
        return move_bits(word(c, 4 + 8 * (p / 2) + i), p % 2 * 4, 0, 15);
    case MK_Q5_K:
        v = move_bits(word(c, 12 + 8 * (p / 2) + i), p % 2 * 4, 0, 15);
        return _mm512_or_si512(v, move_bits(word(c, 4 + i), p, 4, 16));
    case MK_Q6_K:
        v = move_bits(word(c, 16 * half + 8 * (pair & 1) + at), pair / 2 * 4, 0, 15);
        return _mm512_or_si512(v, move_bits(word(c, 32 + 8 * half + at), 2 * pair, 4, 48));
    case MK_Q2_K:
        return move_bits(word(c, 4 + 8 * half + at), 2 * pair, 0, 3);
    default: /* Q3_K */
        v = move_bits(word(c, 8 + 8 * half + at), 2 * pair, 0, 3);
        return _mm512_or_si512(v, move_bits(word(c, at), 4 * half + pair, 2, 4));
    }
}

/* ------------------------------------------------------------------ scales */

/* Bits [from, from + 6 - low) … as 32-bit numbers: `low` bits of v at `from`. */
INLINE __m512i bits(__m512i v, int from, int mask)
{
    return _mm512_and_si512(_mm512_srli_epi32(v, (unsigned)from), _mm512_set1_epi32(mask));
}

/* Two bits of v at `from`, where a number of six bits has its highest. */
INLINE __m512i high_bits(__m512i v, int from)
{
    if (from < 4)
        v = _mm512_slli_epi32(v, (unsigned)(4 - from));
    else
        v = _mm512_srli_epi32(v, (unsigned)(from - 4));
    return _mm512_and_si512(v, _mm512_set1_epi32(48));
}

/* The integer scale of part p; 1 where a block has but its float. */
INLINE __m512i scale_of(enum mk_type type, struct column c, int p)
{
    const __m512i middle = _mm512_set1_epi32(32);
    switch (type) {
    case MK_Q2_K:
        return bits(word(c, p / 4), p % 4 * 8, 15);
    case MK_Q3_K:
        return _mm512_sub_epi32(
            _mm512_or_si512(bits(word(c, 24 + p % 8 / 4), p % 4 * 8 + p / 8 * 4, 15),
                            high_bits(word(c, 26), p % 4 * 8 + p / 4 * 2)),
            middle);
    case MK_Q4_K:
    case MK_Q5_K:
        if (p < 4)
            return bits(word(c, 1), p * 8, 63);
        return _mm512_or_si512(bits(word(c, 3), p % 4 * 8, 15),
                               high_bits(word(c, 1), p % 4 * 8 + 6));
    case MK_Q6_K:
        return _mm512_srai_epi32(_mm512_slli_epi32(word(c, 48 + p / 4), 24 - (unsigned)p % 4 * 8),
                                 24);
    case MK_IQ4_XS:
        return _mm512_sub_epi32(
            _mm512_or_si512(bits(word(c, 1), 4 * p, 15), high_bits(word(c, 0), 16 + 2 * p)),
            middle);
    default:
        return _mm512_set1_epi32(1);
    }
}

/* The integer that is taken off, in steps of dmin; only of types that have a minimum. */
INLINE __m512i minimum_of(enum mk_type type, struct column c, int p)
{
    switch (type) {
    case MK_Q2_K:
        return bits(word(c, p / 4), p % 4 * 8 + 4, 15);
    case MK_Q4_K:
    case MK_Q5_K:
        if (p < 4)
            return bits(word(c, 2), p * 8, 63);
        return _mm512_or_si512(bits(word(c, 3), p % 4 * 8 + 4, 15),
                               high_bits(word(c, 2), p % 4 * 8 + 6));
    default: /* Q4_1, Q5_1: added */
        return _mm512_set1_epi32(-1);
    }
}

INLINE __m512 halves(__m512i v) /* the lower 16 bits of each lane */
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* The float scale of a block. */
INLINE __m512 d_of(enum mk_type type, struct column c)
{
    switch (type) {
    case MK_MXFP4: { /* half of 2^(e - 127), as codes are twice their values */
        __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)c.lone));
        __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x200000), e);
        __mmask16 is_small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
        return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, is_small, small));
    }
    case MK_Q8_0:
    case MK_Q4_0:
    case MK_Q5_0:
    case MK_IQ4_NL:
    case MK_Q3_K:
    case MK_Q6_K:
        return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)c.lone));
    case MK_Q2_K:
        return halves(word(c, 20));
    default:
        return halves(word(c, 0));
    }
}

/* The float scale of its minimums. */
INLINE __m512 dmin_of(enum mk_type type, struct column c)
{
    return halves(_mm512_srli_epi32(word(c, type == MK_Q2_K ? 20 : 0), 16));
}
