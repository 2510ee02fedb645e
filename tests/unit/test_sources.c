/* SPDX-License-Identifier: MIT
 *
 * Which files make up the configuration, in which order; and that a key written into one of them is
 * read back, or the file stays as it was.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "settings.h"
#include "sources.h"

static char room[64];
static char folder[3][80]; /* etc, run, lib */
static const char *const folders[] = {folder[0], folder[1], folder[2]};

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"etc", "run", "lib"};
    snprintf(room, sizeof room, "/tmp/test_sources.XXXXXX");
    assert_non_null(mkdtemp(room));
    for (int i = 0; i < 3; i++) {
        snprintf(folder[i], sizeof folder[i], "%s/%s", room, names[i]);
        assert_int_equal(mkdir(folder[i], 0755), 0);
    }
    return 0;
}

static int forget(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(room, forget, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *put(int where, const char *name, const char *text)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/moed.conf.d", folder[where]);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s", folder[where], name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

/* "etc/moed.conf lib/moed.conf.d/a.conf " */
static void expect(const char *expected)
{
    char found[512] = "";
    struct sources sources;
    struct err err = {0};
    assert_int_equal(sources_find(folders, 3, "moed.conf", &sources, &err), 0);
    for (int i = 0; i < sources.n; i++) {
        size_t n = strlen(found);
        snprintf(found + n, sizeof found - n, "%s ", sources.paths[i] + strlen(room) + 1);
    }
    sources_fini(&sources);
    assert_string_equal(found, expected);
}

static void test_order(void **state)
{
    (void)state;
    expect("");
    put(2, "moed.conf", "");
    expect("lib/moed.conf ");
    put(1, "moed.conf", "");
    put(0, "moed.conf", "");
    expect("etc/moed.conf ");
    put(0, "moed.conf.d/20-b.conf", "");
    put(1, "moed.conf.d/10-a.conf", "");
    put(2, "moed.conf.d/30-c.conf", "");
    expect("etc/moed.conf run/moed.conf.d/10-a.conf etc/moed.conf.d/20-b.conf "
           "lib/moed.conf.d/30-c.conf ");
    /* a namesake is hidden; what is no drop-in is not seen */
    put(2, "moed.conf.d/20-b.conf", "");
    put(0, "moed.conf.d/10-a.conf", "");
    put(0, "moed.conf.d/note.txt", "");
    put(0, "moed.conf.d/.hidden.conf", "");
    put(0, "moed.conf.d/.conf", "");
    expect("etc/moed.conf etc/moed.conf.d/10-a.conf etc/moed.conf.d/20-b.conf "
           "lib/moed.conf.d/30-c.conf ");
}

static void test_unreadable(void **state)
{
    (void)state;
    char path[128];
    struct sources sources;
    struct err err = {0};
    snprintf(path, sizeof path, "%s/moed.conf.d", folder[1]);
    assert_int_equal(symlink("moed.conf.d", path), 0); /* in a circle: closed to root, too */
    assert_int_equal(sources_find(folders, 3, "moed.conf", &sources, &err), -ELOOP);
    assert_non_null(strstr(err.text, path));
}

/* ---- writing */
static const struct config_key *key_of(const char *name)
{
    const struct config_key *key = NULL;
    struct err err = {0};
    assert_int_equal(config_find(name, &key, &err), 0);
    return key;
}

static void test_find(void **state)
{
    (void)state;
    const struct config_key *key;
    struct err err = {0};
    assert_string_equal(key_of("Threads")->section, "Engine");
    assert_string_equal(key_of("Daemon.Socket")->key, "Socket");
    assert_int_equal(config_find("Daemon.Threads", &key, &err), -ENOENT);
    assert_non_null(strstr(err.text, "nearest is Engine.Threads"));
    assert_int_equal(config_find("Sockett", &key, &err), -ENOENT);
    assert_non_null(strstr(err.text, "nearest is Daemon.Socket"));
}

static void read_back(const char *path, struct config *config)
{
    struct err err = {0};
    config_init(config);
    if (config_read(config, path, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_write(void **state)
{
    (void)state;
    char path[160];
    struct config config;
    struct stat st;
    struct err err = {0};
    snprintf(path, sizeof path, "%s/new/folder/moed.conf.d/90-set.conf", room);
    mode_t old = umask(0077);
    assert_int_equal(settings_write(path, key_of("Threads"), "3", &err), 0);
    assert_int_equal(settings_write(path, key_of("Folder"), "/a b", &err), 0);
    assert_int_equal(settings_write(path, key_of("DrainSec"), "1min 5s", &err), 0);
    umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644); /* the daemon's user reads it */
    read_back(path, &config);
    assert_int_equal(config.threads, 3);
    assert_int_equal(config.drain_ms, 65000);
    assert_int_equal(config.folders.n, 1);
    assert_string_equal(config.folders.items[0], "/a b");
    char where[200];
    snprintf(where, sizeof where, "%s:", path);
    assert_int_equal(
        strncmp(config.said[key_of("Threads") - config_keys].where, where, strlen(where)), 0);
    config_fini(&config);
    /* a list is replaced, by nothing too */
    assert_int_equal(settings_write(path, key_of("Folder"), "/c", &err), 0);
    read_back(path, &config);
    assert_int_equal(config.folders.n, 1);
    assert_string_equal(config.folders.items[0], "/c");
    config_fini(&config);
    assert_int_equal(settings_write(path, key_of("Folder"), "", &err), 0);
    read_back(path, &config);
    assert_int_equal(config.folders.n, 0);
    config_fini(&config);
}

static void test_write_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } bad[] = {
        {"Threads", "many"},     {"Folder", "/a\n[Engine]\nThreads=9"},
        {"Folder", " /a"},       {"Folder", "/a "},
        {"KeepFolder", "/a ;b"}, {"Threads", ""},
        {"Folder", "/\x01/\n"},
    };
    char path[160], before[4096], after[4096];
    struct err err = {0};
    snprintf(path, sizeof path, "%s", put(0, "moed.conf.d/90-set.conf", "[Engine]\nThreads=2\n"));
    FILE *file = fopen(path, "re");
    before[fread(before, 1, sizeof before - 1, file)] = '\0';
    fclose(file);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int r = settings_write(path, key_of(bad[i].key), bad[i].value, &err);
        if (r != -EINVAL)
            fail_msg("%s=%s: %d", bad[i].key, bad[i].value, r);
        file = fopen(path, "re");
        after[fread(after, 1, sizeof after - 1, file)] = '\0';
        fclose(file);
        assert_string_equal(before, after);
    }
    /* and no draft lies about */
    strcat(path, ".new");
    assert_int_equal(access(path, F_OK), -1);
    /* one that was interrupted is no hindrance */
    put(0, "moed.conf.d/90-set.conf.new", "rest");
    path[strlen(path) - 4] = '\0';
    assert_int_equal(settings_write(path, key_of("Threads"), "4", &err), 0);
}

static void test_copy(void **state)
{
    (void)state;
    struct config config, copy;
    struct err err = {0};
    const char *path =
        put(0, "moed.conf",
            "[Engine]\nThreads=2\nPlace=ref\n[Model]\nFolder=\nFolder=/a\nFolder=/b\n"
            "[Daemon]\nLogLevel=debug\nDrainSec=2s\n");
    config_init(&config);
    assert_int_equal(config_read(&config, path, &err), 0);
    config_copy(&config, &copy);
    for (int i = 0; i < CONFIG_N_KEYS; i++)
        assert_true(config_is_same(&config, &copy, &config_keys[i]));
    static const char *const pairs[][2] = {{"Threads", "3"},   {"Place", "cpu"},
                                           {"Folder", "/c"},   {"LogLevel", "info"},
                                           {"DrainSec", "3s"}, {"CacheBytes", "1G"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const struct config_key *key = key_of(pairs[i][0]);
        assert_int_equal(config_set(&copy, key, pairs[i][1], CONFIG_FILE, "here", &err), 0);
        assert_false(config_is_same(&config, &copy, key));
    }
    config_fini(&config);
    config_fini(&copy);
}

/* A file for one model sets what may differ from model to model, and nothing else. */
static void test_model(void **state)
{
    (void)state;
    struct config config;
    struct err err = {0};
    const char *path =
        put(0, "moed.conf", "[Engine]\nCacheBytes=1G\nKeepFolder=/x\n[Daemon]\nSocket=/y\n");
    config_init(&config);
    assert_int_equal(config_read_model(&config, path, &err), 0);
    assert_int_equal(config.cache_bytes, 1ull << 30);
    assert_string_equal(config.keep_folder, "");
    assert_string_equal(config.socket, "");
    assert_int_equal(config.n_unknown, 2);
    config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test(test_find),
        cmocka_unit_test_setup_teardown(test_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
