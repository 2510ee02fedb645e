/* SPDX-License-Identifier: MIT
 *
 * What the blocks of each number format hold: integer codes and small integer scales, in registers
 * of AVX2. All inlined.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "inline.h"
#include "type.h"

INLINE __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const void *)p);
}

INLINE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* 16 bytes of nibbles: the low ones, then the high ones. */
INLINE __m256i nibbles(const uint8_t *p)
{
    __m128i q = load16(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

/* 32 bits as 32 bytes, all ones where a bit is set. */
INLINE __m256i spread_bits(const uint8_t *p)
{
    const __m256i byte =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    int bits;
    memcpy(&bits, p, sizeof(bits));
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte);
    return _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
}

/* Bit g of each byte as 16 or 0. */
INLINE __m256i fifth_bits(const uint8_t *p, int g)
{
    __m256i v = _mm256_srl_epi16(load32(p), _mm_cvtsi32_si128(g));
    return _mm256_slli_epi16(_mm256_and_si256(v, _mm256_set1_epi8(1)), 4);
}

/* What nibbles name where steps are uneven. */
INLINE __m256i look_up(enum mk_type type, __m256i nibble)
{
    const __m128i uneven =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    const __m128i e2m1 = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(type == MK_MXFP4 ? e2m1 : uneven),
                               nibble);
}

/* The 32 integer codes of group g: of the block at w, or that block (g = 0) if it has no more. */
INLINE __m256i codes(enum mk_type type, const uint8_t *w, int g)
{
    const __m256i zero = _mm256_setzero_si256();
    switch (type) {
    case MK_Q4_0:
        return _mm256_sub_epi8(nibbles(w + 2), _mm256_set1_epi8(8));
    case MK_Q4_1:
        return nibbles(w + 4);
    case MK_Q5_0: /* a fifth bit that is clear makes it 16 less */
        return _mm256_or_si256(nibbles(w + 6),
                               _mm256_andnot_si256(spread_bits(w + 2), _mm256_set1_epi8(-16)));
    case MK_Q5_1:
        return _mm256_or_si256(nibbles(w + 8),
                               _mm256_and_si256(spread_bits(w + 4), _mm256_set1_epi8(16)));
    case MK_IQ4_NL:
        return look_up(type, nibbles(w + 2));
    case MK_IQ4_XS:
        return look_up(type, nibbles(w + 8 + 16 * g));
    case MK_MXFP4:
        return look_up(type, nibbles(w + 1));
    case MK_Q2_K:
    case MK_Q3_K: {
        __m256i q = load32(w + (type == MK_Q2_K ? 16 : 32) + 32 * (g / 4));
        q = _mm256_srl_epi16(q, _mm_cvtsi32_si128(2 * (g % 4)));
        q = _mm256_and_si256(q, _mm256_set1_epi8(3));
        if (type == MK_Q2_K)
            return q;
        __m256i third = _mm256_and_si256(load32(w), _mm256_set1_epi8((char)(1 << g)));
        __m256i clear = _mm256_cmpeq_epi8(third, zero);
        return _mm256_sub_epi8(q, _mm256_and_si256(clear, _mm256_set1_epi8(4)));
    }
    case MK_Q4_K:
    case MK_Q5_K: {
        __m256i q = load32(w + (type == MK_Q4_K ? 16 : 48) + 32 * (g / 2));
        q = _mm256_srl_epi16(q, _mm_cvtsi32_si128(4 * (g % 2)));
        q = _mm256_and_si256(q, _mm256_set1_epi8(15));
        return type == MK_Q4_K ? q : _mm256_or_si256(q, fifth_bits(w + 16, g));
    }
    case MK_Q6_K: { /* nibbles, and two bits from elsewhere */
        int part = g % 4;
        __m256i low = load32(w + 64 * (g / 4) + 32 * (part % 2));
        __m256i high = load32(w + 128 + 32 * (g / 4));
        low = _mm256_srl_epi16(low, _mm_cvtsi32_si128(4 * (part / 2)));
        high = _mm256_srl_epi16(high, _mm_cvtsi32_si128(2 * part));
        __m256i q =
            _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
                            _mm256_and_si256(_mm256_slli_epi16(high, 4), _mm256_set1_epi8(48)));
        return _mm256_sub_epi8(q, _mm256_set1_epi8(32));
    }
    default:
        return zero;
    }
}

/* Half the scale of MXFP4, as its codes are twice their values. */
INLINE float e8m0_half(uint32_t e)
{
    uint32_t bits = e < 2 ? 0x200000u << e : (e - 1) << 23;
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* 16 six-bit scales of Q3_K, which count from -32. */
INLINE __m128i q3_scales(const uint8_t *s)
{
    uint64_t low;
    uint32_t high;
    memcpy(&low, s, sizeof(low));
    memcpy(&high, s + 8, sizeof(high));
    __m128i v = _mm_set_epi64x((long long)(low >> 4), (long long)low);
    __m128i h = _mm_set_epi32((int)(high >> 6), (int)(high >> 4), (int)(high >> 2), (int)high);
    v = _mm_and_si128(v, _mm_set1_epi8(15));
    h = _mm_slli_epi16(_mm_and_si128(h, _mm_set1_epi8(3)), 4);
    return _mm_sub_epi8(_mm_or_si128(v, h), _mm_set1_epi8(32));
}

/* 8 six-bit scales of IQ4_XS, which count from -32: four bits here, two there. */
INLINE __m256i iq4_scales(const uint8_t *w)
{
    uint16_t high;
    int low;
    memcpy(&high, w + 2, sizeof(high));
    memcpy(&low, w + 4, sizeof(low));
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32(low), _mm256_slli_epi32(at, 2));
    __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(high), _mm256_slli_epi32(at, 1));
    l = _mm256_and_si256(l, _mm256_set1_epi32(15));
    h = _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(3)), 4);
    return _mm256_sub_epi32(_mm256_or_si256(l, h), _mm256_set1_epi32(32));
}
