/* SPDX-License-Identifier: MIT
 *
 * speed: what is known of an engine's pace, and what is guessed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/speed.h"

static void test_nothing_is_known(void **state)
{
    (void)state;
    struct speed s = {0};
    assert_true(speed_row_ns(&s) == 0);
    assert_true(speed_token_ns(&s, 1) == 0);
    speed_note(&s, 4, 0, 1000); /* too few to tell what a row takes */
    assert_true(speed_row_ns(&s) == 0);
    speed_note(&s, 100, 0, 1000);
    assert_true(speed_row_ns(&s) == 10);
    assert_true(speed_token_ns(&s, 1) == 0);
}

static void test_what_was_seen(void **state)
{
    (void)state;
    struct speed s = {0};
    speed_note(&s, 0, 4, 4000);
    assert_true(speed_token_ns(&s, 4) == 4000);
    assert_true(speed_token_ns(&s, 1) == 4000); /* no slower than in company */
    assert_true(speed_token_ns(&s, 8) == 8000); /* as if each took its own time */
    speed_note(&s, 0, 1, 2000);
    assert_true(speed_token_ns(&s, 1) == 2000);
    assert_true(speed_token_ns(&s, 3) == 4000);
    assert_true(speed_token_ns(&s, 0) == 2000);
    assert_true(speed_token_ns(&s, 1000) == 4000. * SPEED_COMPANY / 4);
}

static void test_what_is_new_counts_more(void **state)
{
    (void)state;
    struct speed s = {0};
    speed_note(&s, 0, 1, 1000);
    speed_note(&s, 0, 1, 2000);
    assert_true(speed_token_ns(&s, 1) == 1250);
    for (int i = 0; i < 30; i++)
        speed_note(&s, 30, 1, 4000); /* with somebody's prompt beside it */
    assert_true(speed_token_ns(&s, 1) > 3990 && speed_token_ns(&s, 1) <= 4000);
    assert_true(speed_row_ns(&s) > 133 && speed_row_ns(&s) < 134);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_known),
        cmocka_unit_test(test_what_was_seen),
        cmocka_unit_test(test_what_is_new_counts_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
