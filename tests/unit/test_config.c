/* SPDX-License-Identifier: MIT
 *
 * The configuration: every kind of value at its bounds, every way a line can be wrong, the warning
 * for an unknown key, and that the moed.conf we install says what the table says.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

static char path[64];

static int read_text(struct config *config, const char *text, size_t bytes, struct err *err)
{
    snprintf(path, sizeof path, "/tmp/test_config.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
    memset(err, 0, sizeof *err);
    int r = config_read(config, path, err);
    unlink(path);
    return r;
}

static void expect_fault(const char *text, const char *words)
{
    struct config config;
    struct err err;
    config_init(&config);
    assert_int_equal(read_text(&config, text, strlen(text), &err), -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("found '%s', expected '%s' in it", err.text, words);
    assert_non_null(strstr(err.text, path));
    config_fini(&config);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config config;
    config_init(&config);
    assert_string_equal(config.socket, "");
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_int_equal(config.drain_ms, 30000);
    assert_int_equal(config.models.n, 0);
    assert_string_equal(config.place, "cpu");
    config_fini(&config);
}

static void test_values(void **state)
{
    (void)state;
    static const char text[] = "# a comment\n"
                               "\n"
                               "[Daemon]\n"
                               "Socket = /run/x/moed.sock\n"
                               "LogLevel=debug\n"
                               "DrainSec=1min 30s ; a comment\n"
                               "[Model]\n"
                               "Model=/a b.gguf\n"
                               "Model=/c.gguf\n"
                               "[Engine]\n"
                               "Threads=1024\n"
                               "CacheBytes=3G";
    struct config config;
    struct err err;
    config_init(&config);
    assert_int_equal(read_text(&config, text, sizeof text - 1, &err), 0);
    assert_string_equal(config.socket, "/run/x/moed.sock");
    assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config.drain_ms, 90000);
    assert_int_equal(config.models.n, 2);
    assert_string_equal(config.models.items[0], "/a b.gguf");
    assert_int_equal(config.threads, 1024);
    assert_int_equal(config.cache_bytes, 3ull << 30);
    config_fini(&config);
}

static const struct config_key *key_of_option(const char *option)
{
    for (int i = 0; i < CONFIG_N_KEYS; i++)
        if (config_keys[i].option && strcmp(config_keys[i].option, option) == 0)
            return &config_keys[i];
    fail_msg("no option --%s", option);
    return NULL;
}

/* Models of the command line take the place of those in the file; an empty one takes all back. */
static void test_lists(void **state)
{
    (void)state;
    const struct config_key *key = key_of_option("model");
    struct config config;
    config_init(&config);
    assert_int_equal(config_set(&config, key, "/file", CONFIG_FILE, "f:1", NULL), 0);
    assert_int_equal(config_set(&config, key, "/one", CONFIG_OPTION, "--model", NULL), 0);
    assert_int_equal(config_set(&config, key, "/two", CONFIG_OPTION, "--model", NULL), 0);
    assert_int_equal(config.models.n, 2);
    assert_string_equal(config.models.items[0], "/one");
    assert_string_equal(config.models.items[1], "/two");
    assert_int_equal(config_set(&config, key, "", CONFIG_OPTION, "--model", NULL), 0);
    assert_int_equal(config.models.n, 0);
    config_fini(&config);
}

static void test_faults(void **state)
{
    (void)state;
    expect_fault("[Engine]\nThreads=1025\n", ":2: Threads=1025: expected a number from 0 to 1024");
    expect_fault("[Engine]\nThreads=-1\n", ":2: Threads=-1");
    expect_fault("[Engine]\nThreads= \n", ":2: Threads=:");
    expect_fault("[Engine]\nThreads=2x\n", ":2: Threads=2x");
    expect_fault("[Engine]\nThreads=99999999999999999999\n", ":2: Threads");
    expect_fault("[Engine]\nMaxSequences=0\n", ":2: MaxSequences=0");
    expect_fault("[Engine]\nCacheBytes=1X\n", ":2: CacheBytes=1X");
    expect_fault("[Engine]\nCacheBytes=17179869184G\n", ":2: CacheBytes"); /* 2^64 */
    expect_fault("[Engine]\nCacheBytes=99999999999999999999\n", ":2: CacheBytes");
    expect_fault("[Daemon]\nDrainSec=2h\n", ":2: DrainSec=2h");
    expect_fault("[Daemon]\nDrainSec=\n", ":2: DrainSec=:");
    expect_fault("[Daemon]\nLogLevel=loud\n", ":2: LogLevel=loud: expected error, warning");
    expect_fault("[Engine]\nPlace=\n", ":2: Place=");
    /* the first fault is the one that is told */
    expect_fault("[Daemon]\nnonsense\nDrainSec=x\n", ":2: expected Key=value");
    expect_fault("[Daemon]\nDrainSec=x\nnonsense\n", ":2: DrainSec=x");
    expect_fault("[Daemon]\nDrainSec=1s\n 5s\n", ":3: the line starts with a blank");
}

