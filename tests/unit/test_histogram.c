/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>

#include "base/histogram.h"

static const struct histogram_scale *const scales[] = {&histogram_times, &histogram_shares};

static uint64_t sum_of(const struct histogram_scale *scale, const struct histogram_reading *r)
{
    uint64_t n = 0;
    for (int i = 0; i <= scale->n; i++)
        n += r->count[i];
    return n;
}

static void bounds_ascend(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++) {
        assert_in_range(scales[s]->n, 1, HISTOGRAM_BOUNDS);
        for (int i = 1; i < scales[s]->n; i++)
            assert_true(scales[s]->bound[i] > scales[s]->bound[i - 1]);
    }
}

static void a_bound_belongs_to_its_bucket(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i <= scales[s]->n; i++) {
            struct histogram h;
            struct histogram_reading r;
            histogram_init(&h, scales[s]);
            if (i < scales[s]->n)
                histogram_add(&h, scales[s]->bound[i]);
            if (i > 0)
                histogram_add(&h, nextafter(scales[s]->bound[i - 1], INFINITY));
            histogram_read(&h, &r);
            assert_int_equal(r.count[i], (i < scales[s]->n) + (i > 0));
            assert_int_equal(sum_of(scales[s], &r), r.count[i]);
        }
}

static void what_is_beyond_is_counted(void **state)
{
    (void)state;
    struct histogram h;
    struct histogram_reading r;
    histogram_init(&h, &histogram_times);
    histogram_add(&h, 0);
    histogram_add(&h, 1e9);
    histogram_add(&h, 0.25);
    histogram_read(&h, &r);
    assert_int_equal(r.count[0], 1);
    assert_int_equal(r.count[histogram_times.n], 1);
    assert_int_equal(sum_of(&histogram_times, &r), 3);
    assert_true(r.sum == 1e9 + 0.25);
}

enum { ADDED = 200000 };

static void *add_all(void *arg)
{
    for (int i = 0; i < ADDED; i++)
        histogram_add(arg, (double)(i % 100) / 100);
    return NULL;
}

/* While one adds another reads, and nothing it has seen goes away. */
static void counts_only_grow(void **state)
{
    (void)state;
    struct histogram h;
    struct histogram_reading r;
    pthread_t thread;
    uint64_t seen = 0, n = 0;
    histogram_init(&h, &histogram_shares);
    assert_int_equal(pthread_create(&thread, NULL, add_all, &h), 0);
    while (n < ADDED) {
        histogram_read(&h, &r);
        n = sum_of(&histogram_shares, &r);
        assert_true(n >= seen);
        seen = n;
    }
    pthread_join(thread, NULL);
    assert_int_equal(r.count[0], ADDED / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_ascend),
        cmocka_unit_test(a_bound_belongs_to_its_bucket),
        cmocka_unit_test(what_is_beyond_is_counted),
        cmocka_unit_test(counts_only_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
