/* SPDX-License-Identifier: MIT
 *
 * Error codes and statuses, both ways; and the ration of log lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "service/ration.h"
#include "service/status.h"
#include "ttrpc.h"

static void test_both_ways(void **state)
{
    (void)state;
    assert_int_equal(status_of(0), TTRPC_OK);
    assert_int_equal(status_of(-EINVAL), TTRPC_INVALID_ARGUMENT);
    assert_int_equal(status_of(-E2BIG), TTRPC_INVALID_ARGUMENT);
    assert_int_equal(status_of(-ENOENT), TTRPC_NOT_FOUND);
    assert_int_equal(status_of(-EBUSY), TTRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(status_of(-ENOTSUP), TTRPC_FAILED_PRECONDITION);
    assert_int_equal(status_of(-EXDEV), TTRPC_INTERNAL);
    for (int code = 0; code <= 16; code++) {
        int error = status_errno(code);
        assert_true(code == 0 ? error == 0 : error < 0);
        if (code != TTRPC_UNKNOWN && code != TTRPC_OUT_OF_RANGE && code != TTRPC_UNAUTHENTICATED)
            assert_int_equal(status_of(error), code);
    }
}

static void test_ration(void **state)
{
    (void)state;
    struct ration ration = {0};
    uint32_t kept_back;
    int n = 0;
    for (int i = 0; i < 1000; i++)
        n += ration_take(&ration, 5, &kept_back);
    assert_int_equal(n, RATION_LINES);
    assert_false(ration_take(&ration, 59999, &kept_back));
    assert_true(ration_take(&ration, 60005, &kept_back));
    assert_int_equal(kept_back, 1000 - RATION_LINES + 1);
    assert_true(ration_take(&ration, 60006, &kept_back));
    assert_int_equal(kept_back, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_ration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
