/* SPDX-License-Identifier: MIT
 *
 * The truth of multiplication: what each number format means, and the dot product in plain C.
 *
 * Built without contraction, so that a product and a sum round where the text says so. Nothing is
 * repacked: a packed matrix is the rows of the file. Pure; any thread.
 */
#include <string.h>

#include "mk.h"

/* ------------------------------------------------------------------ number formats */

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* The half's bits, put where a float has them, mean 2^112 too little: subnormal ones as well. */
static float from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, fraction = h & 0x3ff;
    uint32_t bits = to_bits(from_bits((uint32_t)(h & 0x7fff) << 13) * 0x1p112f);

    if ((h & 0x7c00) == 0x7c00) /* infinity, or NaN: made quiet, as converting hardware does */
        bits = 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0);
    return from_bits(sign | bits);
}

static float load_f16(const uint8_t *p)
{
    return from_f16(load_u16(p));
}

static void unpack_f32(const uint8_t *src, float *dst, size_t n)
{
    memcpy(dst, src, n * sizeof(*dst));
}

static void unpack_f16(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = load_f16(src + 2 * i);
}

static void unpack_bf16(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = from_bits((uint32_t)load_u16(src + 2 * i) << 16);
}

/* 32 weights: f16 d, then 32 signed bytes. */
static void unpack_q8_0(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, src += 34, dst += 32) {
        float d = load_f16(src);
        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)(int8_t)src[2 + i];
    }
}

/* 256 weights in 8 groups of 32: f16 d and dmin, 8 six-bit scales and 8 six-bit minimums in 12
 * bytes (the upper four groups take their two high bits from the lower four's), then nibbles. */
static void unpack_q4_k(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 144, dst += 256) {
        float d = load_f16(src), dmin = load_f16(src + 2);
        const uint8_t *s = src + 4;
        for (int g = 0; g < 8; g++) {
            int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
            int minimum = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
            float step = d * (float)scale, offset = dmin * (float)minimum;
            const uint8_t *q = src + 16 + 32 * (g / 2);
            for (int i = 0; i < 32; i++)
                dst[32 * g + i] = step * (float)(g & 1 ? q[i] >> 4 : q[i] & 15) - offset;
        }
    }
}

/* 256 weights in 16 groups of 16: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed
 * scales, f16 d. */
static void unpack_q6_k(const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, src += 210, dst += 256) {
        const int8_t *scale = (const int8_t *)src + 192;
        float d = load_f16(src + 208);
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

void mk_ref_unpack(enum mk_type type, const void *src, float *dst, size_t n)
{
    switch (type) {
    case MK_F32:
        unpack_f32(src, dst, n);
        return;
    case MK_F16:
        unpack_f16(src, dst, n);
        return;
    case MK_BF16:
        unpack_bf16(src, dst, n);
        return;
    case MK_Q8_0:
        unpack_q8_0(src, dst, n);
        return;
    case MK_Q4_K:
        unpack_q4_k(src, dst, n);
        return;
    case MK_Q6_K:
        unpack_q6_k(src, dst, n);
        return;
    case MK_TYPE_COUNT:
        return;
    }
}

/* ------------------------------------------------------------------ multiply */

enum { LANES = 8 }; /* partial sums of a dot product: element c goes to lane c % LANES */

static float dot(const float *w, const float *x, int k)
{
    float lane[LANES] = {0};
    int c = 0;
    for (; c + LANES <= k; c += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += w[c + l] * x[c + l];
    for (int l = 0; c + l < k; l++)
        lane[l] += w[c + l] * x[c + l];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void multiply(const struct mk_mm *mm, enum mk_type type)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k);

    for (int j = mm->n0; j < mm->n1; j++) {
        mk_ref_unpack(type, (const uint8_t *)mm->w + (size_t)j * row_bytes, mm->tmp, (size_t)mm->k);
        for (int i = 0; i < mm->m; i++) {
            size_t from = (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
            size_t to = (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + (size_t)j;
            float sum = dot(mm->tmp, mm->x + from, mm->k);
            mm->y[to] = mm->add ? mm->y[to] + sum : sum;
        }
    }
}

/* The four functions of a number format, each the general one with the type put in. */
#define REF_FUNCTIONS(id, name, gguf, elements, bytes)                                             \
    static size_t pack_size_##id(int n, int k)                                                     \
    {                                                                                              \
        return (size_t)n * mk_row_bytes(MK_##id, (size_t)k);                                       \
    }                                                                                              \
    static void pack_##id(void *dst, const void *src, int n, int k)                                \
    {                                                                                              \
        memcpy(dst, src, pack_size_##id(n, k));                                                    \
    }                                                                                              \
    static void multiply_##id(const struct mk_mm *mm)                                              \
    {                                                                                              \
        multiply(mm, MK_##id);                                                                     \
    }                                                                                              \
    static void row_##id(float *dst, const void *w, int n, int k, int j)                           \
    {                                                                                              \
        (void)n;                                                                                   \
        mk_ref_unpack(MK_##id, (const uint8_t *)w + (size_t)j * mk_row_bytes(MK_##id, (size_t)k),  \
                      dst, (size_t)k);                                                             \
    }
MK_TYPE_MAP(REF_FUNCTIONS)
#undef REF_FUNCTIONS

#define REF_MAT(id, name, gguf, elements, bytes)                                                   \
    {"c", MK_##id, gguf, pack_size_##id, pack_##id, multiply_##id, multiply_##id, row_##id},
static const struct mk_mat ref_mat[MK_TYPE_COUNT] = {MK_TYPE_MAP(REF_MAT)};
#undef REF_MAT

void mk_ref_mat(struct mk *mk)
{
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        mk->mat[t] = &ref_mat[t];
}
