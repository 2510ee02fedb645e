/* SPDX-License-Identifier: MIT
 *
 * The truth of products of integers: what faster sets do with x rounded to int8, bit for bit.
 *
 * x is rounded in groups of 256 to multiples of a 127th of the largest. mk_ref_dot() takes codes as
 * they are: of a block, all is exact until its one float scale comes in. mk_ref_mul() first rounds
 * the weights of a group to multiples of a 126th of the largest that they could be, so that a group
 * is one sum of integers. Plain C; pure; any thread.
 */
#include <math.h>
#include <string.h>

#include "mk.h"

#include "ref/split.h"

/* ------------------------------------------------------------------ x */

/* Rounds a group of n; returns its step. */
static float round_group(const float *x, int n, int8_t *q)
{
    float top = 0;
    bool odd = false;
    for (int c = 0; c < n; c++) {
        odd |= !(fabsf(x[c]) < INFINITY);
        top = fabsf(x[c]) > top ? fabsf(x[c]) : top;
    }
    float by = odd || top < MK_DOT_LEAST ? 0 : 127 / top;
    for (int c = 0; c < n; c++)
        q[c] = (int8_t)(odd ? 0 : (int)nearbyintf(x[c] * by));
    return odd ? NAN : by == 0 ? 0 : top / 127;
}

void mk_ref_round(void *dst, const float *x, int k)
{
    struct mk_rounded row = mk_rounded_row(dst, k);
    int padded = MK_ROUNDED_K(k);
    memset(row.q, 0, (size_t)padded);
    for (int g = 0; g < k; g += MK_DOT_GROUP)
        row.step[g / MK_DOT_GROUP] =
            round_group(x + g, k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP, row.q + g);
    memset(row.less16, 0, (size_t)padded / 16 * sizeof *row.less16);
    memset(row.less32, 0, (size_t)padded / 32 * sizeof *row.less32);
    for (int c = 0; c < padded; c++) {
        row.less16[c / 16] -= row.q[c];
        row.less32[c / 32] -= row.q[c];
    }
}

/* ------------------------------------------------------------------ codes as they are */

static float add_block(const struct split *s, const int8_t *q, float group)
{
    int sum = 0, less = 0;
    for (int c = 0; c < s->elements; c++) {
        sum += s->scale[c / s->part] * (s->code[c] - s->offset) * q[c];
        less -= s->minimum[c / s->part] * q[c];
    }
    group = fmaf(s->d, (float)sum, group);
    return s->lowest == 0 ? fmaf(s->dmin, (float)less, group) : group;
}

bool mk_ref_dot(enum mk_type type, const void *w, const float *x, int k, float *ret)
{
    const uint8_t *block = w;
    struct split split;
    if (!ref_split(type, block, &split))
        return false;
    *ret = 0;
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        int n = k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP;
        int8_t q[MK_DOT_GROUP];
        float step = round_group(x + g, n, q), group = 0;
        for (int c = 0; c < n; c += split.elements, block += mk_type_info[type].block_bytes) {
            ref_split(type, block, &split);
            group = add_block(&split, q + c, group);
        }
        *ret = fmaf(step, group, *ret);
    }
    return true;
}

/* ------------------------------------------------------------------ weights as int8 */

/* n weights of a group of blocks; returns their step. */
static float round_weights(enum mk_type type, const uint8_t *block, int n, int *ret)
{
    struct split split[MK_DOT_GROUP / 32];
    float top = 0;
    bool odd = false;
    for (int c = 0; c < n; c += split->elements, block += mk_type_info[type].block_bytes) {
        struct split *s = &split[c / 32];
        ref_split(type, block, s);
        for (int part = 0; part < s->elements / s->part; part++) {
            float scale = s->d * (float)s->scale[part], minimum = s->dmin * (float)s->minimum[part];
            float low = fabsf(fmaf(scale, (float)s->lowest, -minimum));
            float high = fabsf(fmaf(scale, (float)s->highest, -minimum));
            odd |= !(low < INFINITY) || !(high < INFINITY);
            top = low > top ? low : top;
            top = high > top ? high : top;
        }
    }
    bool none = odd || top < MK_DOT_LEAST;
    float by = none ? 0 : 256 * (126 / top);
    for (int c = 0; c < n; c++) {
        const struct split *s = &split[c / split->elements * split->elements / 32];
        int at = c % s->elements, part = at / s->part;
        float scale = s->d * (float)s->scale[part], minimum = s->dmin * (float)s->minimum[part];
        int ratio = none ? 0 : (int)nearbyintf(scale * by);
        int begin = none ? 0 : 128 - (int)nearbyintf(minimum * by);
        ret[c] = (ratio * (s->code[at] - s->offset) + begin) >> 8;
    }
    return odd ? NAN : none ? 0 : top / 126;
}

bool mk_ref_mul(enum mk_type type, const void *w, const float *x, int k, float *ret)
{
    const uint8_t *block = w;
    struct split split;
    if (!ref_split(type, block, &split))
        return false;
    *ret = 0;
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        int n = k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP, weight[MK_DOT_GROUP], sum = 0;
        int8_t q[MK_DOT_GROUP];
        float x_step = round_group(x + g, n, q);
        float w_step = round_weights(type, block + mk_row_bytes(type, (size_t)g), n, weight);
        for (int c = 0; c < n; c++)
            sum += weight[c] * q[c];
        *ret = fmaf((float)sum * x_step, w_step, *ret);
    }
    return true;
}
