/* SPDX-License-Identifier: MIT
 *
 * Counts of experts by hand: what was long ago fades, whenever it is folded and read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "engine/usage.h"
#include "model/forward.h"

enum { LAYERS = 2, EXPERTS = 3, N = LAYERS * EXPERTS };
#define S 1000000000ull

static atomic_uint_fast64_t counts[N];

static struct usage *make(uint64_t now_ns)
{
    const struct forward_experts experts = {
        .first = 1, .n_layers = LAYERS, .n_experts = EXPERTS, .chosen = counts};
    struct usage *usage;
    for (int i = 0; i < N; i++)
        atomic_store(&counts[i], 0);
    assert_int_equal(usage_new(&experts, now_ns, &usage), 0);
    return usage;
}

static void assert_recent(struct usage *usage, uint64_t now_ns, int i, double expected)
{
    uint64_t total[N];
    float recent[N];
    usage_read(usage, now_ns, total, recent);
    assert_int_equal(total[i], counts[i]);
    assert_true(fabs((double)recent[i] - expected) < 1e-4 * expected + 1e-12);
}

static void without_experts_there_is_nothing(void **state)
{
    (void)state;
    struct usage *usage;
    assert_int_equal(usage_new(&(struct forward_experts){.first = 4}, 0, &usage), 0);
    assert_null(usage);
    usage_free(NULL);
}

static void halves_in_its_time(void **state)
{
    (void)state;
    OWN(usage) *usage = make(5 * S);
    int first, layers, experts;
    usage_shape(usage, &first, &layers, &experts);
    assert_int_equal(first, 1);
    assert_int_equal(layers, LAYERS);
    assert_int_equal(experts, EXPERTS);
    usage_tick(usage, 6 * S);
    counts[4] = 100;
    assert_recent(usage, 6 * S, 4, 100);
    assert_recent(usage, 6 * S, 3, 0);
    assert_recent(usage, (6 + USAGE_HALF_S) * S, 4, 50); /* nothing was folded yet */
    usage_tick(usage, (6 + USAGE_HALF_S) * S);
    assert_recent(usage, (6 + USAGE_HALF_S) * S, 4, 50);
    counts[4] += 8;
    assert_recent(usage, (6 + USAGE_HALF_S) * S, 4, 58);
    assert_recent(usage, (6 + 2 * USAGE_HALF_S) * S, 4, 29);
}

/* A second a step for an hour: as the sum of what each step leaves. */
static void steps_add_up(void **state)
{
    (void)state;
    OWN(usage) *usage = make(0);
    double expected = 0;
    for (uint64_t t = 1; t <= 3600; t++) {
        usage_tick(usage, t * S);
        counts[0] += t % 7;
        expected = expected * exp2(-1.0 / USAGE_HALF_S) + (double)(t % 7);
    }
    uint64_t total[N];
    float recent[N];
    usage_read(usage, 3600 * S, total, recent);
    /* what is folded together counts as of one time, ten seconds apart at most */
    assert_true(fabs((double)recent[0] - expected) < expected * 0.012);
    assert_recent(usage, (3600 + USAGE_HALF_S) * S, 0, (double)recent[0] / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_experts_there_is_nothing),
        cmocka_unit_test(halves_in_its_time),
        cmocka_unit_test(steps_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
