/* SPDX-License-Identifier: MIT
 *
 * Number formats of 32 weights with a scale, perhaps a minimum, and codes of even steps.
 *
 * Nibbles lie in pairs: the low one of byte j is weight j, the high one weight j + 16. Pure; any
 * thread.
 */
#include "ref/unpack.h"

/* 32 weights: f16 d, then 32 signed bytes. */
void unpack_Q8_0(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 34, dst += 32) {
        float d = unpack_f16(src);
        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)(int8_t)src[2 + i];
    }
}

/* 32 weights: f16 d, then nibbles that count from -8. */
void unpack_Q4_0(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 18, dst += 32) {
        float d = unpack_f16(src);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)((src[2 + i] & 15) - 8);
            dst[i + 16] = d * (float)((src[2 + i] >> 4) - 8);
        }
    }
}

/* 32 weights: f16 d and minimum, then nibbles. */
void unpack_Q4_1(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 20, dst += 32) {
        float d = unpack_f16(src), minimum = unpack_f16(src + 2);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)(src[4 + i] & 15) + minimum;
            dst[i + 16] = d * (float)(src[4 + i] >> 4) + minimum;
        }
    }
}

/* The fifth bits of 32 weights lie in one word, weight i at bit i. */
static int five(const uint8_t *nibbles, uint32_t high, int i)
{
    return (i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4) | (int)(high >> i & 1) << 4;
}

/* 32 weights: f16 d, 32 high bits, then nibbles; they count from -16. */
void unpack_Q5_0(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 22, dst += 32) {
        float d = unpack_f16(src);
        uint32_t high = unpack_u32(src + 2);
        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)(five(src + 6, high, i) - 16);
    }
}

/* 32 weights: f16 d and minimum, 32 high bits, then nibbles. */
void unpack_Q5_1(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 24, dst += 32) {
        float d = unpack_f16(src), minimum = unpack_f16(src + 2);
        uint32_t high = unpack_u32(src + 4);
        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)five(src + 8, high, i) + minimum;
    }
}
