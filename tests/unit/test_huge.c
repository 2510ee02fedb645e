/* SPDX-License-Identifier: MIT
 *
 * Setting huge pages aside, in a folder that looks like the kernel's.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "huge.h"
#include "own_folder.h"

static void path_of(char dst[160], int node)
{
    snprintf(dst, 160, "%s/node%d/hugepages/hugepages-2048kB/nr_hugepages", folder, node);
}

static void put(int node, unsigned pages)
{
    char path[160];
    path_of(path, node);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "%u\n", pages);
    fclose(file);
}

static unsigned get(int node)
{
    char path[160];
    unsigned pages = 0;
    path_of(path, node);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u", &pages), 1);
    fclose(file);
    return pages;
}

static int setup(void **state)
{
    assert_int_equal(make_folder(state), 0);
    put(0, 0);
    put(1, 7);
    return 0;
}

static void test_each_node_its_share(void **state)
{
    (void)state;
    assert_int_equal(huge_reserve(folder, 20ull << 20, NULL), 0);
    assert_int_equal(get(0), 5);
    assert_int_equal(get(1), 7); /* never less than there was */
    assert_int_equal(huge_reserve(folder, (32ull << 20) + 1, NULL), 0);
    assert_int_equal(get(0), 9); /* 17 pages: rounded up on both */
    assert_int_equal(get(1), 9);
    assert_int_equal(huge_reserve(folder, 0, NULL), 0);
    assert_int_equal(get(0), 9);
}

/* A file that takes a number and gives none, as a kernel without free memory. */
static void test_too_little(void **state)
{
    (void)state;
    char path[160];
    struct err err = {0};
    path_of(path, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(huge_reserve(folder, 40ull << 20, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "10 of 20 huge pages"));
    assert_int_equal(get(1), 10);
}

static void test_no_such_machine(void **state)
{
    (void)state;
    char path[160];
    struct err err = {0};
    path_of(path, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(huge_reserve(folder, 2ull << 20, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(huge_reserve("/nowhere", 2ull << 20, &err), -ENOENT);
    assert_int_equal(huge_reserve("/tmp/", UINT64_MAX, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_node_its_share, setup, erase_folder),
        cmocka_unit_test_setup_teardown(test_too_little, setup, erase_folder),
        cmocka_unit_test_setup_teardown(test_no_such_machine, setup, erase_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
