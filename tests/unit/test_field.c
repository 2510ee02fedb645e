/* SPDX-License-Identifier: MIT
 *
 * The table of request fields: whole, and every row checked at its bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "service/field.h"

static void test_table(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIELDS; i++) {
        const struct field *f = &field_table[i];
        assert_non_null(f->name);
        assert_true(f->least <= f->most);
        assert_true(f->missing == 0 || (f->missing >= f->least && f->missing <= f->most));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(field_table[j].name, f->name);
    }
}

static void assert_refused(int r, const struct field *f, const struct err *err)
{
    assert_int_equal(r, -EINVAL);
    assert_non_null(strstr(err->text, f->name));
    assert_non_null(strstr(err->text, "expected"));
}

static void probe_int(enum field_id id)
{
    const struct field *f = &field_table[id];
    struct err err = {0};
    int64_t value = -77;
    assert_int_equal(field_int(id, 0, &value, &err), 0);
    assert_int_equal(value, (int64_t)f->missing);
    assert_int_equal(field_int(id, (int64_t)f->most, &value, &err), 0);
    assert_int_equal(value, (int64_t)f->most);
    if (f->least != 0)
        assert_int_equal(field_int(id, (int64_t)f->least, &value, &err), 0);
    if (f->least != 1)
        assert_refused(field_int(id, (int64_t)f->least - 1, &value, &err), f, &err);
    assert_refused(field_int(id, (int64_t)f->most + 1, &value, &err), f, &err);
    assert_refused(field_int(id, INT64_MIN, &value, &err), f, &err);
    assert_refused(field_int(id, INT64_MAX, &value, &err), f, &err);
}

static void probe_real(enum field_id id)
{
    const struct field *f = &field_table[id];
    struct err err = {0};
    float value = -77;
    assert_int_equal(field_real(id, -0.0, &value, &err), 0);
    assert_true(value == (float)f->missing);
    assert_int_equal(field_real(id, (float)f->most, &value, &err), 0);
    assert_int_equal(field_real(id, (float)f->least, &value, &err), 0);
    const double bad[] = {NAN, -NAN, INFINITY, -INFINITY, nextafterf((float)f->most, INFINITY)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(field_real(id, bad[i], &value, &err), f, &err);
    assert_refused(field_real(id, nextafterf((float)f->least, -INFINITY), &value, &err), f, &err);
}

static void test_bounds(void **state)
{
    (void)state;
    struct err err = {0};
    for (int i = 0; i < N_FIELDS; i++) {
        const struct field *f = &field_table[i];
        if (f->kind == FIELD_INT)
            probe_int((enum field_id)i);
        else if (f->kind == FIELD_REAL)
            probe_real((enum field_id)i);
        if (f->kind != FIELD_COUNT && f->kind != FIELD_BYTES)
            continue;
        assert_int_equal(field_size((enum field_id)i, (size_t)f->most, &err), 0);
        assert_int_equal(field_size((enum field_id)i, (size_t)f->least, &err), 0);
        assert_refused(field_size((enum field_id)i, (size_t)f->most + 1, &err), f, &err);
        assert_refused(field_size((enum field_id)i, SIZE_MAX, &err), f, &err);
        if (f->least > 0)
            assert_refused(field_size((enum field_id)i, 0, &err), f, &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
