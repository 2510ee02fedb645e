/* SPDX-License-Identifier: MIT
 *
 * Norm, rotation, activation, softmax and rounding against double precision, and the router
 * against the reference; with odd lengths, guarded edges, and numbers that are none.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { GUARD_A, GUARD_B, GUARD_C, GUARD_D };

/* Half a unit in the last place of a float near 1: what one rounding may lose. */
static const double u = 0x1p-24;

static const int lengths[] = {1,  2,  3,  7,  8,   9,   15,  16,  17,   31,
                              32, 33, 63, 64, 100, 255, 256, 257, 1000, 4096};
enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };

static void near(struct check *check, const char *what, int i, double is, double expected,
                 double slack)
{
    if (!(fabs(is - expected) <= slack))
        check_fail(check, "%s[%d] is %.9g, expected %.9g ± %.3g", what, i, is, expected, slack);
}

static void check_norm(struct check *check, const struct mk *mk, int n, enum pattern pattern)
{
    check_begin(check, "%s rms_norm n %d pattern %d", mk->isa, n, pattern);
    const float eps = 1e-6f;
    size_t bytes = (size_t)n * sizeof(float);
    float *x = guard(GUARD_A, bytes), *w = guard(GUARD_B, bytes), *y = guard(GUARD_C, bytes);
    fill_floats(check, pattern, x, (size_t)n);
    fill_floats(check, PATTERN_RANDOM, w, (size_t)n);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    double r = 1 / sqrt(sum / n + (double)eps);

    mk->rms_norm(y, x, w, n, eps);
    /* the sum of squares has no signs to cancel: its error is relative, and halved by the root;
     * 1/sqrt takes four roundings, two products follow */
    double tolerance = sum_tolerance(mk->isa, n) + 6 * u;
    for (int i = 0; i < n; i++)
        near(check, "y", i, y[i], (double)x[i] * r * w[i],
             tolerance * fabs((double)x[i] * r * w[i]) + 0x1p-148);

    float *copy = guard(GUARD_D, bytes);
    memcpy(copy, x, bytes);
    mk->rms_norm(copy, copy, w, n, eps);
    if (memcmp(copy, y, bytes))
        check_fail(check, "in place gives other bits");

    x[random_below(check, n)] = NAN;
    mk->rms_norm(y, x, w, n, eps);
    for (int i = 0; i < n; i++)
        if (!isnan(y[i]))
            check_fail(check, "a NaN got lost: y[%d] is %g", i, (double)y[i]);
}

static void check_rope(struct check *check, const struct mk *mk, int n)
{
    check_begin(check, "%s rope n %d", mk->isa, n);
    size_t bytes = (size_t)n * sizeof(float);
    float *x = guard(GUARD_A, bytes), *cs = guard(GUARD_B, bytes), *y = guard(GUARD_C, bytes);
    fill_floats(check, PATTERN_RANDOM, x, (size_t)n);
    for (int i = 0; i < n; i += 2) {
        double angle = 4 * (double)random_float(check);
        cs[i] = (float)cos(angle);
        cs[i + 1] = (float)sin(angle);
    }
    memcpy(y, x, bytes);
    mk->rope(y, cs, n);
    for (int i = 0; i < n; i += 2) { /* two products and a sum */
        double a = x[i], b = x[i + 1], c = cs[i], s = cs[i + 1];
        near(check, "x", i, y[i], a * c - b * s, 3 * u * (fabs(a * c) + fabs(b * s)));
        near(check, "x", i + 1, y[i + 1], a * s + b * c, 3 * u * (fabs(a * s) + fabs(b * c)));
    }
}

