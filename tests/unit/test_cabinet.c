/* SPDX-License-Identifier: MIT
 *
 * Sessions on a bad disk: every call fails in turn, is cut short, or is the last before a kill -9.
 * What is found then is what was there before or what was being written, and what was told is
 * there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "own_folder.h"
#include "service/cabinet.h"
#include "sessions.h"

enum fault { SOUND, FAIL, SHORT, KILL };
static enum fault fault;
static int calls, at, fault_error;
static char order[256]; /* of calls: w, s for fsync, r for rename … */

static void note(char call)
{
    size_t n = strlen(order);
    if (n + 1 < sizeof order)
        order[n] = call;
}

ssize_t __real_write(int fd, const void *src, size_t n);
int __real_fsync(int fd);
int __real_renameat(int a, const char *from, int b, const char *to);
int __real_mkdirat(int folder, const char *name, mode_t mode);
int __real_unlinkat(int folder, const char *name, int flags);
ssize_t __wrap_write(int fd, const void *src, size_t n);
int __wrap_fsync(int fd);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int __wrap_mkdirat(int folder, const char *name, mode_t mode);
int __wrap_unlinkat(int folder, const char *name, int flags);

static bool strikes(void)
{
    if (fault == SOUND || ++calls != at)
        return false;
    if (fault == KILL)
        raise(SIGKILL);
    errno = fault_error;
    return true;
}

ssize_t __wrap_write(int fd, const void *src, size_t n)
{
    bool struck = strikes();
    note('w');
    if (struck && fault == SHORT)
        return __real_write(fd, src, n / 3 + 1);
    if (struck) { /* a disk that is full takes some */
        (void)!__real_write(fd, src, n / 2);
        errno = fault_error;
        return -1;
    }
    return __real_write(fd, src, n);
}

#define STRIKE(call) strikes() && fault == FAIL ? -1 : (call)

int __wrap_fsync(int fd)
{
    note('s');
    return STRIKE(__real_fsync(fd));
}

int __wrap_renameat(int a, const char *from, int b, const char *to)
{
    note('r');
    return STRIKE(__real_renameat(a, from, b, to));
}

int __wrap_mkdirat(int folder, const char *name, mode_t mode)
{
    return STRIKE(__real_mkdirat(folder, name, mode));
}

int __wrap_unlinkat(int folder, const char *name, int flags)
{
    return STRIKE(__real_unlinkat(folder, name, flags));
}

/* ---- a folder */
static int setup(void **state)
{
    log_set_level(LOG_LEVEL_ERROR);
    return make_folder(state);
}

static struct record found[4];
static int n_found;

static int on_found(void *arg, struct record *record)
{
    (void)arg;
    assert_true(n_found < 4);
    found[n_found++] = *record;
    *record = (struct record){0};
    return 0;
}

/* How many files were passed over. */
static int scan(void)
{
    struct cabinet *cabinet = NULL;
    struct err err = {0};
    while (n_found > 0)
        record_fini(&found[--n_found]);
    assert_int_equal(cabinet_open(folder, &cabinet, &err), 0);
    int passed = cabinet_scan(cabinet, 1 << 20, on_found, NULL, &err);
    cabinet_close(cabinet);
    return passed;
}

static int put(uint64_t id, uint64_t revision)
{
    struct cabinet *cabinet = NULL;
    struct record record;
    struct err err = {0};
    fixture_record(&record, id, revision);
    int r = cabinet_open(folder, &cabinet, &err);
    if (r == 0)
        r = cabinet_put(cabinet, &record, &err);
    assert_true(r == 0 || *err.text);
    cabinet_close(cabinet);
    record_fini(&record);
    return r;
}

/* What is there is one of the two revisions, as it was written; which one. */
static uint64_t check(uint64_t old, uint64_t new)
{
    struct record was;
    assert_int_equal(scan(), 0);
    assert_true(n_found == 1 || (n_found == 0 && old == 0));
    if (n_found == 0)
        return 0;
    assert_true(found[0].revision == old || found[0].revision == new);
    fixture_record(&was, 7, found[0].revision);
    fixture_assert_same(&was, &found[0]);
    record_fini(&was);
    return found[0].revision;
}

