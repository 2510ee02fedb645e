/* SPDX-License-Identifier: MIT
 *
 * Rows of the int8 cache on AVX-512, as narrow_avx2.c has them. Pure; any thread.
 */
#include "widen.h"

static void narrow(void *dst, const float *src, int n)
{
    const __m512i no_sign = _mm512_set1_epi32(NARROW_NO_SIGN);
    uint8_t *block = dst;
    for (; n > 0; n -= NARROW_ELEMENTS, src += NARROW_ELEMENTS, block += NARROW_BYTES) {
        __m512 low = _mm512_loadu_ps(src), high = _mm512_loadu_ps(src + 16);
        struct narrow to = narrow_by(_mm512_reduce_max_epi32(
            _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(low), no_sign),
                             _mm512_and_si512(_mm512_castps_si512(high), no_sign))));
        memcpy(block, &to.step, sizeof(to.step));
        __mmask16 is_number = to.by == 0 ? 0 : 0xffff;
        __m512 by = _mm512_set1_ps(to.by);
        _mm_storeu_si128((void *)(block + 2), _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(
                                                  is_number, _mm512_mul_ps(low, by))));
        _mm_storeu_si128((void *)(block + 18), _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(
                                                   is_number, _mm512_mul_ps(high, by))));
    }
}

/* 32 codes times the step. */
INLINE __m512i widen_codes(const uint8_t *codes, __m512 step)
{
    __m512i x = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)codes));
    __m512i even = _mm512_srai_epi32(_mm512_slli_epi32(x, 16), 16);
    __m512i odd = _mm512_srai_epi32(x, 16);
    __m512 low = _mm512_mul_ps(_mm512_cvtepi32_ps(even), step);
    __m512 high = _mm512_mul_ps(_mm512_cvtepi32_ps(odd), step);
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(_mm512_castps_si512(low), 16),
                                   _mm512_castps_si512(high));
}

/* All codes of a block times its step. */
INLINE void widen_block(uint8_t *to, const uint8_t *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof(half));
    __m512 step = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
    _mm512_storeu_si512(to, widen_codes(block + 2, step));
}

static void widen(void *dst, const void *src, const void *ahead, int latent, int rope, int n)
{
    widen_rows(dst, src, ahead, latent, rope, n, widen_block);
}

void mk_avx512_narrow(struct mk *mk)
{
    mk->narrow = narrow;
    mk->widen = widen;
}
