/* SPDX-License-Identifier: MIT
 *
 * The truth of everything that works on one vector: norm, rotation, activation, softmax, the
 * choice of experts, rounding for the cache.
 *
 * Plain C without contraction. Pure; any thread.
 */
#include <math.h>
#include <string.h>

#include "mk.h"

/* ------------------------------------------------------------------ norm, activation, softmax */

static void rms_norm(float *y, const float *x, const float *w, int n, float eps)
{
    float lane[8] = {0};
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] += x[i + l] * x[i + l];
    for (int l = 0; i + l < n; l++)
        lane[l] += x[i + l] * x[i + l];
    float sum =
        ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));

    float r = 1.0f / sqrtf(sum / (float)n + eps);
    for (i = 0; i < n; i++)
        y[i] = x[i] * r * w[i];
}

static void swiglu(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void softmax(float *x, int n)
{
    float top = -INFINITY;
    for (int i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;

    float sum = 0;
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - top);
        sum += x[i];
    }
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

/* ------------------------------------------------------------------ rotation */

static void rope(float *x, const float *cs, int n)
{
    for (int i = 0; i < n; i += 2) {
        float a = x[i], b = x[i + 1];
        x[i] = a * cs[i] - b * cs[i + 1];
        x[i + 1] = a * cs[i + 1] + b * cs[i];
    }
}

/* The pair that turns `turns` times within the original context, counted in (real) pairs. */
static double yarn_pair(const struct mk_rope *r, double turns)
{
    return r->n_dims * log(r->original_context / (2 * M_PI * turns)) / (2 * log(r->theta));
}

void mk_rope_frequencies(const struct mk_rope *rope, double *ret)
{
    double low = 0, high = 0;
    bool yarn = rope->yarn && rope->factor > 1;
    if (yarn) {
        low = fmax(floor(yarn_pair(rope, rope->beta_fast)), 0);
        high = fmin(ceil(yarn_pair(rope, rope->beta_slow)), rope->n_dims - 1);
        if (low == high)
            high += 0.001; /* a step, not a division by zero */
    }
    for (int i = 0; i < rope->n_dims / 2; i++) {
        double plain = pow(rope->theta, -2.0 * i / rope->n_dims);
        double ramp = yarn ? fmin(fmax((i - low) / (high - low), 0), 1) : 0;
        ret[i] = ramp > 0 ? plain / rope->factor * ramp + plain * (1 - ramp) : plain;
    }
}

void mk_rope_table(const double *frequency, int n_dims, int64_t position, float *cs)
{
    for (int i = 0; i < n_dims / 2; i++) {
        double angle = (double)position * frequency[i];
        cs[2 * i] = (float)cos(angle);
        cs[2 * i + 1] = (float)sin(angle);
    }
}

/* ------------------------------------------------------------------ router */

static float no_nan(float score)
{
    return isnan(score) ? -INFINITY : score;
}

static float sigmoid(float z)
{
    return 1.0f / (1.0f + expf(-z));
}

static float group_score(const struct mk_route *r, const float *score, int size)
{
    float best = -INFINITY, second = -INFINITY;
    for (int e = 0; e < size; e++) {
        float s = no_nan(score[e]);
        if (s > best) {
            second = best;
            best = s;
        } else if (s > second) {
            second = s;
        }
    }
    return r->gate == MK_GATE_SIGMOID && size > 1 ? no_nan(best + second) : best;
}

/* Whether fewer than n_groups_used groups come before this one. */
static bool group_is_kept(const struct mk_route *r, const float *group, int which)
{
    int before = 0;
    for (int g = 0; g < r->n_groups; g++)
        before += group[g] > group[which] || (group[g] == group[which] && g < which);
    return before < r->n_groups_used;
}

/* Puts expert e into the sorted list of the best so far; a later equal stays behind. */
static int list_insert(int32_t *expert, float *score, int n, int most, int e, float s)
{
    int at = n;
    while (at > 0 && s > score[at - 1])
        at--;
    if (at == most)
        return n;
    int last = n < most ? n : most - 1;
    for (int i = last; i > at; i--) {
        expert[i] = expert[i - 1];
        score[i] = score[i - 1];
    }
    expert[at] = e;
    score[at] = s;
    return n < most ? n + 1 : n;
}

static void route(const struct mk_route *r, const float *logits, int32_t *expert, float *weight,
                  float *tmp)
{
    float *score = tmp, *group = tmp + r->n_experts;
    bool by_softmax = r->gate == MK_GATE_SOFTMAX;
    bool grouped = r->n_groups > 1 && r->n_groups_used < r->n_groups;
    int size = grouped ? r->n_experts / r->n_groups : r->n_experts;

    memcpy(score, logits, (size_t)r->n_experts * sizeof(*score));
    if (by_softmax)
        softmax(score, r->n_experts);
    else
        for (int e = 0; e < r->n_experts; e++)
            score[e] = sigmoid(score[e]) + (r->bias ? r->bias[e] : 0);

    if (grouped)
        for (int g = 0; g < r->n_groups; g++)
            group[g] = group_score(r, score + g * size, size);

    /* The second pass matters only where the kept groups hold fewer than n_used experts. */
    int n = 0;
    for (int kept = 1; kept >= 0 && n < r->n_used; kept--) {
        int already = n;
        for (int g = 0; g < r->n_experts / size; g++)
            if ((!grouped || group_is_kept(r, group, g)) == kept)
                for (int e = g * size; e < (g + 1) * size; e++)
                    n = already + list_insert(expert + already, weight + already, n - already,
                                              r->n_used - already, e, no_nan(score[e]));
    }

    float sum = 0;
    for (int i = 0; i < n; i++) {
        weight[i] = by_softmax ? score[expert[i]] : sigmoid(logits[expert[i]]);
        sum += weight[i];
    }
    bool normed = r->norm && (!by_softmax || n > 1);
    for (int i = 0; i < n; i++) {
        if (normed)
            weight[i] /= sum + 1e-20f;
        if (!normed || !by_softmax)
            weight[i] *= r->scale;
    }
}

/* ------------------------------------------------------------------ rounding for the cache */

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* Shifts right and rounds to nearest, ties to even. */
static uint32_t shift_rounded(uint32_t v, int by)
{
    return (v + (1u << (by - 1)) - 1 + (v >> by & 1)) >> by;
}

static uint16_t to_f16(float f)
{
    uint32_t bits = to_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff)); /* NaN, quiet */
    if (magnitude >= 0x47800000)
        return (uint16_t)(sign | 0x7c00); /* 65536 and above */
    if (magnitude >= 0x38800000)          /* normal; rounding up may carry to infinity */
        return (uint16_t)(sign | shift_rounded(magnitude - 0x38000000, 13));
    if (magnitude < 0x33000000)
        return (uint16_t)sign; /* below half of the least subnormal */
    uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | shift_rounded(fraction, 126 - (int)(magnitude >> 23)));
}

static uint16_t to_bf16(float f)
{
    uint32_t bits = to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN, quiet */
    return (uint16_t)shift_rounded(bits, 16);
}

static void store(void *dst, enum mk_type type, const float *src, int n)
{
    if (type == MK_F32) {
        memcpy(dst, src, (size_t)n * sizeof(*src));
        return;
    }
    for (int i = 0; i < n; i++) {
        uint16_t h = type == MK_F16 ? to_f16(src[i]) : to_bf16(src[i]);
        memcpy((uint8_t *)dst + 2 * i, &h, sizeof(h));
    }
}

void mk_ref_vec(struct mk *mk)
{
    mk->rms_norm = rms_norm;
    mk->rope = rope;
    mk->swiglu = swiglu;
    mk->softmax = softmax;
    mk->route = route;
    mk->store = store;
}