static void test_failures(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO};
    uint64_t revision = 0;
    for (int e = 0; e < 2; e++)
        for (fault = FAIL; fault <= SHORT; fault++)
            for (at = 1;; at++) {
                enum fault now = fault;
                fault_error = errors[e];
                calls = 0;
                int r = put(7, revision + 1);
                bool was_struck = calls >= at;
                fault = SOUND;
                uint64_t is = check(revision, revision + 1);
                fault = now;
                if (r == 0)
                    assert_int_equal(is, revision + 1);
                revision = is;
                if (!was_struck)
                    break;
            }
    fault = SOUND;
    assert_true(revision > 4);
}

static void test_kills(void **state)
{
    (void)state;
    uint64_t revision = 0;
    int n_killed = 0;
    for (at = 1; at < 100; at++) {
        pid_t child = fork();
        if (child == 0) {
            fault = KILL;
            calls = 0;
            _exit(put(7, revision + 1) == 0 ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        uint64_t is = check(revision, revision + 1);
        if (!WIFSIGNALED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            assert_int_equal(is, revision + 1);
            assert_true(n_killed >= 5);
            return;
        }
        n_killed++;
        revision = is;
    }
    fail_msg("it never came through");
}

/* A loss of power takes what is not synced: the file before its name, then the name. */
static void test_order(void **state)
{
    (void)state;
    assert_int_equal(put(7, 1), 0);
    memset(order, 0, sizeof order);
    assert_int_equal(put(7, 2), 0);
    assert_string_equal(order, "wsrs");
}

static void test_removed(void **state)
{
    (void)state;
    struct cabinet *cabinet = NULL;
    struct err err = {0};
    assert_int_equal(put(7, 1), 0);
    assert_int_equal(put(8, 2), 0);
    assert_int_equal(scan(), 0);
    assert_int_equal(n_found, 2);
    assert_int_equal(cabinet_open(folder, &cabinet, &err), 0);
    assert_int_equal(cabinet_remove(cabinet, 1000, 7, &err), 0);
    assert_int_equal(cabinet_remove(cabinet, 1000, 7, &err), 0);
    struct cabinet *second = NULL;
    assert_int_equal(cabinet_open(folder, &second, &err), -EBUSY);
    cabinet_close(cabinet);
    assert_int_equal(scan(), 0);
    assert_int_equal(n_found, 1);
    assert_int_equal(found[0].id, 8);
}

static void test_strange_files(void **state)
{
    (void)state;
    char path[160], other[160];
    assert_int_equal(put(7, 1), 0);
    snprintf(path, sizeof path, "%s/sessions/1000/0000000000000007.session", folder);
    snprintf(other, sizeof other, "%s/sessions/1000/0000000000000008.session", folder);
    assert_int_equal(link(path, other), 0); /* another id's */
    assert_int_equal(scan(), 1);
    assert_int_equal(n_found, 1);
    unlink(other);
    assert_int_equal(symlink(path, other), 0);
    assert_int_equal(scan(), 1);
    unlink(other);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_int_equal(scan(), 1);
    unlink(other);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(scan(), 1);
    assert_int_equal(n_found, 0);
    assert_int_equal(truncate(path, 2 << 20), 0);
    assert_int_equal(scan(), 1);
    snprintf(path, sizeof path, "%s/sessions", folder);
    chmod(path, 0777);
    struct cabinet *cabinet = NULL;
    struct err err = {0};
    assert_int_equal(cabinet_open(folder, &cabinet, &err), -EPERM);
    assert_non_null(strstr(err.text, "others may write"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_failures, setup, erase_folder),
        cmocka_unit_test_setup_teardown(test_kills, setup, erase_folder),
        cmocka_unit_test_setup_teardown(test_order, setup, erase_folder),
        cmocka_unit_test_setup_teardown(test_removed, setup, erase_folder),
        cmocka_unit_test_setup_teardown(test_strange_files, setup, erase_folder),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    while (n_found > 0)
        record_fini(&found[--n_found]);
    return failed;
}
