/* SPDX-License-Identifier: MIT
 *
 * Rows of the int8 cache on AVX2. All steps are powers of two, so every number that is read is one
 * of bf16: the upper half of a float, found without rounding. Pure; any thread.
 */
#include "widen.h"

enum { CHUNK = 8, CHUNKS = NARROW_ELEMENTS / CHUNK };

static int32_t largest_of(const __m256 x[CHUNKS])
{
    const __m256i no_sign = _mm256_set1_epi32(NARROW_NO_SIGN);
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < CHUNKS; i++)
        most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(x[i]), no_sign));
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

static void narrow(void *dst, const float *src, int n)
{
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint8_t *block = dst;
    for (; n > 0; n -= NARROW_ELEMENTS, src += NARROW_ELEMENTS, block += NARROW_BYTES) {
        __m256 x[CHUNKS];
        for (int i = 0; i < CHUNKS; i++)
            x[i] = _mm256_loadu_ps(src + i * CHUNK);
        struct narrow to = narrow_by(largest_of(x));
        memcpy(block, &to.step, sizeof(to.step));
        __m256i q[CHUNKS];
        for (int i = 0; i < CHUNKS; i++)
            q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], _mm256_set1_ps(to.by)));
        __m256i codes = _mm256_permutevar8x32_epi32(
            _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])),
            in_order);
        if (to.by == 0)
            codes = _mm256_setzero_si256();
        _mm256_storeu_si256((void *)(block + 2), codes);
    }
}

/* 16 codes times the step. */
INLINE __m256i widen_codes(const uint8_t *codes, __m256 step)
{
    __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)codes));
    __m256i even = _mm256_srai_epi32(_mm256_slli_epi32(x, 16), 16);
    __m256i odd = _mm256_srai_epi32(x, 16);
    __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(even), step);
    __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(odd), step);
    return _mm256_blend_epi16(_mm256_srli_epi32(_mm256_castps_si256(low), 16),
                              _mm256_castps_si256(high), 0xaa);
}

/* All codes of a block times its step. */
INLINE void widen_block(uint8_t *to, const uint8_t *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof(half));
    __m256 step = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
    _mm256_storeu_si256((void *)to, widen_codes(block + 2, step));
    _mm256_storeu_si256((void *)(to + 32), widen_codes(block + 18, step));
}

static void widen(void *dst, const void *src, const void *ahead, int latent, int rope, int n)
{
    widen_rows(dst, src, ahead, latent, rope, n, widen_block);
}

void mk_avx2_narrow(struct mk *mk)
{
    mk->narrow = narrow;
    mk->widen = widen;
}
