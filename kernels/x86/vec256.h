/* SPDX-License-Identifier: MIT
 *
 * The registers of prompt.h on AVX2. All inlined: nothing here is a symbol.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "inline.h"
#include "mk.h"
#include "ymm.h"

typedef __m256 vec;
enum { LANES = 8, TALL = 6 };

INLINE vec vec_all(float x)
{
    return _mm256_set1_ps(x);
}

INLINE vec vec_load(const float *p)
{
    return _mm256_load_ps(p);
}

INLINE void vec_store(float *p, vec x)
{
    _mm256_store_ps(p, x);
}

INLINE vec vec_load_some(const float *p, int n)
{
    return n >= LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first(n));
}

INLINE void vec_store_some(float *p, vec x, int n)
{
    _mm256_maskstore_ps(p, first(n), x);
}

INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE vec vec_exp(vec x)
{
    return exp8(x);
}

INLINE vec vec_seen(const int32_t *n, int t, vec x, vec y)
{
    __m256i mask = _mm256_cmpgt_epi32(_mm256_load_si256((const void *)n), _mm256_set1_epi32(t));
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(mask));
}

INLINE void vec_transpose(vec x[LANES])
{
    __m256i bits[LANES];
    for (int i = 0; i < LANES; i++)
        bits[i] = _mm256_castps_si256(x[i]);
    transpose(bits);
    for (int i = 0; i < LANES; i++)
        x[i] = _mm256_castsi256_ps(bits[i]);
}

INLINE void take_latents(float *dst, enum mk_type type, const uint16_t *src, int n, int padded)
{
    for (int c = 0; c < padded; c += LANES) {
        __m128i half = _mm_setzero_si128();
        if (c + LANES <= n)
            half = _mm_loadu_si128((const void *)(src + c));
        else if (c < n)
            memcpy(&half, src + c, (size_t)(n - c) * sizeof *src);
        __m256i high = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
        vec_store(dst + c, type == MK_F16 ? _mm256_cvtph_ps(half) : _mm256_castsi256_ps(high));
    }
}
