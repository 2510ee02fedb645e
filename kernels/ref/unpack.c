/* SPDX-License-Identifier: MIT
 *
 * Weights of any number format as float32, and the formats whose elements are floats themselves.
 *
 * Pure; any thread.
 */
#include <math.h>

#include "ref/unpack.h"

void unpack_F32(const uint8_t *src, float *dst, size_t n)
{
    memcpy(dst, src, n * sizeof(*dst));
}

void unpack_F16(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = unpack_f16(src + 2 * i);
}

void unpack_BF16(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = unpack_bits(unpack_u16(src + 2 * i) << 16);
}

/* 128 weights: float32 scale, then signed e4m3 bytes. */
void unpack_FP8_E4M3(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 128; b++, src += 132, dst += 128) {
        float scale = unpack_bits(unpack_u32(src));
        for (int i = 0; i < 128; i++) {
            uint32_t byte = src[4 + i], magnitude = byte & 0x7f;
            float value = magnitude == 0x7f ? NAN : unpack_e4m3(magnitude);
            dst[i] = scale * (byte & 0x80 ? -value : value);
        }
    }
}

void mk_ref_unpack(enum mk_type type, const void *src, float *dst, size_t n)
{
    static void (*const unpack[MK_TYPE_COUNT])(const uint8_t *src, float *dst, size_t n) = {
#define UNPACK_ROW(id, name, gguf, elements, bytes) [MK_##id] = unpack_##id,
        MK_TYPE_MAP(UNPACK_ROW)
#undef UNPACK_ROW
    };
    unpack[type](src, dst, n);
}
