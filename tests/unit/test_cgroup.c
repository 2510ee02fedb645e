/* SPDX-License-Identifier: MIT
 *
 * Limits of processor time, read from folders that look like the system's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "place/cgroup.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char command[512];
    snprintf(command, sizeof command, "f='%s%s'; mkdir -p \"${f%%/*}\" && printf -- '%s' >\"$f\"",
             root, path, text);
    assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/moed-cgroup.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void expect(uint64_t limit, const char *group)
{
    char found[64];
    assert_int_equal(cgroup_cpu_limit(root, found, sizeof found), limit);
    assert_string_equal(found, group);
}

static void nothing_is_no_limit(void **state)
{
    (void)state;
    expect(0, "");
    put("/proc/self/cgroup", "0::/a/b\\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\\n");
    expect(0, "");
}

static void the_tightest_above_counts(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/a/b/c\\n");
    put("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\\n");
    expect(8000, "/a/b/c");
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\\n");
    expect(2500, "/a");
    put("/sys/fs/cgroup/cpu.max", "400000 50000\\n");
    expect(2500, "/a");
    put("/sys/fs/cgroup/cpu.max", "10000 100000\\n");
    expect(100, "/");
}

static void version_1_has_a_controller(void **state)
{
    (void)state;
    put("/proc/self/cgroup",
        "5:memory:/m\\n4:cpu,cpuacct:/x/y\\n3:cpuset:/z\\n1:name=systemd:/\\n");
    put("/sys/fs/cgroup/cpu/z/cpu.cfs_quota_us", "1000\\n"); /* another controller's group */
    put("/sys/fs/cgroup/cpu/z/cpu.cfs_period_us", "100000\\n");
    put("/sys/fs/cgroup/cpu/x/y/cpu.cfs_quota_us", "-1\\n");
    put("/sys/fs/cgroup/cpu/x/y/cpu.cfs_period_us", "100000\\n");
    expect(0, "");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "300000\\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\\n");
    expect(3000, "/x");
}

static void odd_files_limit_nothing(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "\\n::\\n0\\n0::/g\\n");
    put("/sys/fs/cgroup/g/cpu.max", "100 0\\n");
    expect(0, "");
    put("/sys/fs/cgroup/g/cpu.max", "much\\n");
    expect(0, "");
    put("/sys/fs/cgroup/g/cpu.max", "");
    expect(0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_no_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_tightest_above_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(version_1_has_a_controller, set_up, tear_down),
        cmocka_unit_test_setup_teardown(odd_files_limit_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
