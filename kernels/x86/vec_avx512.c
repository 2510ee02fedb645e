/* SPDX-License-Identifier: MIT
 *
 * Work on one vector, on AVX-512: norm, activation, softmax, rounding for the cache. Rotation and
 * router stay with the set below: they are too short to gain.
 *
 * Sums run over 16 lanes, element i in lane i % 16, and end in one fixed tree. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "mk.h"
#include "zmm.h"

INLINE float sum16(__m512 v)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static void rms_norm(float *y, const float *x, const float *w, int n, float eps)
{
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(first(n - i), x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    __m512 r = _mm512_set1_ps(1.0f / sqrtf(sum16(sum) / (float)n + eps));
    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = first(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), r);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, w + i)));
    }
}

static void swiglu(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = first(n - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
        __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), g));
        __m512 silu = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1), e));
        _mm512_mask_storeu_ps(y + i, mask,
                              _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

static void softmax(float *x, int n)
{
    __m512 lowest = _mm512_set1_ps(-INFINITY), top = lowest, sum = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16)
        top = _mm512_max_ps(_mm512_mask_loadu_ps(lowest, first(n - i), x + i), top);
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));

    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = first(n - i);
        __m512 e = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), top));
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
        _mm512_mask_storeu_ps(x + i, mask, e);
    }
    __m512 whole = _mm512_set1_ps(sum16(sum));
    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = first(n - i);
        __m512 e = _mm512_maskz_loadu_ps(mask, x + i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_div_ps(e, whole));
    }
}

/* Nearest even on the upper half of the bits; a NaN is made quiet instead. */
INLINE __m256i to_bf16(__m512 v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}

static void store(void *dst, enum mk_type type, const float *src, int n)
{
    if (type == MK_F32) {
        memcpy(dst, src, (size_t)n * sizeof(*src));
        return;
    }
    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = first(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, src + i);
        __m256i half = type == MK_F16
                           ? _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                           : to_bf16(v);
        _mm256_mask_storeu_epi16((uint8_t *)dst + 2 * i, mask, half);
    }
}

void mk_avx512_vec(struct mk *mk)
{
    mk->rms_norm = rms_norm;
    mk->swiglu = swiglu;
    mk->softmax = softmax;
    mk->store = store;
}
