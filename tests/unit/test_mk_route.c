/* SPDX-License-Identifier: MIT
 *
 * The choice of experts: ties, groups, masks, and gates that say nothing or nonsense. Whatever
 * comes in, n_used distinct valid experts come out.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "mk.h"

enum { MOST = 256 };

static struct mk mk;
static int32_t expert[MOST];
static float weight[MOST], tmp[2 * MOST];

static void route(const struct mk_route *r, const float *logits)
{
    memset(expert, 0xff, sizeof(expert));
    for (int i = 0; i < MOST; i++)
        weight[i] = -1;
    mk.route(r, logits, expert, weight, tmp);
    bool seen[MOST] = {false};
    for (int i = 0; i < r->n_used; i++) {
        assert_in_range(expert[i], 0, r->n_experts - 1);
        assert_false(seen[expert[i]]);
        seen[expert[i]] = true;
    }
    assert_int_equal(expert[r->n_used], -1); /* and not one more */
}

static void expect(const int *ids, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(expert[i], ids[i]);
}

static void expect_weight(int i, double expected)
{
    if (!(fabs((double)weight[i] - expected) <= 1e-6 * fabs(expected)))
        fail_msg("weight %d is %.9g, expected %.9g", i, (double)weight[i], expected);
}

static const struct mk_route v3 = {MK_GATE_SIGMOID, 256, 8, 8, 4, true, 2.5f, NULL};
static const struct mk_route v2 = {MK_GATE_SOFTMAX, 160, 6, 8, 3, false, 16, NULL};

static void test_all_equal(void **state)
{
    (void)state;
    const float zero[MOST] = {0};
    const int lowest[] = {0, 1, 2, 3, 4, 5, 6, 7};
    route(&v3, zero);
    expect(lowest, 8);
    for (int i = 0; i < 8; i++)
        expect_weight(i, 2.5 / 8);
    route(&v2, zero);
    expect(lowest, 6);
    for (int i = 0; i < 6; i++)
        expect_weight(i, 16.0 / 160);
}

static void test_all_nan(void **state)
{
    (void)state;
    float nan[MOST];
    for (int i = 0; i < MOST; i++)
        nan[i] = NAN;
    const int lowest[] = {0, 1, 2, 3, 4, 5, 6, 7};
    route(&v3, nan);
    expect(lowest, 8);
    assert_true(isnan(weight[0])); /* the fault stays visible */
    route(&v2, nan);
    expect(lowest, 6);
    assert_true(isnan(weight[0]));
}

static void test_some_nan(void **state)
{
    (void)state;
    const struct mk_route r = {MK_GATE_SIGMOID, 6, 3, 1, 1, false, 1, NULL};
    const int best[] = {4, 1, 5};
    route(&r, (const float[]){NAN, 1, NAN, NAN, 2, -50});
    expect(best, 3);
    const int last[] = {4, 0, 1}; /* too few numbers: NaNs in order of index */
    route(&r, (const float[]){NAN, NAN, NAN, NAN, 2, NAN});
    expect(last, 3);
    for (int i = 0; i < 2; i++) { /* infinities are numbers */
        const int infinite[] = {3, 1, 5};
        route(&r, (const float[]){-INFINITY, 1, -INFINITY, INFINITY, -INFINITY, 0});
        expect(infinite, 3);
    }
    expect_weight(0, 1);
}

static void test_ties(void **state)
{
    (void)state;
    const struct mk_route r = {MK_GATE_SOFTMAX, 8, 4, 1, 1, false, 1, NULL};
    const int ids[] = {2, 7, 0, 3};
    route(&r, (const float[]){1, 0, 3, 1, 1, 0, 1, 3});
    expect(ids, 4);
}

static void test_groups_by_best(void **state)
{
    (void)state;
    /* sums would prefer the second group, softmax looks at the single best */
    const struct mk_route r = {MK_GATE_SOFTMAX, 6, 2, 3, 1, false, 1, NULL};
    const int ids[] = {0, 1};
    route(&r, (const float[]){5, -5, 4, 4, 1, 1});
    expect(ids, 2);
}

