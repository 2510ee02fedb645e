/* SPDX-License-Identifier: MIT
 *
 * The log: one line a call, nothing in it that steers a terminal or forges a line, levels, both
 * kinds of head, and the fields of a line in the journal. stderr is a file while a test runs, and
 * journald a socket of ours.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static char out[8192];
static char journal[] = "/tmp/moed-log.XXXXXX"; /* its socket; nobody is there at first */

/* Each case logs in a child: the sink is chosen once a process. */
static void capture(void (*body)(void), bool is_stream)
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
                 (unsigned long long)st.st_ino + (is_stream ? 0 : 1));
        setenv("JOURNAL_STREAM", stream, 1);
        dup2(fileno(file), STDERR_FILENO);
        log_set_journal(journal);
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

/* ---- the journal */

static int journald(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    strcpy(address.sun_path, journal);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* A datagram as a string; false: there is none. */
static bool heard(int fd, char *dst, size_t size)
{
    ssize_t n = recv(fd, dst, size - 1, 0);
    dst[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static void write_fields(void)
{
    const uint32_t root = 0;
    log_about(
        LOG_LEVEL_WARNING, "room",
        LOG_ABOUT(.event = EVENT_MODEL_READY, .seq = 7, .peer = &root, .model = "a\nMODEL=b\033"),
        "one\nMESSAGE=two");
    log_info("room", "plain");
}

/* Whoever names a model can't forge a field, uid 0 is somebody, and what is not known is absent. */
static void test_fields(void **state)
{
    (void)state;
    char got[8192], expected[512];
    int fd = journald();
    capture(write_fields, true);
    assert_string_equal(out, "");
    snprintf(expected, sizeof expected,
             "MESSAGE=room: one\\x0aMESSAGE=two\nMESSAGE_ID=%s\nPRIORITY=4\n"
             "SYSLOG_IDENTIFIER=moed\nROOM=room\nSEQ=7\nPEER=0\nMODEL=a\\x0aMODEL=b\\x1b\n",
             log_event_id(EVENT_MODEL_READY));
    assert_true(heard(fd, got, sizeof got));
    assert_string_equal(got, expected);
    assert_true(heard(fd, got, sizeof got));
    assert_string_equal(got,
                        "MESSAGE=room: plain\nPRIORITY=6\nSYSLOG_IDENTIFIER=moed\nROOM=room\n");
    assert_false(heard(fd, got, sizeof got));

    /* stderr goes to a file: the journal is not asked, though it is there */
    capture(write_fields, false);
    assert_non_null(strstr(out, "info    room: plain\n"));
    assert_false(heard(fd, got, sizeof got));
    close(fd);
    unlink(journal);
}

enum { FLOOD = 3000 };
static int backlog;

static void write_flood(void)
{
    char got[8192];
    for (int i = 0; i < FLOOD; i++)
        log_info("room", "line %d", i);
    while (heard(backlog, got, sizeof got))
        ;
    log_info("room", "after");
}

/* A journald that does not read holds nobody up, and what it missed is counted. */
static void test_backlog(void **state)
{
    (void)state;
    char got[8192];
    int lost;
    backlog = journald();
    capture(write_flood, true);
    assert_string_equal(out, "");
    assert_true(heard(backlog, got, sizeof got));
    const char *at = strstr(got, "\nLOST=");
    assert_non_null(at);
    assert_non_null(strstr(got, "MESSAGE=room: after\n"));
    assert_int_equal(sscanf(at, "\nLOST=%d", &lost), 1);
    assert_true(lost > 0 && lost < FLOOD);
    close(backlog);
    unlink(journal);
}

static void test_ids(void **state)
{
    (void)state;
    assert_null(log_event_id(EVENT_NONE));
    for (int i = EVENT_NONE + 1; i < N_EVENTS; i++) {
        const char *id = log_event_id((enum event)i);
        assert_int_equal(strspn(id, "0123456789abcdef"), 32);
        assert_int_equal(strlen(id), 32);
        for (int j = EVENT_NONE + 1; j < i; j++)
            assert_string_not_equal(id, log_event_id((enum event)j));
    }
}

int main(void)
{
    int fd = mkstemp(journal); /* a name that is ours */
    assert_true(fd >= 0);
    close(fd);
    unlink(journal);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_levels),  cmocka_unit_test(test_head),
        cmocka_unit_test(test_fields),  cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_ids),     cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
