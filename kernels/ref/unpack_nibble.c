/* SPDX-License-Identifier: MIT
 *
 * Number formats whose nibbles name one of 16 uneven steps.
 *
 * Nibbles lie in pairs: the low ones of a group are its first half, the high ones its second. Pure;
 * any thread.
 */
#include "ref/unpack.h"

/* Constants of IQ4_NL and IQ4_XS. */
static const int8_t uneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

/* 32 weights: f16 d, then nibbles that name uneven steps. */
void unpack_IQ4_NL(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 18, dst += 32) {
        float d = unpack_f16(src);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)uneven[src[2 + i] & 15];
            dst[i + 16] = d * (float)uneven[src[2 + i] >> 4];
        }
    }
}

/* 256 weights in 8 groups of 32: f16 d, six-bit scales that count from -32 (their high bits in two
 * bytes, their low ones in four), then nibbles as in IQ4_NL. */
void unpack_IQ4_XS(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 136, dst += 256) {
        float d = unpack_f16(src);
        uint32_t high = unpack_u16(src + 2);
        for (int g = 0; g < 8; g++) {
            int scale = (src[4 + g / 2] >> 4 * (g & 1) & 15) | (int)(high >> 2 * g & 3) << 4;
            float step = d * (float)(scale - 32);
            const uint8_t *q = src + 8 + 16 * g;
            for (int i = 0; i < 16; i++) {
                dst[32 * g + i] = step * (float)uneven[q[i] & 15];
                dst[32 * g + 16 + i] = step * (float)uneven[q[i] >> 4];
            }
        }
    }
}

/* Twice the value of each e2m1 nibble; the upper eight are negative, with a zero of their own. */
static const int8_t e2m1_twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 32 weights: an exponent, then e2m1 nibbles: 2^(e - 127) times their value. */
void unpack_MXFP4(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 17, dst += 32) {
        uint32_t e = src[0]; /* half the scale, as the values are twice theirs */
        float half = unpack_bits(e < 2 ? 0x200000u << e : (e - 1) << 23);
        for (int i = 0; i < 16; i++) {
            dst[i] = half * (float)e2m1_twice[src[1 + i] & 15];
            dst[i + 16] = half * (float)e2m1_twice[src[1 + i] >> 4];
        }
    }
}

/* 64 weights in 4 groups of 16: four unsigned e4m3 scales (0x7f counts as zero), then e2m1
 * nibbles, a group in 8 bytes. */
void unpack_NVFP4(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 64; b++, src += 36, dst += 64)
        for (int g = 0; g < 4; g++) {
            const uint8_t *q = src + 4 + 8 * g;
            float half = src[g] == 0x7f ? 0 : unpack_e4m3(src[g] & 0x7f) * 0.5f;
            for (int i = 0; i < 8; i++) {
                dst[16 * g + i] = half * (float)e2m1_twice[q[i] & 15];
                dst[16 * g + 8 + i] = half * (float)e2m1_twice[q[i] >> 4];
            }
        }
}
