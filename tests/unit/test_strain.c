/* SPDX-License-Identifier: MIT
 *
 * How short memory is, read from folders that look like the system's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "place/strain.h"

#define S 1000000000ull

static char root[64];

static void put(const char *path, const char *text)
{
    char command[1024];
    snprintf(command, sizeof command, "f='%s%s'; mkdir -p \"${f%%/*}\" && printf -- '%s' >\"$f\"",
             root, path, text);
    assert_int_equal(system(command), 0);
}

/* A machine with 1000 MiB, so many of them available. */
static void put_machine(int available, double some, double full, unsigned long some_us)
{
    char text[256];
    snprintf(text, sizeof text, "MemTotal: 1024000 kB\\nMemAvailable: %d kB\\n", available * 1024);
    put("/proc/meminfo", text);
    snprintf(text, sizeof text,
             "some avg10=%.2f avg60=0.00 avg300=0.00 total=%lu\\n"
             "full avg10=%.2f avg60=0.00 avg300=0.00 total=%lu\\n",
             some, some_us, full, some_us / 2);
    put("/proc/pressure/memory", text);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/moed-strain.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static struct gauge *open_gauge(void)
{
    struct gauge *gauge;
    struct err err;
    assert_int_equal(gauge_open(root, NULL, &gauge, &err), 0);
    return gauge;
}

static struct strain read_at(struct gauge *gauge, uint64_t now_ns)
{
    struct strain s;
    gauge_read(gauge, now_ns, &s);
    return s;
}

static void assert_left(const struct strain *s, uint64_t left, uint64_t all, const char *limit)
{
    assert_int_equal(s->left, left << 20);
    assert_int_equal(s->all, all << 20);
    assert_string_equal(s->limit, limit);
}

static void a_machine_that_is_not_short_does_not_count(void **state)
{
    (void)state;
    put_machine(500, 30, 20, 0);
    OWN(gauge) *gauge = open_gauge();
    assert_non_null(strstr(gauge_words(gauge), "/proc/pressure/memory"));
    struct strain s = read_at(gauge, 5 * S);
    assert_true(s.some == 0 && s.full == 0);
    assert_left(&s, 500, 1000, "MemAvailable");
    put_machine(150, 30, 20, 0);
    s = read_at(gauge, 10 * S);
    assert_true(s.some == 30 && s.full == 20);
}

static void what_came_since_counts_too(void **state)
{
    (void)state;
    put_machine(100, 1, 0.5, 1000000);
    OWN(gauge) *gauge = open_gauge();
    struct strain s = read_at(gauge, 5 * S);
    assert_true(s.some == 1);
    put_machine(100, 1, 0.5, 1600000);
    s = read_at(gauge, 7 * S); /* 0.6 s of two */
    assert_true(s.some > 29.9 && s.some < 30.1);
    assert_true(s.full > 14.9 && s.full < 15.1);
    put_machine(100, 2, 1, 1610000);
    s = read_at(gauge, 7 * S + S / 100); /* too soon to divide by */
    assert_true(s.some == 2);
    s = read_at(gauge, 8 * S); /* nothing of it is lost */
    assert_true(s.some == 2 && s.full == 1);
    put_machine(100, 0, 0, 9000000);
    s = read_at(gauge, 9 * S);
    assert_true(s.some == 100);
}

static void our_groups_file_counts_always(void **state)
{
    (void)state;
    put_machine(900, 50, 50, 0);
    put("/proc/self/cgroup", "0::/a/b\\n");
    put("/sys/fs/cgroup/a/memory.pressure",
        "some avg10=77.00 total=1\\nfull avg10=70.00 total=1\\n");
    put("/sys/fs/cgroup/a/b/memory.pressure",
        "some avg10=7.00 total=1\\nfull avg10=3.00 total=1\\n");
    OWN(gauge) *gauge = open_gauge();
    assert_non_null(strstr(gauge_words(gauge), "/a/b/memory.pressure, and "));
    struct strain s = read_at(gauge, 5 * S);
    assert_true(s.some == 7 && s.full == 3);
    put_machine(50, 50, 50, 0);
    s = read_at(gauge, 6 * S);
    assert_true(s.some == 50 && s.full == 50);
}

static void without_the_kernels_word_what_is_left_counts(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal: 1024000 kB\\nMemAvailable: 51200 kB\\n");
    OWN(gauge) *gauge = open_gauge();
    assert_non_null(strstr(gauge_words(gauge), "does not tell"));
    struct strain s = read_at(gauge, 5 * S);
    assert_true(s.some < 0 && s.full < 0);
    assert_left(&s, 50, 1000, "MemAvailable");
    assert_int_equal(gauge_trigger(gauge, 0), -1);
}

static void the_tightest_group_counts(void **state)
{
    (void)state;
    char text[128];
    put_machine(900, 0, 0, 0);
    put("/proc/self/cgroup", "0::/a/b\\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\\n");
    put("/sys/fs/cgroup/a/b/memory.high", "max\\n");
    put("/sys/fs/cgroup/a/b/memory.current", "1000\\n");
    OWN(gauge) *gauge = open_gauge();
    struct strain s = read_at(gauge, S);
    assert_left(&s, 900, 1000, "MemAvailable");
    snprintf(text, sizeof text, "%d\\n", 400 << 20);
    put("/sys/fs/cgroup/a/memory.max", text);
    snprintf(text, sizeof text, "%d\\n", 380 << 20);
    put("/sys/fs/cgroup/a/memory.current", text);
    s = read_at(gauge, S);
    assert_left(&s, 20, 400, "cgroup /a");
    snprintf(text, sizeof text, "anon 5\\nactive_file %d\\ninactive_file %d\\n", 100 << 20,
             30 << 20);
    put("/sys/fs/cgroup/a/memory.stat", text); /* the kernel takes files first */
    s = read_at(gauge, S);
    assert_left(&s, 150, 400, "cgroup /a");
    snprintf(text, sizeof text, "%d\\n", 300 << 20);
    put("/sys/fs/cgroup/a/memory.high", text);
    s = read_at(gauge, S);
    assert_left(&s, 50, 300, "cgroup /a");
}

static void version_1_has_limits_too(void **state)
{
    (void)state;
    char text[128];
    put_machine(900, 0, 0, 0);
    put("/proc/self/cgroup", "3:memory:/a\\n0::/\\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\\n"); /* none */
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "9223372036854771711\\n");
    snprintf(text, sizeof text, "%d\\n", 200 << 20);
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", text);
    snprintf(text, sizeof text, "%d\\n", 190 << 20);
    put("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", text);
    snprintf(text, sizeof text, "total_inactive_file %d\\n", 1 << 20);
    put("/sys/fs/cgroup/memory/a/memory.stat", text);
    OWN(gauge) *gauge = open_gauge();
    struct strain s = read_at(gauge, S);
    assert_left(&s, 11, 200, "cgroup /a");
}

