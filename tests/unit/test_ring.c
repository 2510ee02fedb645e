/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "base/ring.h"

struct record {
    uint64_t number, check;
};

enum { RECORDS = 200000 };

static void full_and_empty_are_told(void **state)
{
    (void)state;
    struct ring *ring;
    assert_int_equal(ring_new(5, sizeof(struct record), &ring), 0);
    struct record r = {0};
    assert_false(ring_pop(ring, &r));
    for (uint64_t i = 0; i < 8; i++) /* rounded up */
        assert_true(ring_push(ring, &(struct record){i, ~i}));
    assert_false(ring_push(ring, &r));
    for (uint64_t i = 0; i < 8; i++) {
        assert_true(ring_pop(ring, &r));
        assert_int_equal(r.number, i);
    }
    assert_false(ring_pop(ring, &r));
    ring_free(ring);
    ring_free(NULL);
}

static void *write_all(void *arg)
{
    for (uint64_t i = 0; i < RECORDS;)
        if (ring_push(arg, &(struct record){i, i * 3}))
            i++;
        else
            sched_yield();
    return NULL;
}

static void two_threads_see_one_order(void **state)
{
    (void)state;
    struct ring *ring;
    pthread_t writer;
    assert_int_equal(ring_new(64, sizeof(struct record), &ring), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_all, ring), 0);
    for (uint64_t i = 0; i < RECORDS;) {
        struct record r;
        if (!ring_pop(ring, &r)) {
            sched_yield();
            continue;
        }
        assert_int_equal(r.number, i);
        assert_int_equal(r.check, i * 3);
        i++;
    }
    pthread_join(writer, NULL);
    ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_and_empty_are_told),
        cmocka_unit_test(two_threads_see_one_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
