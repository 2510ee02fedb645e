/* SPDX-License-Identifier: MIT
 *
 * What several files on AVX-512 do to a register of 16. All inlined: nothing here is a symbol.
 */
#pragma once

#include <immintrin.h>

#include "inline.h"

/* The first n of 16 lanes; none for n ≤ 0. */
INLINE __mmask16 first(int n)
{
    return n >= 16 ? (__mmask16)0xffff : n > 0 ? (__mmask16)((1u << n) - 1) : 0;
}

/* Lane l with l + 8, then l + 4. */
INLINE __m128 fold(__m512 v)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* The sums of four registers: lane l with l + 8, l + 4, l + 2, l + 1, in this order. */
INLINE __m128 sum4(const __m512 v[4])
{
    __m128 a = fold(v[0]), b = fold(v[1]), c = fold(v[2]), d = fold(v[3]);
    __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

/* e^x: 2^n times a Taylor polynomial on half a binary digit either side, where its eighth term is
 * below a sixteenth of a unit in the last place. NaN stays NaN, ±infinity gives infinity and 0. */
INLINE __m512 exp16(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-110), _mm512_min_ps(_mm512_set1_ps(90), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x); /* ln 2, in two parts */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

/* 16 registers of 16 numbers of 32 bits, rows for columns. */
INLINE void transpose(__m512i v[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 4) { /* pairs of columns, then fours: within lanes of 128 bits */
        __m512i a = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        __m512i b = _mm512_unpackhi_epi32(v[i], v[i + 1]);
        __m512i c = _mm512_unpacklo_epi32(v[i + 2], v[i + 3]);
        __m512i d = _mm512_unpackhi_epi32(v[i + 2], v[i + 3]);
        t[i] = _mm512_unpacklo_epi64(a, c);
        t[i + 1] = _mm512_unpackhi_epi64(a, c);
        t[i + 2] = _mm512_unpacklo_epi64(b, d);
        t[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; i++) { /* lane l of t[4r + i]: rows 4r…, column 4l + i */
        __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x44);
        __m512i b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xee);
        __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x44);
        __m512i d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xee);
        v[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_i32x4(a, c, 0xdd);
        v[i + 8] = _mm512_shuffle_i32x4(b, d, 0x88);
        v[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}