static void a_file_of_ones_own_stays_as_it_is(void **state)
{
    (void)state;
    char path[128], text[256] = "";
    struct gauge *gauge;
    struct err err = {0};
    put_machine(900, 50, 50, 0);
    snprintf(path, sizeof path, "%s/mine", root);
    assert_int_equal(gauge_open(root, path, &gauge, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    put("/mine", "once upon a time\\n");
    assert_int_equal(gauge_open(root, path, &gauge, &err), -EBADMSG);
    put("/mine", "some avg10=12.50\\nfull avg10=1.50\\n");
    assert_int_equal(gauge_open(root, path, &gauge, &err), 0);
    assert_int_equal(gauge_trigger(gauge, 0), -1);
    struct strain s = read_at(gauge, S);
    assert_true(s.some == 12.5 && s.full == 1.5);
    put("/mine", "some avg10=-1\\nfull avg10=1.50\\n");
    s = read_at(gauge, 2 * S);
    assert_true(s.some < 0);
    FILE *file = fopen(path, "r");
    assert_int_equal(fread(text, 1, sizeof text, file), strlen("some avg10=-1\nfull avg10=1.50\n"));
    fclose(file);
    gauge_close(gauge);
    gauge_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_machine_that_is_not_short_does_not_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_came_since_counts_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(our_groups_file_counts_always, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_the_kernels_word_what_is_left_counts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_tightest_group_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(version_1_has_limits_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_of_ones_own_stays_as_it_is, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
