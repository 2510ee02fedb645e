/* SPDX-License-Identifier: MIT
 *
 * The registers of prompt.h on AVX-512. All inlined: nothing here is a symbol.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "inline.h"
#include "mk.h"
#include "zmm.h"

typedef __m512 vec;
enum { LANES = 16, TALL = 8 };

INLINE vec vec_all(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vec vec_load(const float *p)
{
    return _mm512_load_ps(p);
}

INLINE void vec_store(float *p, vec x)
{
    _mm512_store_ps(p, x);
}

INLINE vec vec_load_some(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(first(n), p);
}

INLINE void vec_store_some(float *p, vec x, int n)
{
    _mm512_mask_storeu_ps(p, first(n), x);
}

INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE vec vec_exp(vec x)
{
    return exp16(x);
}

INLINE vec vec_seen(const int32_t *n, int t, vec x, vec y)
{
    return _mm512_mask_mov_ps(
        y, _mm512_cmpgt_epi32_mask(_mm512_load_si512(n), _mm512_set1_epi32(t)), x);
}

INLINE void vec_transpose(vec x[LANES])
{
    __m512i bits[LANES];
    for (int i = 0; i < LANES; i++)
        bits[i] = _mm512_castps_si512(x[i]);
    transpose(bits);
    for (int i = 0; i < LANES; i++)
        x[i] = _mm512_castsi512_ps(bits[i]);
}

INLINE void take_latents(float *dst, enum mk_type type, const uint16_t *src, int n, int padded)
{
    for (int c = 0; c < padded; c += LANES) {
        __m256i half = _mm256_maskz_loadu_epi16(first(n - c), src + c);
        __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
        vec_store(dst + c, type == MK_F16 ? _mm512_cvtph_ps(half) : _mm512_castsi512_ps(high));
    }
}
