/* SPDX-License-Identifier: MIT
 *
 * What a folder of models tells: names, parts, checkpoints, and what is passed over; and that
 * opening by name stays in the folder.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/folder.h"
#include "format/format.h"

static char room[64], inside[80];

static const char *in(const char *folder, const char *name)
{
    static char path[2][400];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int make_room(void **state)
{
    (void)state;
    strcpy(room, "/tmp/moed-folder.XXXXXX");
    assert_non_null(mkdtemp(room));
    snprintf(inside, sizeof inside, "%s/models", room);
    assert_int_equal(mkdir(inside, 0700), 0);
    return 0;
}

static int clear_room(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", room);
    return system(command);
}

static struct found_list listed(struct folder *folder)
{
    struct found_list list;
    struct err err = {0};
    if (folder_list(folder, &list, &err) < 0)
        fail_msg("%s", err.text);
    return list;
}

static const struct found *found(const struct found_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->at[i].name, name))
            return &list->at[i];
    return NULL;
}

static struct folder opened(const char *path)
{
    struct folder folder;
    assert_int_equal(folder_open(path, &folder), 0);
    return folder;
}

static void test_names(void **state)
{
    (void)state;
    put(in(inside, "one.gguf"), "1");
    put(in(inside, "TWO.GGUF"), "22");
    put(in(inside, ".hidden.gguf"), "");
    put(in(inside, ".gguf"), "");
    put(in(inside, "README"), "");
    put(in(inside, "three.gguf.part"), "");
    put(in(inside, "\xff.gguf"), "");
    put(in(inside, "\xed\xa0\x80.gguf"), "");
    put(in(inside, "a\nb.gguf"), "");
    put(in(inside, "\xc3\xa4.gguf"), "");
    mkdir(in(inside, "empty"), 0700);
    mkdir(in(inside, "folder.gguf"), 0700);
    mkdir(in(inside, "point"), 0700);
    put(in(inside, "point/config.json"), "{}");
    mkdir(in(inside, "linked"), 0700);
    assert_int_equal(symlink("../point/config.json", in(inside, "linked/config.json")), 0);
    assert_int_equal(symlink("point", in(inside, "pointed")), 0);

    struct folder folder = opened(in(inside, "//"));
    struct found_list list = listed(&folder);
    const char *const expected[] = {"TWO", "one", "point", "\xc3\xa4"};
    assert_int_equal(list.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(list.at[i].name, expected[i]);
        assert_null(list.at[i].odd);
    }
    assert_string_equal(found(&list, "TWO")->path, in(inside, "TWO.GGUF"));
    assert_int_equal(found(&list, "TWO")->bytes, 2);
    assert_string_equal(found(&list, "point")->path, in(inside, "point"));
    assert_int_equal(found(&list, "point")->bytes, 0);
    found_list_fini(&list);
    folder_close(&folder);
}

static void test_parts(void **state)
{
    (void)state;
    put(in(inside, "big-00001-of-00003.gguf"), "1");
    put(in(inside, "big-00002-of-00003.gguf"), "22");
    put(in(inside, "big-00003-of-00003.gguf"), "333");
    put(in(inside, "big-00001-of-00002.gguf"), "4444");
    put(in(inside, "big.gguf"), "55555");
    put(in(inside, "late-00002-of-00002.gguf"), "6");
    struct folder folder = opened(inside);
    struct found_list list = listed(&folder);
    assert_int_equal(list.n, 4); /* of 2, of 3, whole, and late */
    uint64_t of_three = 0, whole = 0;
    for (size_t i = 0; i < list.n; i++) {
        of_three += strstr(list.at[i].path, "of-00003") ? list.at[i].bytes : 0;
        whole += strstr(list.at[i].path, "big.gguf") ? list.at[i].bytes : 0;
    }
    assert_int_equal(of_three, 6);
    assert_int_equal(whole, 5);
    assert_string_equal(found(&list, "late")->path, in(inside, "late-00002-of-00002.gguf"));
    found_list_fini(&list);
    folder_close(&folder);
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    put(in(room, "outside.gguf"), "1");
    assert_int_equal(symlink("../outside.gguf", in(inside, "link.gguf")), 0);
    assert_int_equal(mkfifo(in(inside, "pipe.gguf"), 0600), 0);
    struct folder folder = opened(inside);
    struct found_list list = listed(&folder);
    assert_int_equal(list.n, 2);
    assert_string_equal(found(&list, "link")->odd, "symbolic link");
    assert_string_equal(found(&list, "pipe")->odd, "FIFO");
    found_list_fini(&list);
    folder_close(&folder);
}

