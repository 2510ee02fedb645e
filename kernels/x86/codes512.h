/* SPDX-License-Identifier: MIT
 *
 * What the blocks of each number format hold, in AVX-512 registers: integer codes, and the steps
 * and offsets that make numbers of them. All inlined.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "codes.h"
#include "zmm.h"

/* What a K block says about its groups, before the weights are touched. */
struct block {
    float step[16];   /* of each 16 weights; Q4_K, Q5_K, IQ4_XS: of 32, 8 of them */
    float offset[16]; /* subtracted: Q2_K of 16 weights; Q4_K and Q5_K of 32, the upper 8 */
};

INLINE __m512 splat_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof(h));
    return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

INLINE __m512 signed_bytes(__m128i v)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v));
}

INLINE void open_block(enum mk_type type, const uint8_t *w, struct block *b)
{
    if (type == MK_Q4_K || type == MK_Q5_K) { /* the upper four's high bits are set apart */
        uint32_t s[3];
        memcpy(s, w + 4, sizeof(s));
        __m128i six = _mm_set_epi32(
            (int)((s[2] >> 4 & 0x0f0f0f0f) | (s[1] >> 2 & 0x30303030)), (int)(s[1] & 0x3f3f3f3f),
            (int)((s[2] & 0x0f0f0f0f) | (s[0] >> 2 & 0x30303030)), (int)(s[0] & 0x3f3f3f3f));
        _mm512_storeu_ps(b->step, _mm512_mul_ps(splat_f16(w), signed_bytes(six)));
        _mm512_storeu_ps(b->offset, _mm512_mul_ps(splat_f16(w + 2), signed_bytes(six)));
    }
    if (type == MK_IQ4_XS)
        _mm256_storeu_ps(b->step, _mm256_mul_ps(_mm512_castps512_ps256(splat_f16(w)),
                                                _mm256_cvtepi32_ps(iq4_scales(w))));
    if (type == MK_Q2_K) {
        const __m128i low = _mm_set1_epi8(15);
        __m128i s = load16(w), minimum = _mm_and_si128(_mm_srli_epi16(s, 4), low);
        s = _mm_and_si128(s, low);
        _mm512_storeu_ps(b->step, _mm512_mul_ps(splat_f16(w + 80), signed_bytes(s)));
        _mm512_storeu_ps(b->offset, _mm512_mul_ps(splat_f16(w + 82), signed_bytes(minimum)));
    }
    if (type == MK_Q3_K)
        _mm512_storeu_ps(b->step,
                         _mm512_mul_ps(splat_f16(w + 108), signed_bytes(q3_scales(w + 96))));
    if (type == MK_Q6_K)
        _mm512_storeu_ps(b->step, _mm512_mul_ps(splat_f16(w + 208), signed_bytes(load16(w + 192))));
}
