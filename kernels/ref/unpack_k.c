/* SPDX-License-Identifier: MIT
 *
 * The K formats: 256 weights in groups of 16 or 32, whose small integer scales share one float.
 *
 * Pure; any thread.
 */
#include "ref/unpack.h"

/* 16 groups of 16: a byte each with four bits of scale and four of minimum, bit pairs, f16 d and
 * dmin. A pair's four weights lie 32 apart. */
void unpack_Q2_K(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 84, dst += 256) {
        float d = unpack_f16(src + 80), dmin = unpack_f16(src + 82);
        for (int g = 0; g < 16; g++) {
            int half = g / 8, part = g % 8 / 2, at = 16 * (g % 2);
            const uint8_t *q = src + 16 + 32 * half + at;
            float step = d * (float)(src[g] & 15), offset = dmin * (float)(src[g] >> 4);
            for (int i = 0; i < 16; i++)
                dst[16 * g + i] = step * (float)(q[i] >> 2 * part & 3) - offset;
        }
    }
}

/* 16 groups of 16: a third bit for each weight (clear: minus 4), bit pairs as in Q2_K, six-bit
 * scales that count from -32 (low nibbles in 8 bytes, high pairs in 4), f16 d. */
void unpack_Q3_K(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 110, dst += 256) {
        float d = unpack_f16(src + 108);
        const uint8_t *s = src + 96;
        for (int g = 0; g < 16; g++) {
            int half = g / 8, part = g % 8 / 2, at = 16 * (g % 2);
            int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4, high = s[8 + g % 4] >> 2 * (g / 4) & 3;
            float step = d * (float)((low | high << 4) - 32);
            const uint8_t *q = src + 32 + 32 * half + at, *third = src + at;
            for (int i = 0; i < 16; i++) {
                int code = (q[i] >> 2 * part & 3) - (third[i] >> (4 * half + part) & 1 ? 0 : 4);
                dst[16 * g + i] = step * (float)code;
            }
        }
    }
}

/* Six-bit scale and minimum of group g of Q4_K and Q5_K, in 12 bytes: the upper four groups take
 * their two high bits from the lower four's. */
static void scale_of(const uint8_t *s, int g, float *scale, float *minimum)
{
    *scale = (float)(g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4);
    *minimum = (float)(g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4);
}

/* 8 groups of 32: f16 d and dmin, scales and minimums, then nibbles. */
void unpack_Q4_K(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 144, dst += 256) {
        float d = unpack_f16(src), dmin = unpack_f16(src + 2), scale, minimum;
        for (int g = 0; g < 8; g++) {
            scale_of(src + 4, g, &scale, &minimum);
            float step = d * scale, offset = dmin * minimum;
            const uint8_t *q = src + 16 + 32 * (g / 2);
            for (int i = 0; i < 32; i++)
                dst[32 * g + i] = step * (float)(g & 1 ? q[i] >> 4 : q[i] & 15) - offset;
        }
    }
}

/* As Q4_K with 32 bytes of fifth bits before the nibbles, group g at bit g. */
void unpack_Q5_K(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 176, dst += 256) {
        float d = unpack_f16(src), dmin = unpack_f16(src + 2), scale, minimum;
        const uint8_t *high = src + 16;
        for (int g = 0; g < 8; g++) {
            scale_of(src + 4, g, &scale, &minimum);
            float step = d * scale, offset = dmin * minimum;
            const uint8_t *q = src + 48 + 32 * (g / 2);
            for (int i = 0; i < 32; i++) {
                int code = (g & 1 ? q[i] >> 4 : q[i] & 15) | (high[i] >> g & 1) << 4;
                dst[32 * g + i] = step * (float)code - offset;
            }
        }
    }
}

/* 16 groups of 16: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, f16 d. */
void unpack_Q6_K(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 210, dst += 256) {
        const int8_t *scale = (const int8_t *)src + 192;
        float d = unpack_f16(src + 208);
        for (int g = 0; g < 16; g++) {
            int half = g / 8, part = g % 8 / 2, at = 16 * (g % 2);
            const uint8_t *low = src + 64 * half + 32 * (part & 1) + at;
            const uint8_t *high = src + 128 + 32 * half + at;
            float step = d * (float)scale[g];
            for (int i = 0; i < 16; i++) {
                int code = (low[i] >> 4 * (part / 2) & 15) | (high[i] >> 2 * part & 3) << 4;
                dst[16 * g + i] = step * (float)(code - 32);
            }
        }
    }
}