static void test_groups_by_two(void **state)
{
    (void)state;
    /* the single best expert is in the first group, the better pair in the second */
    const struct mk_route r = {MK_GATE_SIGMOID, 6, 2, 3, 1, true, 1, NULL};
    const int ids[] = {2, 3};
    route(&r, (const float[]){5, -5, 4, 3, 1, 1});
    expect(ids, 2);
}

static void test_group_ties(void **state)
{
    (void)state;
    const struct mk_route r = {MK_GATE_SIGMOID, 8, 2, 4, 2, true, 1, NULL};
    const int ids[] = {2, 4}; /* groups 1, 2 and 3 are equal: the lower two stay */
    route(&r, (const float[]){0, 0, 1, 0, 1, 0, 1, 0});
    expect(ids, 2);
}

static void test_more_than_the_groups_hold(void **state)
{
    (void)state;
    const struct mk_route r = {MK_GATE_SIGMOID, 6, 4, 3, 1, true, 1, NULL};
    const int ids[] = {3, 2, 4, 5}; /* the kept group first, then the best of the rest */
    route(&r, (const float[]){0, 0, 3, 4, 2, 1});
    expect(ids, 4);
}

static void test_masked_is_below_any_score(void **state)
{
    (void)state;
    /* a choice score can be negative through its bias: the mask must not be zero */
    const float bias[] = {-3, -3, -3, -3, -9, -9};
    const struct mk_route r = {MK_GATE_SIGMOID, 6, 2, 3, 1, true, 1, bias};
    const int ids[] = {3, 2};
    route(&r, (const float[]){0, 0, 1, 2, 9, 9});
    expect(ids, 2);
}

static void test_bias_chooses_only(void **state)
{
    (void)state;
    const float bias[] = {0, 0, 0, 10};
    const struct mk_route r = {MK_GATE_SIGMOID, 4, 2, 1, 1, true, 2, bias};
    const int ids[] = {3, 0};
    route(&r, (const float[]){1, 0, 0, -1});
    expect(ids, 2);
    double a = 1 / (1 + exp(1)), b = 1 / (1 + exp(-1));
    expect_weight(0, 2 * a / (a + b));
    expect_weight(1, 2 * b / (a + b));
}

static void test_norm_and_scale(void **state)
{
    (void)state;
    const float logits[] = {0, 1, 2, 3};
    double sum = 1 + exp(-1) + exp(-2) + exp(-3);
    struct mk_route r = {MK_GATE_SOFTMAX, 4, 2, 1, 1, false, 16, NULL};
    route(&r, logits);
    expect_weight(0, 16 / sum);
    expect_weight(1, 16 * exp(-1) / sum);
    r.norm = true; /* norms instead of scaling */
    route(&r, logits);
    expect_weight(0, 1 / (1 + exp(-1)));
    r.n_used = 1; /* one expert has nobody to be normed with */
    route(&r, logits);
    expect_weight(0, 16 / sum);
    r.gate = MK_GATE_SIGMOID; /* norms and scales */
    route(&r, logits);
    expect_weight(0, 16);
    const float low[] = {-200, -200, -200, -200};
    r.n_used = 2; /* all gates closed: no division by zero */
    route(&r, low);
    assert_true(isfinite(weight[0]) && isfinite(weight[1]));
}

static int set_up(void **state)
{
    (void)state;
    return mk_init(&mk, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_equal),
        cmocka_unit_test(test_all_nan),
        cmocka_unit_test(test_some_nan),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_groups_by_best),
        cmocka_unit_test(test_groups_by_two),
        cmocka_unit_test(test_group_ties),
        cmocka_unit_test(test_more_than_the_groups_hold),
        cmocka_unit_test(test_masked_is_below_any_score),
        cmocka_unit_test(test_bias_chooses_only),
        cmocka_unit_test(test_norm_and_scale),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