static void check_swiglu(struct check *check, const struct mk *mk, int n)
{
    check_begin(check, "%s swiglu n %d", mk->isa, n);
    size_t bytes = (size_t)n * sizeof(float);
    float *gate = guard(GUARD_A, bytes), *up = guard(GUARD_B, bytes), *y = guard(GUARD_C, bytes);
    static const float scale[] = {1, 10, 100, 1e30f};
    for (int i = 0; i < n; i++) {
        gate[i] = random_float(check) * scale[random_below(check, 4)];
        up[i] = random_float(check);
    }
    mk->swiglu(y, gate, up, n);
    /* e^-g to three units, then a sum, a quotient and a product; where e^-g leaves the range of
     * float, the result does as well, at the other end */
    for (int i = 0; i < n; i++) {
        double expected = (double)gate[i] / (1 + exp(-(double)gate[i])) * up[i];
        near(check, "y", i, y[i], expected, 9 * u * fabs(expected) + 1e-36);
    }

    for (int into = 0; into < 2; into++) { /* y may be either of its sources */
        float *copy = guard(GUARD_D, bytes);
        memcpy(copy, into ? up : gate, bytes);
        mk->swiglu(copy, into ? gate : copy, into ? copy : up, n);
        if (memcmp(copy, y, bytes))
            check_fail(check, "in place gives other bits");
    }
    int at = random_below(check, n);
    gate[at] = NAN;
    mk->swiglu(y, gate, up, n);
    for (int i = 0; i < n; i++)
        if (!isnan(y[i]) != (i != at))
            check_fail(check, "a NaN in gate[%d] gives y[%d] = %g", at, i, (double)y[i]);
}

static void check_softmax(struct check *check, const struct mk *mk, int n, float scale)
{
    check_begin(check, "%s softmax n %d scale %g", mk->isa, n, (double)scale);
    size_t bytes = (size_t)n * sizeof(float);
    float *x = guard(GUARD_A, bytes), *y = guard(GUARD_B, bytes);
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) {
        x[i] = random_float(check) * scale;
        if (random_below(check, 50) == 0 && i)
            x[i] = -INFINITY;
        top = fmax(top, (double)x[i]);
    }
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - top);
    memcpy(y, x, bytes);
    mk->softmax(y, n);
    /* the difference rounds once, which e^ turns into an error of its size; e^ itself to three
     * units; the sum; the quotient; what underflows is no loss */
    for (int i = 0; i < n; i++) {
        double expected = exp((double)x[i] - top) / sum;
        double steps = isinf(x[i]) ? 0 : fabs((double)x[i] - top) + fabs(top) + 10;
        near(check, "x", i, y[i], expected,
             (steps * u + 2 * sum_tolerance(mk->isa, n)) * expected + 1e-37);
    }
    y[random_below(check, n)] = NAN;
    mk->softmax(y, n);
    for (int i = 0; i < n; i++)
        if (!isnan(y[i]))
            check_fail(check, "a NaN got lost: x[%d] is %g", i, (double)y[i]);
}

static void check_store(struct check *check, const struct mk *mk, const struct mk *ref,
                        enum mk_type type, int n)
{
    check_begin(check, "%s store %s n %d", mk->isa, mk_type_info[type].name, n);
    size_t bytes = mk_row_bytes(type, (size_t)n);
    float *x = guard(GUARD_A, (size_t)n * sizeof(float));
    uint8_t *y = guard(GUARD_B, bytes), *expected = guard(GUARD_C, bytes);
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < n; i++) { /* any bits at all: NaNs, subnormals, ties, overflow */
            uint32_t bits = (uint32_t)random_bits(check);
            if (random_below(check, 2)) { /* the range of f16, at or beside a tie */
                uint32_t keep = type == MK_F16 ? 0x7fe000 : 0x7f0000;
                bits = (bits & 0x80000000) | (96 + bits % 48) << 23 | (bits & keep);
                bits += (type == MK_F16 ? 0xfff : 0x7fff) + (uint32_t)random_below(check, 3);
            }
            memcpy(&x[i], &bits, sizeof(bits));
        }
        mk->store(y, type, x, n);
        ref->store(expected, type, x, n);
        size_t size = bytes / (size_t)n;
        for (int i = 0; i < n; i++)
            if (memcmp(y + (size_t)i * size, expected + (size_t)i * size, size))
                check_fail(check, "%a gives other bits than the reference's", (double)x[i]);
    }
}

void check_vec(struct check *check, const struct mk *mk)
{
    struct mk ref;
    mk_ref_init(&ref);
    for (int l = 0; l < LENGTHS; l++) {
        int n = lengths[l];
        for (int pattern = 0; pattern < PATTERN_COUNT; pattern++)
            check_norm(check, mk, n, pattern);
        if (n > 1)
            check_rope(check, mk, n / 2 * 2);
        check_swiglu(check, mk, n);
        check_softmax(check, mk, n, 1);
        check_softmax(check, mk, n, 100);
        for (int type = MK_F32; type <= MK_BF16; type++)
            check_store(check, mk, &ref, type, n);
    }
}

