/* SPDX-License-Identifier: MIT
 *
 * The ladder, on readings made up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "engine/ladder.h"
#include "place/strain.h"

#define MS 1000000ull

static uint64_t now_ns;

/* A reading a quarter of a second later; the rung then. */
static enum rung read_once(struct ladder *ladder, double some, double full, int left_percent)
{
    enum rung before = ladder->rung;
    struct strain s = {
        .some = some, .full = full, .left = (uint64_t)left_percent << 20, .all = 100 << 20};
    now_ns += 250 * MS;
    bool changed = ladder_read(ladder, &s, now_ns);
    assert_int_equal(changed, ladder->rung != before);
    assert_true(abs((int)ladder->rung - (int)before) <= 1);
    return ladder->rung;
}

static enum rung read_often(struct ladder *ladder, double some, double full, int left_percent,
                            int n)
{
    while (n-- > 0)
        read_once(ladder, some, full, left_percent);
    return ladder->rung;
}

static void each_rung_has_its_readings(void **state)
{
    (void)state;
    static const struct {
        double some, full;
        int left;
        enum rung rung;
    } cases[] = {
        {0, 0, 100, RUNG_CALM},    {4.9, 0.9, 11, RUNG_CALM}, {5, 0, 100, RUNG_SCRATCH},
        {0, 1, 100, RUNG_SCRATCH}, {0, 0, 10, RUNG_SCRATCH},  {10, 0, 100, RUNG_PARK},
        {0, 3, 100, RUNG_PARK},    {0, 0, 7, RUNG_PARK},      {20, 0, 100, RUNG_DROP},
        {0, 8, 100, RUNG_DROP},    {0, 0, 5, RUNG_DROP},      {40, 0, 100, RUNG_REFUSE},
        {0, 20, 100, RUNG_REFUSE}, {0, 0, 2, RUNG_REFUSE},    {100, 100, 0, RUNG_REFUSE},
        {-1, -1, 100, RUNG_CALM},  {-1, -1, 6, RUNG_PARK},    {39, 19, 3, RUNG_DROP},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ladder ladder = {0};
        assert_int_equal(read_often(&ladder, cases[i].some, cases[i].full, cases[i].left, 20),
                         cases[i].rung);
    }
}

static void it_climbs_rung_by_rung(void **state)
{
    (void)state;
    struct ladder ladder = {0};
    for (int rung = RUNG_SCRATCH; rung <= RUNG_REFUSE; rung++)
        assert_int_equal(read_once(&ladder, 100, 100, 0), rung);
    assert_int_equal(read_once(&ladder, 100, 100, 0), RUNG_REFUSE);
}

static void it_comes_down_after_a_while(void **state)
{
    (void)state;
    struct ladder ladder = {0};
    read_often(&ladder, 100, 100, 0, 4);
    for (int rung = RUNG_REFUSE; rung > RUNG_CALM; rung--) {
        int n = 0;
        while (read_once(&ladder, 0, 0, 100) == (enum rung)rung)
            n++;
        assert_int_equal(ladder.rung, rung - 1);
        assert_in_range(n, 7, 9); /* two seconds */
    }
    assert_int_equal(read_often(&ladder, 0, 0, 100, 50), RUNG_CALM);
}

static void it_does_not_waver(void **state)
{
    (void)state;
    struct ladder ladder = {0};
    read_often(&ladder, 12, 0, 100, 4);
    assert_int_equal(ladder.rung, RUNG_PARK);
    assert_int_equal(read_often(&ladder, 9, 0, 100, 100), RUNG_PARK); /* not low enough */
    assert_int_equal(read_often(&ladder, 0, 0, 9, 100), RUNG_PARK);
    for (int i = 0; i < 100; i++) { /* never for long enough */
        read_often(&ladder, 0, 0, 100, 6);
        assert_int_equal(read_once(&ladder, 11, 0, 100), RUNG_PARK);
    }
    assert_int_equal(read_often(&ladder, 5, 0, 100, 100), RUNG_SCRATCH);
    assert_int_equal(read_often(&ladder, 3, 0, 100, 100), RUNG_CALM);
}

static void it_says_when_it_comes_down(void **state)
{
    (void)state;
    struct ladder ladder = {0};
    assert_int_equal(ladder_eases_ns(&ladder, now_ns), 0);
    read_often(&ladder, 100, 100, 0, 4);
    read_once(&ladder, 0, 0, 100); /* the first that is calm */
    while (ladder.rung > RUNG_CALM) {
        uint64_t told_ns = now_ns + ladder_eases_ns(&ladder, now_ns);
        enum rung rung = ladder.rung;
        while (read_once(&ladder, 0, 0, 100) == rung)
            assert_true(now_ns < told_ns);
        assert_true(now_ns <= told_ns && now_ns + 250 * MS >= told_ns);
    }
    assert_int_equal(ladder_eases_ns(&ladder, now_ns), 0);
}

static void it_looks_more_often_while_it_is_up(void **state)
{
    (void)state;
    struct ladder ladder = {0};
    uint64_t woken = ladder_wait_ms(&ladder, true), alone = ladder_wait_ms(&ladder, false);
    ladder.rung = RUNG_SCRATCH;
    uint64_t up = ladder_wait_ms(&ladder, true);
    assert_int_equal(up, ladder_wait_ms(&ladder, false));
    assert_true(up < alone && alone < woken);
    for (int rung = RUNG_CALM; rung < N_RUNGS; rung++)
        assert_non_null(rung_name((enum rung)rung));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rung_has_its_readings),
        cmocka_unit_test(it_climbs_rung_by_rung),
        cmocka_unit_test(it_comes_down_after_a_while),
        cmocka_unit_test(it_does_not_waver),
        cmocka_unit_test(it_says_when_it_comes_down),
        cmocka_unit_test(it_looks_more_often_while_it_is_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
