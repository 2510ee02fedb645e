/* SPDX-License-Identifier: MIT
 *
 * What each number format means: one function each, unpack_<enumerator>, bit for bit as the
 * format's documents say.
 *
 * n weights at src, a whole number of blocks, become float32 at dst. Products are taken from left
 * to right, scale first, each rounded by itself. Pure; any thread.
 */
#pragma once

#include <string.h>

#include "mk.h"

#define UNPACK_DECLARE(id, name, gguf, elements, bytes)                                            \
    void unpack_##id(const uint8_t *src, float *dst, size_t n);
MK_TYPE_MAP(UNPACK_DECLARE)
#undef UNPACK_DECLARE

/* ------------------------------------------------------------------ what they share */

static inline float unpack_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t unpack_u16(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t unpack_u32(const uint8_t *p)
{
    return unpack_u16(p) | unpack_u16(p + 2) << 16;
}

/* A number of few bits, put where a float has them, is a power of two too small: subnormal ones as
 * well, and multiplying by that power is exact. */
static inline float unpack_half(uint32_t h)
{
    uint32_t sign = (h & 0x8000) << 16, fraction = h & 0x3ff, bits;
    float value = unpack_bits((h & 0x7fff) << 13) * 0x1p112f;
    memcpy(&bits, &value, sizeof(bits));

    if ((h & 0x7c00) == 0x7c00) /* infinity, or NaN: made quiet, as converting hardware does */
        bits = 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0);
    return unpack_bits(sign | bits);
}

static inline float unpack_f16(const uint8_t *p)
{
    return unpack_half(unpack_u16(p));
}

/* Seven bits e4m3, without sign and without a NaN. Small ones don't become subnormal floats on the
 * way: they are frequent, and processors stumble over those. */
static inline float unpack_e4m3(uint32_t bits)
{
    return bits < 8 ? (float)(int)bits * 0x1p-9f : unpack_bits((bits << 20) + (120u << 23));
}
