/* SPDX-License-Identifier: MIT
 *
 * The codebook formats: 256 weights, 8 or 4 at a time by an index into a list of shapes, with
 * signs beside it (IQ2, IQ3) or a shift (IQ1).
 *
 * Pure; any thread.
 */
#include "ref/codebook.h"
#include "ref/unpack.h"

static const float sign[] = {1, -1};

/* Eight weights: an entry of 2-bit levels, and a bit each that turns the sign. */
static void put8(float *dst, float step, uint32_t entry, uint32_t signs)
{
    for (int i = 0; i < 8; i++)
        dst[i] = step * codebook_iq2_level[entry >> 2 * i & 3] * sign[signs >> i & 1];
}

/* Four weights: an entry of 3-bit levels, and a bit each that turns the sign. */
static void put4(float *dst, float step, const float *level, uint32_t entry, uint32_t signs)
{
    for (int i = 0; i < 4; i++)
        dst[i] = step * level[entry >> 3 * i & 7] * sign[signs >> i & 1];
}

/* f16 d, then 8 groups of 32: four indices, and a word with four signs of 7 bits and a scale. */
void unpack_IQ2_XXS(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 66, dst += 256) {
        float d = unpack_f16(src);
        for (int g = 0; g < 8; g++) {
            const uint8_t *index = src + 2 + 8 * g;
            uint32_t word = unpack_u32(index + 4);
            float step = d * (0.5f + (float)(word >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++)
                put8(dst + 32 * g + 8 * i, step, codebook_iq2_xxs[index[i]],
                     codebook_signs(word >> 7 * i & 127));
        }
    }
}

/* f16 d, 32 words of index (9 bits) and signs (7), a scale nibble for each 16. */
void unpack_IQ2_XS(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 74, dst += 256) {
        float d = unpack_f16(src);
        for (int i = 0; i < 32; i++) {
            uint32_t word = unpack_u16(src + 2 + 2 * i);
            int scale = src[66 + i / 4] >> 4 * (i / 2 & 1) & 15;
            float step = d * (0.5f + (float)scale) * 0.25f;
            put8(dst + 8 * i, step, codebook_iq2_xs[word & 511], codebook_signs(word >> 9));
        }
    }
}

/* f16 d, 32 low index bytes, 32 bytes of signs, 8 of high index bits, a scale nibble for 16. */
void unpack_IQ2_S(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 82, dst += 256) {
        float d = unpack_f16(src);
        for (int i = 0; i < 32; i++) {
            uint32_t index = src[2 + i] | (src[66 + i / 4] >> 2 * (i % 4) & 3u) << 8;
            int scale = src[74 + i / 4] >> 4 * (i / 2 & 1) & 15;
            float step = d * (0.5f + (float)scale) * 0.25f;
            put8(dst + 8 * i, step, codebook_iq2_s[index], src[34 + i]);
        }
    }
}

/* f16 d, 64 indices of 4 weights, then for each 32 a word with four signs of 7 bits and a scale. */
void unpack_IQ3_XXS(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 98, dst += 256) {
        float d = unpack_f16(src);
        for (int g = 0; g < 8; g++) {
            uint32_t word = unpack_u32(src + 66 + 4 * g);
            float step = d * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int i = 0; i < 8; i++)
                put4(dst + 32 * g + 4 * i, step, codebook_iq3_xxs_level,
                     codebook_iq3_xxs[src[2 + 8 * g + i]],
                     codebook_signs(word >> 7 * (i / 2) & 127) >> 4 * (i & 1));
        }
    }
}

/* f16 d, 64 low index bytes, 8 of ninth bits, 32 of signs, a scale nibble for each 32. */
void unpack_IQ3_S(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 110, dst += 256) {
        float d = unpack_f16(src);
        for (int i = 0; i < 64; i++) {
            uint32_t index = src[2 + i] | (src[66 + i / 8] >> i % 8 & 1u) << 8;
            int scale = src[106 + i / 16] >> 4 * (i / 8 & 1) & 15;
            put4(dst + 4 * i, d * (float)(1 + 2 * scale), codebook_iq3_s_level,
                 codebook_iq3_s[index], src[74 + i / 2] >> 4 * (i & 1));
        }
    }
}

/* Eight weights of -1, 0, 1, all shifted by the same eighth. */
static void put_shifted(float *dst, float step, uint32_t entry, float shift)
{
    for (int i = 0; i < 8; i++)
        dst[i] = step * (codebook_iq1_level[entry >> 2 * i & 3] + shift);
}

/* f16 d, 32 low index bytes, then for each 32 a word: four times three index bits, scale, shift. */
void unpack_IQ1_S(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 50, dst += 256) {
        float d = unpack_f16(src);
        for (int i = 0; i < 32; i++) {
            uint32_t word = unpack_u16(src + 34 + i / 4 * 2);
            uint32_t index = src[2 + i] | (word >> 3 * (i % 4) & 7) << 8;
            float step = d * (float)(2 * (word >> 12 & 7) + 1);
            put_shifted(dst + 8 * i, step, codebook_iq1_s[index], word >> 15 ? -0.125f : 0.125f);
        }
    }
}

/* 32 low index bytes, 32 nibbles of three index bits and a shift, four words: each four scales of
 * three bits, one for 16 weights, and a quarter of the f16 d. */
void unpack_IQ1_M(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 56, dst += 256) {
        uint32_t half = 0;
        for (int w = 0; w < 4; w++)
            half |= unpack_u16(src + 48 + 2 * w) >> 12 << 4 * w;
        float d = unpack_half(half);
        for (int i = 0; i < 32; i++) {
            uint32_t high = src[32 + i / 2] >> 4 * (i & 1) & 15u;
            uint32_t scale = unpack_u16(src + 48 + i / 8 * 2) >> 3 * (i / 2 % 4) & 7;
            put_shifted(dst + 8 * i, d * (float)(2 * scale + 1),
                        codebook_iq1_s[src[i] | (high & 7) << 8], high & 8 ? -0.125f : 0.125f);
        }
    }
}
