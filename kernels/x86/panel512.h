/* SPDX-License-Identifier: MIT
 *
 * A group of a strip as bytes that many rows of x can meet: int8 with one float step a row, what
 * mk_ref_mul() rounds weights to. All inlined.
 */
#pragma once

#include <immintrin.h>
#include <math.h>

#include "strip512.h"

/* The float scale and minimum of each part of a group, 16 rows each. */
struct parts {
    __m512 scale[16], minimum[16];
};

INLINE void open_parts(enum mk_type type, const uint8_t *group, int n, struct parts *ret)
{
    const int elements = elements_of(type), blocks = n / elements;
    const int each = elements / counting(type).part;
    for (int b = 0; b < blocks; b++) {
        struct column col = column(type, group, blocks, b);
        __m512 d = d_of(type, col), dmin = _mm512_setzero_ps();
        if (has_minimum(type))
            dmin = dmin_of(type, col);
#pragma GCC unroll 16
        for (int p = 0; p < each; p++) {
            int at = b * each + p;
            ret->scale[at] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale_of(type, col, p)));
            if (has_minimum(type))
                ret->minimum[at] =
                    _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(minimum_of(type, col, p)));
            else
                ret->minimum[at] = _mm512_setzero_ps();
        }
    }
}

/* What turns the codes of each part of a group into bytes: (code · ratio + begin) / 256. */
struct opened {
    struct parts parts;
    __m512i ratio[16], begin[16]; /* twice in each lane */
};

/* Columns [0, n) of a group; returns the rows' steps.
 *
 *   bias   added to each byte: 0, or 128 for unsigned ones
 */
INLINE __m512 open_group(enum mk_type type, const uint8_t *group, int n, int bias,
                         struct opened *ret)
{
    const struct counting how = counting(type);
    const int count = n / how.part;
    const __m512i positive = _mm512_set1_epi32(0x7fffffff),
                  infinity = _mm512_set1_epi32(0x7f800000);
    const __m512i doubled =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13));
    struct parts *parts = &ret->parts;
    open_parts(type, group, n, parts);
    __m512i most = _mm512_setzero_si512(); /* of absolute floats; what is not finite is more */
    for (int p = 0; p < count; p++) {
        __m512 low = parts->minimum[p]; /* its sign does not matter */
        if (how.lowest)
            low = _mm512_fmsub_ps(parts->scale[p], _mm512_set1_ps((float)how.lowest), low);
        __m512 high =
            _mm512_fmsub_ps(parts->scale[p], _mm512_set1_ps((float)how.highest), parts->minimum[p]);
        most = _mm512_max_epu32(most, _mm512_and_si512((__m512i)low, positive));
        most = _mm512_max_epu32(most, _mm512_and_si512((__m512i)high, positive));
    }
    __m512 top = (__m512)most;
    __mmask16 odd = _mm512_cmpge_epu32_mask(most, infinity);
    __mmask16 some = _mm512_cmp_ps_mask(top, _mm512_set1_ps(MK_DOT_LEAST), _CMP_GE_OQ) & ~odd;
    __m512 by =
        _mm512_mul_ps(_mm512_set1_ps(256), _mm512_maskz_div_ps(some, _mm512_set1_ps(126), top));
    for (int p = 0; p < count; p++) {
        __m512i ratio = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(parts->scale[p], by));
        __m512i begin = _mm512_set1_epi32(128 + 256 * bias);
        if (has_minimum(type))
            begin = _mm512_sub_epi32(
                begin, _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(parts->minimum[p], by)));
        else
            begin = _mm512_sub_epi32(begin, _mm512_slli_epi32(ratio, (unsigned)how.log_offset));
        ret->ratio[p] = _mm512_shuffle_epi8(ratio, doubled);
        ret->begin[p] = _mm512_shuffle_epi8(begin, doubled);
    }
    __m512 step = _mm512_maskz_div_ps(some, top, _mm512_set1_ps(126));
    return _mm512_mask_mov_ps(step, odd, _mm512_set1_ps(NAN));
}

/* Part p of block b, which is part `at` of an opened group of `blocks`, as registers of 4 columns
 * of 16 rows. */
INLINE void unpack_part(enum mk_type type, const uint8_t *group, int blocks, int b, int p,
                        const struct opened *open, uint8_t *dst)
{
    const struct counting how = counting(type);
    const __m512i low = _mm512_set1_epi16(0xff);
    const int at = b * (elements_of(type) / how.part) + p;
    struct column col = column(type, group, blocks, b);
    __m512i ratio = open->ratio[at], begin = open->begin[at];
#pragma GCC unroll 8
    for (int i = 0; i < how.part / 4; i++, dst += 64) {
        __m512i codes = code(type, col, p, i);
        __m512i even = _mm512_and_si512(codes, low), uneven = _mm512_srli_epi16(codes, 8);
        even = _mm512_add_epi16(_mm512_mullo_epi16(even, ratio), begin);
        uneven = _mm512_add_epi16(_mm512_mullo_epi16(uneven, ratio), begin);
        even = _mm512_srli_epi16(even, 8);
        _mm512_storeu_si512(dst,
                            _mm512_ternarylogic_epi32(even, uneven, low, 0xf4 /* a | b & ~c */));
    }
}

/* Columns [0, n) of a group, whole. */
INLINE __m512 unpack_group(enum mk_type type, const uint8_t *group, int n, int bias, uint8_t *dst)
{
    const int part = counting(type).part, each = elements_of(type) / part;
    const int blocks = n / elements_of(type);
    struct opened open;
    __m512 step = open_group(type, group, n, bias, &open);
    for (int b = 0; b < blocks; b++)
#pragma GCC unroll 16
        for (int p = 0; p < each; p++, dst += part * STRIP_ROWS)
            unpack_part(type, group, blocks, b, p, &open, dst);
    return step;
}
