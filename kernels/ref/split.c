/* SPDX-License-Identifier: MIT
 *
 * What integers a block holds. Pure; any thread.
 */
#include "ref/split.h"

#include "ref/unpack.h"

enum { UNEVEN_OFFSET = 128, E2M1_OFFSET = 16 };

static int nibble(const uint8_t *p, int i, int half) /* low ones first, then high ones */
{
    return i < half ? p[i] & 15 : p[i - half] >> 4;
}

/* Codes of 32 with their scale alone. */
static void split_32(enum mk_type type, const uint8_t *b, struct split *s)
{
    static const int at[MK_TYPE_COUNT] = {[MK_Q4_0] = 2, [MK_Q4_1] = 4,   [MK_Q5_0] = 6,
                                          [MK_Q5_1] = 8, [MK_IQ4_NL] = 2, [MK_MXFP4] = 1};
    uint32_t fifths = type == MK_Q5_0 ? unpack_u32(b + 2) : type == MK_Q5_1 ? unpack_u32(b + 4) : 0;
    float value[32];
    s->scale[0] = 1;
    s->d = type == MK_MXFP4 ? unpack_bits(b[0] < 2 ? 0x200000u << b[0] : (b[0] - 1u) << 23)
                            : unpack_f16(b);
    if (type == MK_Q4_1 || type == MK_Q5_1) {
        s->minimum[0] = -1;
        s->dmin = unpack_f16(b + 2);
    }
    if (type == MK_IQ4_NL || type == MK_MXFP4) { /* the values themselves are the table */
        uint8_t one[18] = {0x00, 0x3c};
        if (type == MK_MXFP4)
            one[0] = 128;
        memcpy(one + at[type], b + at[type], 16);
        mk_ref_unpack(type, one, value, 32);
    }
    for (int i = 0; i < 32; i++) {
        if (type == MK_Q8_0)
            s->code[i] = (int8_t)b[2 + i] + 128;
        else if (type == MK_IQ4_NL || type == MK_MXFP4)
            s->code[i] = (int)value[i] + s->offset;
        else
            s->code[i] = nibble(b + at[type], i, 16) | (int)(fifths >> i & 1) << 4;
    }
}

/* Scales, minimums and codes of weight 32g + i of Q4_K and Q5_K. */
static void split_wide_k(enum mk_type type, const uint8_t *b, struct split *s)
{
    const uint8_t *six = b + 4;
    s->d = unpack_f16(b);
    s->dmin = unpack_f16(b + 2);
    for (int g = 0; g < 8; g++) {
        s->scale[g] = g < 4 ? six[g] & 63 : (six[g + 4] & 15) | six[g - 4] >> 6 << 4;
        s->minimum[g] = g < 4 ? six[g + 4] & 63 : six[g + 4] >> 4 | six[g] >> 6 << 4;
        const uint8_t *q = b + (type == MK_Q4_K ? 16 : 48) + 32 * (g / 2);
        for (int i = 0; i < 32; i++)
            s->code[32 * g + i] =
                (g & 1 ? q[i] >> 4 : q[i] & 15) | (type == MK_Q5_K ? (b[16 + i] >> g & 1) << 4 : 0);
    }
}

/* Part g of the formats whose parts are 16. */
static void split_part(enum mk_type type, const uint8_t *b, int g, struct split *s)
{
    int half = g / 8, pair = g % 8 / 2, at = 16 * (g % 2);
    if (type == MK_Q2_K) {
        s->scale[g] = b[g] & 15;
        s->minimum[g] = b[g] >> 4;
    } else if (type == MK_Q3_K) {
        const uint8_t *six = b + 96;
        s->scale[g] =
            ((g < 8 ? six[g] & 15 : six[g - 8] >> 4) | (six[8 + g % 4] >> 2 * (g / 4) & 3) << 4) -
            32;
    } else {
        s->scale[g] = (int8_t)b[192 + g];
    }
    for (int i = 0; i < 16; i++) {
        int *code = &s->code[16 * g + i];
        if (type == MK_Q2_K)
            *code = b[16 + 32 * half + at + i] >> 2 * pair & 3;
        else if (type == MK_Q3_K)
            *code = (b[32 + 32 * half + at + i] >> 2 * pair & 3) |
                    (b[at + i] >> (4 * half + pair) & 1) << 2;
        else
            *code = (b[64 * half + 32 * (pair & 1) + at + i] >> 4 * (pair / 2) & 15) |
                    (b[128 + 32 * half + at + i] >> 2 * pair & 3) << 4;
    }
}

static void split_iq4_xs(const uint8_t *b, struct split *s)
{
    uint8_t one[18] = {0x00, 0x3c};
    float value[32];
    s->d = unpack_f16(b);
    for (int g = 0; g < 8; g++) {
        s->scale[g] =
            ((b[4 + g / 2] >> 4 * (g & 1) & 15) | (int)(unpack_u16(b + 2) >> 2 * g & 3) << 4) - 32;
        memcpy(one + 2, b + 8 + 16 * g, 16);
        mk_ref_unpack(MK_IQ4_NL, one, value, 32);
        for (int i = 0; i < 32; i++)
            s->code[32 * g + i] = (int)value[i] + s->offset;
    }
}

bool ref_split(enum mk_type type, const uint8_t *b, struct split *ret)
{
    static const struct split shape[MK_TYPE_COUNT] = {
        [MK_Q8_0] = {.offset = 128, .lowest = -128, .highest = 127},
        [MK_Q4_0] = {.offset = 8, .lowest = -8, .highest = 7},
        [MK_Q4_1] = {.highest = 15},
        [MK_Q5_0] = {.offset = 16, .lowest = -16, .highest = 15},
        [MK_Q5_1] = {.highest = 31},
        [MK_IQ4_NL] = {.offset = UNEVEN_OFFSET, .lowest = -127, .highest = 113},
        [MK_MXFP4] = {.offset = E2M1_OFFSET, .lowest = -12, .highest = 12},
        [MK_Q2_K] = {.part = 16, .highest = 3},
        [MK_Q3_K] = {.part = 16, .offset = 4, .lowest = -4, .highest = 3},
        [MK_Q4_K] = {.part = 32, .highest = 15},
        [MK_Q5_K] = {.part = 32, .highest = 31},
        [MK_Q6_K] = {.part = 16, .offset = 32, .lowest = -32, .highest = 31},
        [MK_IQ4_XS] = {.part = 32, .offset = UNEVEN_OFFSET, .lowest = -127, .highest = 113},
    };
    if (!shape[type].highest)
        return false;
    *ret = shape[type];
    ret->elements = (int)mk_type_info[type].block_elements;
    if (ret->elements == 32) {
        ret->part = 32;
        split_32(type, b, ret);
        return true;
    }
    switch (type) {
    case MK_Q4_K:
    case MK_Q5_K:
        split_wide_k(type, b, ret);
        return true;
    case MK_IQ4_XS:
        split_iq4_xs(b, ret);
        return true;
    case MK_Q2_K:
        ret->d = unpack_f16(b + 80);
        ret->dmin = unpack_f16(b + 82);
        break;
    case MK_Q3_K:
        ret->d = unpack_f16(b + 108);
        break;
    default:
        ret->d = unpack_f16(b + 208);
        break;
    }
    for (int g = 0; g < 16; g++)
        split_part(type, b, g, ret);
    return true;
}
