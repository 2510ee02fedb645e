/* SPDX-License-Identifier: MIT
 *
 * The truth of products with x rounded to int8: what faster sets do with few rows, bit for bit.
 *
 * x is rounded in groups of 256 to multiples of a 127th of the largest. Of weights only integers
 * take part until 4 of them are added: a fused step rounds but once, so how a set splits a block's
 * scales between integers and floats makes no difference. Plain C; pure; any thread.
 */
#include <math.h>
#include <string.h>

#include "ref/unpack.h"

enum { LANES = 16, EACH = 4, CHUNK = LANES * EACH };

/* Where a block keeps its scale, and the scale of its minimums; -1: it has none. */
struct place_of {
    int scale, minimum;
};

static bool find(enum mk_type type, struct place_of *ret)
{
    switch (type) {
    case MK_Q4_0:
    case MK_Q5_0:
    case MK_Q8_0:
    case MK_IQ4_NL:
    case MK_IQ4_XS:
    case MK_MXFP4:
        *ret = (struct place_of){0, -1};
        return true;
    case MK_Q4_1:
    case MK_Q5_1:
    case MK_Q4_K:
    case MK_Q5_K:
        *ret = (struct place_of){0, 2};
        return true;
    case MK_Q2_K:
        *ret = (struct place_of){80, 82};
        return true;
    case MK_Q3_K:
        *ret = (struct place_of){108, -1};
        return true;
    case MK_Q6_K:
        *ret = (struct place_of){208, -1};
        return true;
    default:
        return false;
    }
}

/* A block as integers times `scale`, and integers times `minimum` that are added. */
struct split {
    float weight[256], offset[256];
    float scale, minimum;
};

/* The same block with other scales says which integers it holds. */
static void with_scales(enum mk_type type, const uint8_t *block, struct place_of at, bool scale,
                        bool minimum, float *ret)
{
    static const uint8_t one[2] = {0x00, 0x3c};
    uint8_t copy[256] = {0};
    memcpy(copy, block, mk_type_info[type].block_bytes);
    if (type == MK_MXFP4) {
        copy[0] = 128; /* codes there are twice the values */
    } else {
        memset(copy + at.scale, 0, 2);
        if (scale)
            memcpy(copy + at.scale, one, 2);
        if (at.minimum >= 0)
            memset(copy + at.minimum, 0, 2);
        if (minimum)
            memcpy(copy + at.minimum, one, 2);
    }
    mk_ref_unpack(type, copy, ret, mk_type_info[type].block_elements);
}

static void split_block(enum mk_type type, const uint8_t *block, struct place_of at,
                        struct split *ret)
{
    *ret = (struct split){0};
    with_scales(type, block, at, true, false, ret->weight);
    if (type == MK_MXFP4) {
        ret->scale = unpack_bits(block[0] < 2 ? 0x200000u << block[0] : (block[0] - 1u) << 23);
        return;
    }
    ret->scale = unpack_f16(block + at.scale);
    if (at.minimum >= 0) {
        with_scales(type, block, at, false, true, ret->offset);
        ret->minimum = unpack_f16(block + at.minimum);
    }
}

/* Rounds a group of n; returns its step. */
static float round_group(const float *x, int n, int *q)
{
    float top = 0;
    bool odd = false;
    for (int c = 0; c < n; c++) {
        odd |= !(fabsf(x[c]) < INFINITY);
        top = fabsf(x[c]) > top ? fabsf(x[c]) : top;
    }
    float by = odd || top < MK_DOT_LEAST ? 0 : 127 / top;
    for (int c = 0; c < n; c++)
        q[c] = odd ? 0 : (int)nearbyintf(x[c] * by);
    return odd ? NAN : by == 0 ? 0 : top / 127;
}

bool mk_ref_dot(enum mk_type type, const void *w, const float *x, int k, float *ret)
{
    struct place_of at = {0, -1};
    float sum[LANES] = {0};
    const uint8_t *block = w;
    int elements = (int)mk_type_info[type].block_elements;
    if (!find(type, &at))
        return false;
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        int n = k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP, q[MK_DOT_GROUP] = {0};
        float step = round_group(x + g, n, q), group[LANES] = {0};
        struct split split = {0};
        for (int c = 0; c < n; c += EACH) {
            if (c % elements == 0) {
                split_block(type, block, at, &split);
                block += mk_type_info[type].block_bytes;
            }
            int lane = c % CHUNK / EACH;
            float weights = 0, offsets = 0; /* integers below 2^24 */
            for (int i = 0; i < EACH; i++) {
                weights += split.weight[c % elements + i] * (float)q[c + i];
                offsets += split.offset[c % elements + i] * (float)q[c + i];
            }
            group[lane] = fmaf(split.scale, weights, group[lane]);
            if (at.minimum >= 0)
                group[lane] = fmaf(split.minimum, offsets, group[lane]);
        }
        for (int l = 0; l < LANES; l++)
            sum[l] = fmaf(step, group[l], sum[l]);
    }
    float four[4];
    for (int l = 0; l < 4; l++)
        four[l] = (sum[l] + sum[l + 8]) + (sum[l + 4] + sum[l + 12]);
    *ret = (four[0] + four[2]) + (four[1] + four[3]);
    return true;
}
