/* SPDX-License-Identifier: MIT
 *
 * Work on one vector, on AVX2: norm, rotation, activation, softmax, rounding for the cache. The
 * router stays plain C.
 *
 * Sums run over 8 lanes, element i in lane i % 8, and end in one fixed tree. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "mk.h"
#include "ymm.h"

INLINE float sum8(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static void rms_norm(float *y, const float *x, const float *w, int n, float eps)
{
    __m256 sum = _mm256_setzero_ps();
    for (int i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, first(n - i));
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    __m256 r = _mm256_set1_ps(1.0f / sqrtf(sum8(sum) / (float)n + eps));
    for (int i = 0; i < n; i += 8) {
        __m256i mask = first(n - i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), r);
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(v, _mm256_maskload_ps(w + i, mask)));
    }
}

/* Four pairs at a time: (a, b) · cos ∓ (b, a) · sin; rounds where the reference does. */
static void rope(float *x, const float *cs, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i mask = first(n - i);
        __m256 v = _mm256_maskload_ps(x + i, mask), t = _mm256_maskload_ps(cs + i, mask);
        __m256 straight = _mm256_mul_ps(v, _mm256_moveldup_ps(t));
        __m256 crossed = _mm256_mul_ps(_mm256_permute_ps(v, 0xb1), _mm256_movehdup_ps(t));
        _mm256_maskstore_ps(x + i, mask, _mm256_addsub_ps(straight, crossed));
    }
}

static void swiglu(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i mask = first(n - i);
        __m256 g = _mm256_maskload_ps(gate + i, mask);
        __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), g));
        __m256 silu = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1), e));
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(silu, _mm256_maskload_ps(up + i, mask)));
    }
}

static void softmax(float *x, int n)
{
    __m256 lowest = _mm256_set1_ps(-INFINITY), top = lowest, sum = _mm256_setzero_ps();
    for (int i = 0; i < n; i += 8) {
        __m256i mask = first(n - i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        top = _mm256_max_ps(_mm256_blendv_ps(lowest, v, _mm256_castsi256_ps(mask)), top);
    }
    top = _mm256_set1_ps(max8(top));

    for (int i = 0; i < n; i += 8) {
        __m256i mask = first(n - i);
        __m256 e = exp8(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), top));
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
        _mm256_maskstore_ps(x + i, mask, e);
    }
    __m256 whole = _mm256_set1_ps(sum8(sum));
    for (int i = 0; i < n; i += 8) {
        __m256i mask = first(n - i);
        _mm256_maskstore_ps(x + i, mask, _mm256_div_ps(_mm256_maskload_ps(x + i, mask), whole));
    }
}

/* Nearest even on the upper half of the bits; a NaN is made quiet instead. */
INLINE __m128i to_bf16(__m256 v)
{
    __m256i bits = _mm256_castps_si256(v);
    __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
}

static void store(void *dst, enum mk_type type, const float *src, int n)
{
    if (type == MK_F32) {
        memcpy(dst, src, (size_t)n * sizeof(*src));
        return;
    }
    for (int i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(src + i, first(n - i));
        __m128i half = type == MK_F16
                           ? _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                           : to_bf16(v);
        uint8_t *to = (uint8_t *)dst + 2 * i;
        if (n - i >= 8)
            _mm_storeu_si128((void *)to, half);
        else
            memcpy(to, &half, 2 * (size_t)(n - i));
    }
}

void mk_avx2_vec(struct mk *mk)
{
    mk->rms_norm = rms_norm;
    mk->rope = rope;
    mk->swiglu = swiglu;
    mk->softmax = softmax;
    mk->store = store;
}