static void test_what_changes(void **state)
{
    (void)state;
    struct err err = {0};
    struct found_list list;
    struct folder folder = opened(in(inside, "later"));
    assert_int_equal(folder_list(&folder, &list, &err), -ENOENT);
    assert_non_null(strstr(err.text, "models/later"));

    mkdir(in(inside, "later"), 0700);
    list = listed(&folder);
    assert_int_equal(list.n, 0);
    put(in(inside, "later/a.gguf"), "1");
    list = listed(&folder);
    assert_int_equal(list.n, 1);
    uint64_t stamp = list.at[0].stamp;
    found_list_fini(&list);

    list = listed(&folder);
    assert_true(list.at[0].stamp == stamp);
    found_list_fini(&list);
    put(in(inside, "later/a.gguf"), "22");
    list = listed(&folder);
    assert_false(list.at[0].stamp == stamp);
    found_list_fini(&list);

    /* opened once: what stands at its path now is another folder */
    assert_int_equal(rename(in(inside, "later"), in(inside, "moved")), 0);
    mkdir(in(inside, "later"), 0700);
    list = listed(&folder);
    assert_int_equal(list.n, 1);
    found_list_fini(&list);
    folder_close(&folder);
}

static void test_too_many(void **state)
{
    (void)state;
    char name[32];
    struct err err = {0};
    struct found_list list;
    for (int i = 0; i <= FOLDER_MOST_MODELS; i++) {
        snprintf(name, sizeof name, "m%04d.gguf", i);
        put(in(inside, name), "");
    }
    struct folder folder = opened(inside);
    assert_int_equal(folder_list(&folder, &list, &err), -E2BIG);
    assert_non_null(strstr(err.text, "512"));
    assert_int_equal(list.n, FOLDER_MOST_MODELS);
    found_list_fini(&list);
    folder_close(&folder);
}

static void expect_refused(int fd, const char *path, int code, const char *words)
{
    struct format *format = NULL;
    struct err err = {0};
    int r = format_open_at(fd, path, &format, &err);
    if (r != code || format || !strstr(err.text, words))
        fail_msg("%s: %d, \"%s\"", path, r, err.text);
}

/* The rest of the path is but words: what it leads to is never opened. */
static void test_opening_stays_inside(void **state)
{
    (void)state;
    put(in(room, "outside.gguf"), "outside and long enough to be looked at");
    put(in(inside, "inside.gguf"), "inside and long enough to be looked at");
    mkdir(in(room, "checkpoint"), 0700);
    put(in(room, "checkpoint/config.json"), "{}");
    assert_int_equal(symlink("../outside.gguf", in(inside, "link.gguf")), 0);
    assert_int_equal(symlink("../checkpoint", in(inside, "linked")), 0);
    assert_int_equal(symlink("inside.gguf", in(inside, "near.gguf")), 0);
    assert_int_equal(mkfifo(in(inside, "pipe.gguf"), 0600), 0);
    mkdir(in(inside, "empty"), 0700);
    int fd = open(inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);

    expect_refused(fd, "/models/inside.gguf", -EINVAL, "found 69 6e 73 69"); /* "insi" */
    expect_refused(fd, "inside.gguf", -EINVAL, "found 69 6e 73 69");
    expect_refused(fd, in(room, "outside.gguf"), -ENOENT, "outside.gguf");
    expect_refused(fd, "/models/..", -EINVAL, "without a path");
    expect_refused(fd, "/models/.", -EINVAL, "without a path");
    expect_refused(fd, "/models/", -EINVAL, "without a path");
    expect_refused(fd, "/models/link.gguf", -EINVAL, "symbolic link");
    expect_refused(fd, "/models/near.gguf", -EINVAL, "symbolic link");
    expect_refused(fd, "/models/linked", -EINVAL, "symbolic link");
    expect_refused(fd, "/models/pipe.gguf", -EINVAL, "FIFO");
    expect_refused(fd, "/models/empty", -EINVAL, "model.safetensors");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, make_room, clear_room),
        cmocka_unit_test_setup_teardown(test_parts, make_room, clear_room),
        cmocka_unit_test_setup_teardown(test_what_is_no_file, make_room, clear_room),
        cmocka_unit_test_setup_teardown(test_what_changes, make_room, clear_room),
        cmocka_unit_test_setup_teardown(test_too_many, make_room, clear_room),
        cmocka_unit_test_setup_teardown(test_opening_stays_inside, make_room, clear_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