static void test_long_line(void **state)
{
    (void)state;
    char text[600];
    /* 198 bytes and a newline are the longest that inih takes */
    int head = snprintf(text, sizeof text, "[Model]\nModel=");
    memset(text + head, 'x', sizeof text - (size_t)head);
    int end = 8 + 198;
    text[end] = '\0';
    struct config config;
    struct err err;
    config_init(&config);
    assert_int_equal(read_text(&config, text, (size_t)end, &err), 0);
    assert_int_equal(strlen(config.models.items[0]), 198 - 6);
    config_fini(&config);
    text[end] = 'x';
    text[end + 1] = '\0';
    expect_fault(text, ":2: the line is longer than 198 bytes");
}

static void test_zero_byte(void **state)
{
    (void)state;
    struct config config;
    struct err err;
    config_init(&config);
    assert_int_equal(read_text(&config, "[Daemon]\n\0x", 11, &err), -EINVAL);
    assert_non_null(strstr(err.text, ":2: found a zero byte"));
    config_fini(&config);
}

static void test_no_file(void **state)
{
    (void)state;
    struct config config;
    struct err err = {0};
    config_init(&config);
    assert_int_equal(config_read(&config, "/nowhere/moed.conf", &err), -ENOENT);
    assert_non_null(strstr(err.text, "cannot open '/nowhere/moed.conf'"));
    assert_int_equal(config_read(&config, "/tmp", &err), -EIO);
    config_fini(&config);
}

/* What a function writes on stderr. */
static int kept = -1;
static FILE *caught;

static void catch_stderr(void)
{
    fflush(stderr);
    kept = dup(STDERR_FILENO);
    caught = tmpfile();
    assert_non_null(caught);
    dup2(fileno(caught), STDERR_FILENO);
}

static void release_stderr(char *dst, size_t size)
{
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(caught);
    dst[fread(dst, 1, size - 1, caught)] = '\0';
    fclose(caught);
}

static void test_unknown(void **state)
{
    (void)state;
    static const char text[] = "[Engine]\nThread=1\n[Daemon]\nThreads=2\n[Engines]\nplace=x\n";
    char log[2048];
    struct config config;
    struct err err;
    config_init(&config);
    catch_stderr();
    int r = read_text(&config, text, sizeof text - 1, &err);
    release_stderr(log, sizeof log);
    assert_int_equal(r, 0);
    assert_int_equal(config.threads, 0);
    assert_non_null(
        strstr(log, ":2: unknown key [Engine] Thread is ignored; the nearest is [Engine] Threads"));
    assert_non_null(strstr(log, ":4: unknown key [Daemon] Threads is ignored; the nearest is "
                                "[Engine] Threads"));
    assert_non_null(strstr(log, ":6: unknown key [Engines] place is ignored; the nearest is "
                                "[Engine] Place"));
    config_fini(&config);
}

/* Each "#Key=default" of the installed file, under its section, is a row, and each row is there. */
static void test_installed_file(void **state)
{
    (void)state;
    const char *installed = getenv("MOED_CONF");
    if (!installed)
        skip();
    FILE *file = fopen(installed, "re");
    assert_non_null(file);
    char line[256], section[32] = "";
    int seen = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '[')
            sscanf(line, "[%31[^]]", section);
        char *equals = strchr(line, '=');
        if (line[0] != '#' || line[1] == ' ' || !equals)
            continue;
        *equals = '\0';
        if (seen == CONFIG_N_KEYS)
            fail_msg("more keys than the table has: %s", line + 1);
        assert_string_equal(section, config_keys[seen].section);
        assert_string_equal(line + 1, config_keys[seen].key);
        assert_string_equal(equals + 1, config_keys[seen].standard);
        seen++;
    }
    fclose(file);
    assert_int_equal(seen, CONFIG_N_KEYS);
    struct config config;
    struct err err = {0};
    config_init(&config);
    assert_int_equal(config_read(&config, installed, &err), 0);
    config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_values),
        cmocka_unit_test(test_lists),          cmocka_unit_test(test_faults),
        cmocka_unit_test(test_long_line),      cmocka_unit_test(test_zero_byte),
        cmocka_unit_test(test_no_file),        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_installed_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
