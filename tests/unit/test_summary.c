/* SPDX-License-Identifier: MIT
 *
 * The line for the supervisor: units, rates, what is left out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/models.h"
#include "summary.h"

static void expect(struct models_entry entry, const char *expected)
{
    char line[128] = "";
    entry.name = "m";
    summary_add(&entry, line, sizeof line);
    assert_string_equal(line, expected);
}

static void test_states(void **state)
{
    (void)state;
    expect((struct models_entry){.state = MODELS_READY}, "m ready");
    expect((struct models_entry){.state = MODELS_READY, .in_folder = true}, "m ready");
    expect((struct models_entry){.state = MODELS_FAILED}, "m failed");
    expect((struct models_entry){.state = MODELS_UNLOADED}, "m unloaded");
    expect((struct models_entry){.state = MODELS_UNLOADED, .in_folder = true}, "");
    expect((struct models_entry){.state = MODELS_UNLOADED, .in_folder = true, .resting = true},
           "m unloaded for idleness");
    expect((struct models_entry){.state = MODELS_UNLOADING, .resting = true}, "m unloading");
    expect((struct models_entry){.state = MODELS_LOADING}, "Loading m");
}

static struct models_entry loading(uint64_t done, uint64_t all, double seconds)
{
    return (struct models_entry){
        .state = MODELS_LOADING, .bytes_done = done, .bytes_all = all, .load_seconds = seconds};
}

static void test_progress(void **state)
{
    (void)state;
    expect(loading(4200000000, 10400000000, 3.8), "Loading m: 4.2 of 10.4 GB, 1.1 GB/s, 6 s left");
    expect(loading(0, 10400000000, 2), "Loading m: 0.0 of 10.4 GB");
    expect(loading(10400000000, 10400000000, 10), "Loading m: 10.4 of 10.4 GB, 1.0 GB/s, 0 s left");
    expect(loading(500000, 9900000, 1), "Loading m: 0.5 of 9.9 MB, 500.0 kB/s, 19 s left");
    expect(loading(10, 700, 1), "Loading m: 0.0 of 0.7 kB, 0.0 kB/s, 69 s left");
    expect(loading(1000000000, 700000000000, 1),
           "Loading m: 1.0 of 700.0 GB, 1.0 GB/s, 12 min left");
}

static void test_a_full_line(void **state)
{
    (void)state;
    char line[24] = "";
    struct models_entry entry = {.name = "first", .state = MODELS_READY};
    summary_add(&entry, line, sizeof line);
    entry.name = "second";
    summary_add(&entry, line, sizeof line);
    assert_string_equal(line, "first ready");
    entry.name = "third";
    summary_add(&entry, line, sizeof line);
    assert_string_equal(line, "first ready");
    entry.name = "4th";
    summary_add(&entry, line, sizeof line);
    assert_string_equal(line, "first ready; 4th ready");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_a_full_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
