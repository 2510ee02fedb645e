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

/* The largest that a weight of each row can be; odd rows have one that is not finite. */
INLINE __m512 largest(enum mk_type type, const struct parts *part, int count, __mmask16 *odd)
{
    const struct counting how = counting(type);
    const __m512 infinity = _mm512_set1_ps(INFINITY);
    __m512 top = _mm512_setzero_ps();
    *odd = 0;
    for (int p = 0; p < count; p++) {
        __m512 low = _mm512_abs_ps(
            _mm512_fmsub_ps(part->scale[p], _mm512_set1_ps((float)how.lowest), part->minimum[p]));
        __m512 high = _mm512_abs_ps(
            _mm512_fmsub_ps(part->scale[p], _mm512_set1_ps((float)how.highest), part->minimum[p]));
        *odd |= _mm512_cmp_ps_mask(low, infinity, _CMP_NLT_UQ);
        *odd |= _mm512_cmp_ps_mask(high, infinity, _CMP_NLT_UQ);
        top = _mm512_max_ps(top, _mm512_max_ps(low, high));
    }
    return top;
}

INLINE __m512i twice(__m512i v) /* the lower 16 bits of each lane, in both its halves */
{
    return _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi32(0xffff)),
                           _mm512_slli_epi32(v, 16));
}

/**
 * Columns [0, n) of a group as registers of 4 columns of 16 rows, at dst; returns the rows' steps.
 *
 *   bias   added to each byte: 0, or 128 for unsigned ones
 */
INLINE __m512 unpack_group(enum mk_type type, const uint8_t *group, int n, int bias, uint8_t *dst)
{
    const struct counting how = counting(type);
    const int elements = elements_of(type), blocks = n / elements, each = elements / how.part;
    const __m512i low = _mm512_set1_epi16(0xff), high = _mm512_set1_epi16((short)0xff00);
    struct parts parts;
    __mmask16 odd;
    open_parts(type, group, n, &parts);
    __m512 top = largest(type, &parts, blocks * each, &odd);
    __mmask16 some =
        (__mmask16)(_mm512_cmp_ps_mask(top, _mm512_set1_ps(MK_DOT_LEAST), _CMP_NLT_UQ) & ~odd);
    __m512 by =
        _mm512_mul_ps(_mm512_set1_ps(256), _mm512_maskz_div_ps(some, _mm512_set1_ps(126), top));
    for (int b = 0; b < blocks; b++) {
        struct column col = column(type, group, blocks, b);
#pragma GCC unroll 16
        for (int p = 0; p < each; p++) {
            int at = b * each + p;
            __m512i ratio = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(parts.scale[at], by));
            __m512i begin = _mm512_set1_epi32(128 + 256 * bias);
            if (has_minimum(type))
                begin = _mm512_sub_epi32(
                    begin, _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(parts.minimum[at], by)));
            else
                begin = _mm512_sub_epi32(begin, _mm512_slli_epi32(ratio, (unsigned)how.log_offset));
            ratio = twice(ratio);
            begin = twice(begin);
#pragma GCC unroll 8
            for (int i = 0; i < how.part / 4; i++, dst += 64) {
                __m512i codes = code(type, col, p, i);
                __m512i even = _mm512_and_si512(codes, low), uneven = _mm512_srli_epi16(codes, 8);
                even = _mm512_add_epi16(_mm512_mullo_epi16(even, ratio), begin);
                uneven = _mm512_add_epi16(_mm512_mullo_epi16(uneven, ratio), begin);
                even = _mm512_srli_epi16(even, 8);
                _mm512_storeu_si512(dst, _mm512_or_si512(even, _mm512_and_si512(uneven, high)));
            }
        }
    }
    __m512 step = _mm512_maskz_div_ps(some, top, _mm512_set1_ps(126));
    return _mm512_mask_mov_ps(step, odd, _mm512_set1_ps(NAN));
}
