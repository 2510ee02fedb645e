/* SPDX-License-Identifier: MIT
 *
 * The log: one line a call, nothing in it that steers a terminal or forges a line, levels, both
 * kinds of head. stderr is a file while a test runs.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static char out[8192];

/* Each case logs in a child: the sink is chosen once a process. */
static void capture(void (*body)(void), bool journal)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct stat st;
        char stream[64];
        fstat(fileno(file), &st);
        snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino + (journal ? 0 : 1));
        setenv("JOURNAL_STREAM", stream, 1);
        dup2(fileno(file), STDERR_FILENO);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    rewind(file);
    out[fread(out, 1, sizeof out - 1, file)] = '\0';
    fclose(file);
}

static void write_controls(void)
{
    log_error("room", "a\nb\033[31mc\177 \xc2\x9b %s", "é");
}

static void test_escapes(void **state)
{
    (void)state;
    capture(write_controls, true);
    assert_string_equal(out, "<3>room: a\\x0ab\\x1b[31mc\\x7f \\x9b é\n");
}

static void write_long(void)
{
    char text[4000];
    for (size_t i = 0; i < sizeof text - 2; i += 2)
        memcpy(text + i, "é", 2);
    text[sizeof text - 2] = '\0';
    log_info("room", "x%s", text);
    memset(text, '\033', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_info("room", "%s", text);
}

static void test_bounds(void **state)
{
    (void)state;
    capture(write_long, true);
    char *second = strchr(out, '\n') + 1;
    assert_true(second - out <= 1024 + 16);
    assert_memory_equal(second - 6, "é…\n", 6);
    assert_true(strlen(second) < 4 * 1024 + 64);
    assert_non_null(strstr(second, "\\x1b…\n"));
}

static void write_levels(void)
{
    log_debug("room", "hidden");
    log_warning("room", "shown");
    log_set_level(LOG_LEVEL_ERROR);
    errno = EBUSY;
    log_warning("room", "hidden");
    log_error("room", "last");
    if (errno != EBUSY)
        _exit(1);
}

static void test_levels(void **state)
{
    (void)state;
    capture(write_levels, true);
    assert_string_equal(out, "<4>room: shown\n<3>room: last\n");
}

/* JOURNAL_STREAM names another file: somebody redirected stderr, so a human reads. */
static void test_head(void **state)
{
    (void)state;
    capture(write_levels, false);
    int year, month, day, hour, minute, second, millisecond, n = 0;
    assert_int_equal(sscanf(out, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ warning room: shown%n", &year,
                            &month, &day, &hour, &minute, &second, &millisecond, &n),
                     7);
    assert_true(n > 0 && out[n] == '\n');
}

static void test_parse(void **state)
{
    (void)state;
    enum log_level level;
    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse("Debug", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_levels),  cmocka_unit_test(test_head),
        cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