/* ------------------------------------------------------------------ router */

/* The definition, slowly: how many experts come before this one? */
static void oracle(const struct mk_route *r, const float *score, bool *chosen)
{
    int size = r->n_experts / r->n_groups;
    double group[64];
    for (int g = 0; g < r->n_groups; g++) {
        double best = -INFINITY, second = -INFINITY;
        for (int e = g * size; e < (g + 1) * size; e++) {
            second = fmax(second, fmin(best, (double)score[e]));
            best = fmax(best, (double)score[e]);
        }
        group[g] = r->gate == MK_GATE_SIGMOID && size > 1 ? (float)best + (float)second : best;
    }
    for (int e = 0; e < r->n_experts; e++) {
        int groups_before = 0, before = 0;
        for (int g = 0; g < r->n_groups; g++)
            groups_before +=
                group[g] > group[e / size] || (group[g] == group[e / size] && g < e / size);
        if (groups_before >= r->n_groups_used) {
            chosen[e] = false;
            continue;
        }
        for (int o = 0; o < r->n_experts; o++) {
            int og = 0;
            for (int g = 0; g < r->n_groups; g++)
                og += group[g] > group[o / size] || (group[g] == group[o / size] && g < o / size);
            if (og < r->n_groups_used)
                before += score[o] > score[e] || (score[o] == score[e] && o < e);
        }
        chosen[e] = before < r->n_used;
    }
}

static void check_choice(struct check *check, const struct mk *mk, struct mk_route r, int values)
{
    check_begin(check, "%s route %s %d of %d, groups %d of %d, %s", mk->isa,
                r.gate == MK_GATE_SIGMOID ? "sigmoid" : "softmax", r.n_used, r.n_experts,
                r.n_groups_used, r.n_groups, values ? "ties" : "random");
    size_t n = (size_t)r.n_experts;
    float *z = guard(GUARD_A, n * sizeof(float)), *bias = guard(GUARD_B, n * sizeof(float));
    float *tmp = guard(GUARD_C, 2 * n * sizeof(float));
    int32_t *expert = guard(GUARD_D, (size_t)r.n_used * sizeof(*expert));
    float weight[64], score[512];
    bool chosen[512];

    for (size_t e = 0; e < n; e++) {
        z[e] = values ? (float)random_below(check, values) : 4 * random_float(check);
        bias[e] = values ? 0 : random_float(check);
    }
    r.bias = r.gate == MK_GATE_SIGMOID ? bias : NULL;
    for (size_t e = 0; e < n; e++)
        score[e] = r.bias ? 1.0f / (1.0f + expf(-z[e])) + bias[e] : z[e]; /* softmax is monotonic */
    oracle(&r, score, chosen);
    mk->route(&r, z, expert, weight, tmp);
    for (int i = 0; i < r.n_used; i++) {
        if (expert[i] < 0 || expert[i] >= r.n_experts || !chosen[expert[i]]) {
            check_fail(check, "place %d went to expert %d, which isn't among the best", i,
                       expert[i]);
            return;
        }
        chosen[expert[i]] = false; /* nobody twice */
        if (i && score[expert[i]] > score[expert[i - 1]])
            check_fail(check, "place %d is better than place %d", i, i - 1);
    }
}

void check_route(struct check *check, const struct mk *mk)
{
    static const struct mk_route shapes[] = {
        {MK_GATE_SOFTMAX, 64, 6, 1, 1, false, 1, NULL},
        {MK_GATE_SOFTMAX, 160, 6, 8, 3, false, 16, NULL},
        {MK_GATE_SIGMOID, 256, 8, 8, 4, true, 2.5f, NULL},
        {MK_GATE_SIGMOID, 384, 8, 1, 1, true, 2.827f, NULL},
        {MK_GATE_SIGMOID, 9, 3, 3, 2, true, 1.5f, NULL},
        {MK_GATE_SIGMOID, 8, 4, 8, 4, true, 1, NULL},
        {MK_GATE_SOFTMAX, 4, 4, 1, 1, true, 1, NULL},
    };
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int values = 0; values < 4; values++)
            for (int round = 0; round < 5; round++)
                check_choice(check, mk, shapes[s], values);
}
