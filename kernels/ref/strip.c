/* SPDX-License-Identifier: MIT
 *
 * Strips in plain C: what each byte of a row becomes, and the way back. Pure; any thread.
 */
#include "strip.h"

#include <string.h>

/* Even bits to the lower half, odd ones to the upper. */
static uint32_t unshuffle(uint32_t x)
{
    uint32_t t = (x ^ x >> 1) & 0x22222222;
    x ^= t ^ t << 1;
    t = (x ^ x >> 2) & 0x0c0c0c0c;
    x ^= t ^ t << 2;
    t = (x ^ x >> 4) & 0x00f000f0;
    x ^= t ^ t << 4;
    t = (x ^ x >> 8) & 0x0000ff00;
    return x ^ t ^ t << 8;
}

static uint32_t shuffle(uint32_t x)
{
    uint32_t t = (x ^ x >> 8) & 0x0000ff00;
    x ^= t ^ t << 8;
    t = (x ^ x >> 4) & 0x00f000f0;
    x ^= t ^ t << 4;
    t = (x ^ x >> 2) & 0x0c0c0c0c;
    x ^= t ^ t << 2;
    t = (x ^ x >> 1) & 0x22222222;
    return x ^ t ^ t << 1;
}

/* Copies one row of a strip to or from its places there. */
static void move_row(enum mk_type type, uint8_t *strip, uint8_t *row, int r, int k, bool to_strip)
{
    const int elements = (int)mk_type_info[type].block_elements;
    const size_t bytes = mk_type_info[type].block_bytes;
    const struct strip_lone lone = strip_lone(type);
    const int words = strip_words(type), fifths = strip_fifths(type);
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        int blocks = (k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP) / elements;
        uint8_t *group = strip + (size_t)g / (size_t)elements * bytes * STRIP_ROWS;
        uint8_t *word = group + (size_t)blocks * (size_t)lone.bytes * STRIP_ROWS;
        for (int b = 0; b < blocks; b++, row += bytes) {
            uint8_t *alone = group + (size_t)((b * STRIP_ROWS + r) * lone.bytes);
            memcpy(to_strip ? alone : row + lone.at, to_strip ? row + lone.at : alone,
                   (size_t)lone.bytes);
            for (int i = 0; i < words; i++) {
                uint8_t *in_row = row + 4 * i + (lone.at <= 4 * i ? lone.bytes : 0);
                uint8_t *in_strip = word + (size_t)((b * words + i) * STRIP_ROWS + r) * 4;
                uint32_t v;
                memcpy(&v, to_strip ? in_row : in_strip, 4);
                if (i == fifths)
                    v = to_strip ? unshuffle(unshuffle(v)) : shuffle(shuffle(v));
                memcpy(to_strip ? in_strip : in_row, &v, 4);
            }
        }
    }
}

void mk_strip_pack(enum mk_type type, void *dst, const void *src, int n, int k)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)k);
    if (n % STRIP_ROWS)
        memset((uint8_t *)dst + (size_t)(n / STRIP_ROWS * STRIP_ROWS) * row_bytes, 0,
               STRIP_ROWS * row_bytes);
    for (int j = 0; j < n; j++) {
        uint8_t *strip = (uint8_t *)dst + (size_t)(j / STRIP_ROWS * STRIP_ROWS) * row_bytes;
        move_row(type, strip, (uint8_t *)(uintptr_t)src + (size_t)j * row_bytes, j % STRIP_ROWS, k,
                 true);
    }
}

/* Group by group, through a row of blocks as a file has them. */
void mk_strip_unpack(enum mk_type type, const void *strips, float *dst, int k, int j)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)k);
    const uint8_t *strip =
        (const uint8_t *)strips + (size_t)(j / STRIP_ROWS * STRIP_ROWS) * row_bytes;
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        uint8_t row[MK_DOT_GROUP / 32 * 34];
        int n = k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP;
        move_row(type, (uint8_t *)(uintptr_t)strip, row, j % STRIP_ROWS, n, false);
        mk_ref_unpack(type, row, dst + g, (size_t)n);
        strip += STRIP_ROWS * mk_row_bytes(type, (size_t)n);
    }
}
