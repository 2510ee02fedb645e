/* SPDX-License-Identifier: MIT
 *
 * The store on a sound disk: what is found again, by whom, what goes when room is short, and which
 * files are left alone. test_store_faults.c breaks the disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/store.h"
#include "own_folder.h"
#include "talk.h"

enum { PLENTY = 1 << 30 };

static struct store *open_store(uint64_t most_bytes)
{
    struct store *store = NULL;
    struct err err = {0};
    if (store_open(folder, most_bytes, &store, &err) < 0 || store_scan(store, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

static struct store *open_again(struct store *store)
{
    struct store_stat stat;
    store_stat(store, &stat);
    store_close(store);
    return open_store(stat.most_bytes);
}

static int put(struct store *store, const struct talk *talk)
{
    struct err err = {0};
    int r = store_put(store, &talk->key, &talk->text, talk->page, &err);
    if (r < 0 && r != -ENOSPC && r != -EDQUOT && r != -EFBIG)
        fail_msg("%s", err.text);
    assert_int_equal(r < 0 ? r : 0, err.code);
    return r;
}

static int put_new(struct store *store, uint32_t uid, uint64_t seed, int n_rows, const char *name)
{
    static struct talk talk;
    talk_make(&talk, uid, seed, n_rows);
    strcpy(talk.name, name);
    talk_fill(&talk);
    return put(store, &talk);
}

/* How many rows of these are found; they must be the right ones. */
static int found(struct store *store, const struct talk *talk, const uint8_t *answer)
{
    static struct talk got;
    const struct kept *kept = NULL;
    struct err err = {0};
    int n = store_find(store, &talk->key, talk->token, talk->text.n_tokens, answer, &kept);
    if (n == 0)
        return 0;
    assert_memory_equal(kept->text->token, talk->token, (size_t)n * sizeof *talk->token);
    /* what they have in common with the rows that are there may end in a page */
    talk_make(&got, talk->key.uid, 0, 1);
    got.key = *kept->key;
    got.text.n_rows = kept->text->n_rows;
    memcpy(got.token, kept->text->token, (size_t)got.text.n_rows * sizeof *got.token);
    memcpy(got.answer, kept->text->answer, ((size_t)got.text.n_rows + 7) / 8);
    int n_pages = rowfile_pages(n);
    if (store_get(store, kept, 0, n_pages, got.page, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(talk_is_right(&got, n_pages, got.page));
    return n;
}

static int found_of(struct store *store, uint32_t uid, uint64_t seed, int n_rows)
{
    static struct talk talk;
    talk_make(&talk, uid, seed, n_rows);
    return found(store, &talk, talk.answer);
}

static struct store_stat stat_of(const struct store *store)
{
    struct store_stat stat;
    store_stat(store, &stat);
    return stat;
}

/* Random talks that share beginnings, against a list of all that was put. */
static void what_was_put_is_found(void **state)
{
    (void)state;
    enum { TALKS = 120 };
    static struct talk talks[TALKS], asked;
    uint64_t random = 12345;
    struct store *store = open_store(PLENTY);
    for (int i = 0; i < TALKS; i++) {
        struct talk *talk = &talks[i];
        int n = 1 + (int)(talk_random(&random) % (TALK_MOST - 1));
        talk_make(talk, 1000 + (uint32_t)(talk_random(&random) % 3), talk_random(&random) % 7, n);
        for (int at = (int)(talk_random(&random) % TALK_MOST); at < n; at++)
            talk->token[at] = (int32_t)(talk_random(&random) % 3); /* another way from there */
        talk_fill(talk);
        put(store, talk);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 500; i++) {
            const struct talk *like = &talks[talk_random(&random) % TALKS];
            asked = *like;
            asked.text.n_tokens = 1 + (int)(talk_random(&random) % TALK_MOST);
            int best = 0;
            for (int j = 0; j < TALKS; j++) {
                int n = 0;
                while (talks[j].key.uid == asked.key.uid && n < asked.text.n_tokens &&
                       n < talks[j].text.n_rows && talks[j].token[n] == asked.token[n] &&
                       talk_bit(talks[j].answer, n) == talk_bit(asked.answer, n))
                    n++;
                best = n > best ? n : best;
            }
            assert_int_equal(found(store, &asked, asked.answer), best);
        }
        store = open_again(store);
    }
    assert_int_equal(stat_of(store).n_broken, 0);
    store_close(store);
}

static void every_part_of_the_key_counts(void **state)
{
    (void)state;
    static struct talk talk, other;
    struct store *store = open_store(PLENTY);
    assert_int_equal(put_new(store, 7, 1, 100, ""), 0);
    for (int round = 0; round < 2; round++) {
        talk_make(&talk, 7, 1, 100);
        assert_int_equal(found(store, &talk, talk.answer), 100);
        assert_int_equal(found(store, &talk, NULL), 100);
        for (int i = 0; i < 2; i++) {
            other = talk, other.key.model[i] ^= 1;
            assert_int_equal(found(store, &other, NULL), 0);
            other = talk, other.key.kind[i] ^= 1u << 31;
            assert_int_equal(found(store, &other, NULL), 0);
        }
        other = talk, other.key.uid = 8;
        assert_int_equal(found(store, &other, NULL), 0);
        other = talk, other.key.page_bytes--;
        assert_int_equal(found(store, &other, NULL), 0);
        other = talk, other.token[40]++;
        assert_int_equal(found(store, &other, NULL), 40);
        other = talk, other.answer[50 / 8] ^= 1 << 50 % 8;
        assert_int_equal(found(store, &other, other.answer), 50);
        assert_int_equal(found(store, &other, NULL), 100);
        store = open_again(store);
    }
    store_close(store);
}

static void what_others_begin_with_is_kept_once(void **state)
{
    (void)state;
    struct store *store = open_store(PLENTY);
    assert_int_equal(put_new(store, 7, 1, 100, ""), 0);
    assert_int_equal(put_new(store, 7, 1, 100, ""), 1);
    assert_int_equal(put_new(store, 7, 1, 60, ""), 1);
    assert_int_equal(stat_of(store).n_files, 1);
    assert_int_equal(put_new(store, 7, 1, 140, ""), 0);
    assert_int_equal(stat_of(store).n_files, 1);
    assert_int_equal(put_new(store, 8, 1, 140, ""), 0); /* another user's are never the same */
    assert_int_equal(stat_of(store).n_files, 2);
    assert_int_equal(put_new(store, 7, 1, 100, "a talk"), 0);
    assert_int_equal(stat_of(store).n_files, 3);
    assert_int_equal(put_new(store, 7, 1, 200, ""), 0); /* a name outlives longer rows */
    assert_int_equal(stat_of(store).n_files, 3);
    store = open_again(store);
    assert_int_equal(stat_of(store).n_files, 3);
    assert_int_equal(found_of(store, 7, 1, 300), 200);
    assert_int_equal(found_of(store, 8, 1, 300), 140);
    store_close(store);
}

static void names_are_kept(void **state)
{
    (void)state;
    static struct talk talk;
    struct err err = {0};
    struct store *store = open_store(PLENTY);
    assert_int_equal(put_new(store, 7, 1, 100, "talk"), 0);
    assert_int_equal(put_new(store, 8, 2, 50, "talk"), 0);
    assert_int_equal(put_new(store, 7, 3, 64, "another/../talk"), 0);
    talk_make(&talk, 7, 1, 120); /* waits for its last tokens to be read */
    talk.text.n_tokens = 120;
    talk.text.n_rows = 110;
    strcpy(talk.name, "talk");
    talk_fill(&talk);
    assert_int_equal(put(store, &talk), 0);
    store = open_again(store);
    assert_int_equal(stat_of(store).n_files, 3);
    assert_null(store_named(store, 9, "talk"));
    assert_null(store_named(store, 7, ""));
    const struct kept *kept = store_named(store, 7, "talk");
    assert_non_null(kept);
    assert_int_equal(kept->text->n_tokens, 120);
    assert_int_equal(kept->text->n_rows, 110);
    assert_memory_equal(kept->text->token, talk.token, 120 * sizeof *talk.token);
    assert_int_equal(found(store, &talk, talk.answer), 110);
    assert_non_null(store_named(store, 7, "another/../talk"));
    assert_int_equal(store_remove(store, store_named(store, 7, "talk"), &err), 0);
    assert_null(store_named(store, 7, "talk"));
    store = open_again(store);
    assert_null(store_named(store, 7, "talk"));
    assert_non_null(store_named(store, 8, "talk"));
    store_close(store);
}

/* Four pages each, which in a file take less: room is kept for what they could take. */
static void who_holds_the_most_pays_first(void **state)
{
    (void)state;
    static struct talk talk;
    talk_make(&talk, 1, 1, 128);
    uint64_t one = rowfile_most_bytes(&talk.key, &talk.text), sum = 0;
    struct store *store = open_store(6 * one);
    assert_int_equal(put_new(store, 1, 100, 128, ""), 0);
    assert_int_equal(put_new(store, 2, 200, 128, ""), 0);
    uint64_t bytes = stat_of(store).bytes / 2; /* of one, as packed */
    assert_true(bytes < one);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(put_new(store, 3, 300 + i, 128, ""), 0);
    assert_true(stat_of(store).bytes <= 6 * one);
    assert_true(stat_of(store).bytes + one + bytes > 6 * one);
    assert_int_equal(found_of(store, 1, 100, 128), 128);
    assert_int_equal(found_of(store, 2, 200, 128), 128);
    assert_int_equal(found_of(store, 3, 300, 128), 0);
    assert_int_equal(found_of(store, 3, 339, 128), 128);
    for (uint64_t i = 0; i < 40; i++)
        sum += found_of(store, 3, 300 + i, 128) == 128;
    assert_int_equal(sum, (uint64_t)stat_of(store).n_files - 2);

    /* what was used last stays, also over a restart */
    uint64_t first = 340 - sum;
    assert_int_equal(found_of(store, 3, first, 128), 128);
    store = open_again(store);
    assert_int_equal(put_new(store, 3, 398, 128, ""), 0);
    assert_int_equal(put_new(store, 3, 399, 128, ""), 0);
    assert_int_equal(found_of(store, 3, first, 128), 128);
    assert_int_equal(found_of(store, 3, first + 1, 128), 0);

    /* What is held stays, and is a quarter of the room for one, half of it for all. */
    assert_int_equal(put_new(store, 2, 500, 128, "a"), 0);
    assert_int_equal(put_new(store, 2, 501, 128, "b"), -EDQUOT);
    assert_int_equal(put_new(store, 2, 502, 120, "a"), 0); /* in its own place there is room */
    assert_int_equal(put_new(store, 4, 503, 128, "a"), 0);
    assert_int_equal(put_new(store, 5, 504, 128, "a"), 0);
    assert_int_equal(put_new(store, 6, 505, 128, "a"), -ENOSPC);
    uint64_t held = stat_of(store).held_bytes;
    assert_true(held > 0 && held <= 3 * one);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(put_new(store, 3, 600 + i, 128, ""), 0);
    assert_int_equal(found_of(store, 2, 502, 128), 120);
    assert_int_equal(stat_of(store).held_bytes, held);

    store_close(store);
    store = open_store(one); /* less room than before: it stays even so */
    assert_int_equal(stat_of(store).n_files, 3);
    assert_int_equal(stat_of(store).held_bytes, held);
    assert_int_equal(put_new(store, 3, 700, 128, ""), -ENOSPC);

    /* Let go of, it is as any other. */
    for (uint32_t uid = 4; uid <= 5; uid++)
        assert_int_equal(store_let_go(store, store_named(store, uid, "a"), NULL), 0);
    store = open_again(store);
    assert_int_equal(stat_of(store).n_files, 1);
    assert_int_equal(found_of(store, 2, 502, 128), 120);
    assert_int_equal(store_let_go(store, store_named(store, 2, "a"), NULL), 0);
    assert_int_equal(store_let_go(store, store_named(store, 2, "a"), NULL), 0);
    assert_int_equal(found_of(store, 2, 502, 128), 120);
    assert_int_equal(put_new(store, 3, 700, 128, ""), 0);
    assert_int_equal(found_of(store, 2, 502, 128), 0);
    store_close(store);
}

/* Two files for one user, whatever room there is; others have nothing to do with it. */
static void a_limit_of_a_user_is_kept_to(void **state)
{
    (void)state;
    static struct talk talk;
    talk_make(&talk, 1, 1, 128);
    uint64_t one = rowfile_most_bytes(&talk.key, &talk.text);
    struct store *store = open_store(100 * one);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(put_new(store, 1, 100 + i, 128, ""), 0);
        assert_int_equal(put_new(store, 2, 200 + i, 128, ""), 0);
    }
    assert_int_equal(put_new(store, 1, 120, 128, "name"), 0);
    uint64_t bytes = stat_of(store).bytes / 21; /* of one, as packed */
    assert_int_equal(store_limit(store, 1, one + bytes * 3 / 2), 0);
    assert_int_equal(stat_of(store).n_files, 21);
    assert_int_equal(put_new(store, 1, 110, 128, ""), 0);
    assert_int_equal(stat_of(store).n_files, 10 + 1 + 1);
    assert_int_equal(found_of(store, 1, 110, 128), 128);
    assert_int_equal(found_of(store, 1, 109, 128), 0);
    assert_non_null(store_named(store, 1, "name")); /* stays, and is of what he has */
    assert_int_equal(put_new(store, 1, 130, 512, ""), -EFBIG);
    assert_int_equal(found_of(store, 1, 110, 128), 128);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(found_of(store, 2, 200 + i, 128), 128);
    assert_int_equal(put_new(store, 2, 210, 512, ""), 0);
    assert_int_equal(store_limit(store, 3, 0), 0);
    assert_int_equal(put_new(store, 3, 300, 128, ""), -EFBIG);
    assert_int_equal(store_limit(store, 3, UINT64_MAX), 0);
    assert_int_equal(put_new(store, 3, 300, 128, ""), 0);
    store_close(store);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static char *in(const char *format, ...)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    int n = snprintf(path[turn], sizeof path[turn], "%s/", folder);
    va_list args;
    va_start(args, format);
    vsnprintf(path[turn] + n, sizeof path[turn] - (size_t)n, format, args);
    va_end(args);
    return path[turn];
}

#define HEX "0123456789abcdef0123456789abcde"

static char kept_file[256];

static int note_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_F)
        snprintf(kept_file, sizeof kept_file, "%s", path);
    return 0;
}

static void strange_files_are_left_alone(void **state)
{
    (void)state;
    struct store *store = open_store(PLENTY);
    assert_int_equal(put_new(store, 7, 1, 100, ""), 0);
    assert_int_equal(put_new(store, 8, 2, 100, ""), 0);
    store_close(store);
    nftw(in("7"), note_file, 8, FTW_PHYS);
    const char *name = strrchr(kept_file, '/') + 1;

    assert_int_equal(symlink(kept_file, in("7/" HEX "1.kv")), 0);
    assert_int_equal(mkfifo(in("7/" HEX "2.kv"), 0600), 0);
    assert_int_equal(mkdir(in("7/" HEX "3.kv"), 0700), 0);
    write_file(in("7/" HEX "4.KV"), "");
    write_file(in("7/" HEX "45.kv"), "");
    write_file(in("7/notes"), "");
    write_file(in("7/" HEX "5.kv"), "not rows at all, but of some length; there are as many bytes "
                                    "as a head has, and more behind them");
    write_file(in("7/" HEX "6.kv"), "too short"); /* cut behind our name: broken */
    write_file(in("7/" HEX "7.tmp"), "left by a crash");
    assert_int_equal(mkdir(in("0007"), 0700), 0);
    assert_int_equal(mkdir(in("4294967296"), 0700), 0);
    assert_int_equal(mkdir(in("-1"), 0700), 0);
    write_file(in("0007/" HEX "7.tmp"), "");
    assert_int_equal(symlink(in("8"), in("9")), 0);
    /* a user's file in another's folder */
    assert_int_equal(mkdir(in("10"), 0700), 0);
    assert_int_equal(link(kept_file, in("10/%s", name)), 0);

    store = open_store(PLENTY);
    assert_int_equal(stat_of(store).n_files, 4); /* two, one in the wrong folder, one of no kind */
    assert_int_equal(stat_of(store).n_broken, 1);
    assert_int_equal(found_of(store, 7, 1, 100), 100);
    assert_int_equal(found_of(store, 8, 2, 100), 100);
    assert_int_equal(found_of(store, 10, 1, 100), 0);
    assert_int_equal(found_of(store, 9, 2, 100), 0);
    struct stat st;
    const char *const there[] = {"1.kv", "2.kv", "3.kv", "4.KV", "45.kv", "5.kv"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        assert_int_equal(lstat(in("7/" HEX "%s", there[i]), &st), 0);
    assert_int_equal(lstat(in("7/notes"), &st), 0);
    assert_int_equal(lstat(in("0007/" HEX "7.tmp"), &st), 0);
    assert_int_equal(lstat(in("10/%s", name), &st), 0);
    assert_int_equal(lstat(in("7/" HEX "6.kv"), &st), -1);
    assert_int_equal(lstat(in("7/" HEX "7.tmp"), &st), -1);
    store_close(store);

    /* others may look into a user's folder: nothing is taken from there, nothing written */
    assert_int_equal(chmod(in("7"), 0750), 0);
    store = open_store(PLENTY);
    assert_int_equal(found_of(store, 7, 1, 100), 0);
    static struct talk talk;
    struct err err = {0};
    talk_make(&talk, 7, 1, 100);
    assert_int_equal(store_put(store, &talk.key, &talk.text, talk.page, &err), -EPERM);
    assert_non_null(strstr(err.text, "has mode 0750, expected 0700"));
    /* a link where the folder was */
    assert_int_equal(rename(in("8"), in("elsewhere")), 0);
    assert_int_equal(symlink(in("elsewhere"), in("8")), 0);
    assert_int_equal(found_of(store, 9, 2, 100), 0);
    const struct kept *kept;
    talk_make(&talk, 8, 2, 100);
    assert_int_equal(store_find(store, &talk.key, talk.token, 100, NULL, &kept), 100);
    memset(talk.memory, 'x', sizeof talk.memory);
    assert_true(store_get(store, kept, 0, 4, talk.page, &err) < 0);
    for (int i = 0; i < 4 * TALK_PAGE; i++)
        assert_int_equal(talk.memory[i / TALK_PAGE][i % TALK_PAGE], 0);
    store_close(store);
}

static void folders_are_refused(void **state)
{
    (void)state;
    struct store *store = open_store(PLENTY), *other = NULL;
    struct err err = {0};
    assert_int_equal(store_open(folder, PLENTY, &other, &err), -EBUSY);
    assert_non_null(strstr(err.text, "in use"));
    store_close(store);
    assert_int_equal(chmod(folder, 0770), 0);
    assert_int_equal(store_open(folder, PLENTY, &other, &err), -EPERM);
    assert_non_null(strstr(err.text, "has mode 0770, expected 0750"));
    assert_int_equal(chmod(folder, 0755), 0); /* names of users may be seen, their files not */
    store_close(open_store(PLENTY));
    assert_int_equal(store_open(in("not/there"), PLENTY, &other, &err), -ENOENT);
    assert_int_equal(store_open("/dev/null", PLENTY, &other, &err), -ENOTDIR);
    if (geteuid() == 0) {
        assert_int_equal(chown(folder, 12345, (gid_t)-1), 0);
        assert_int_equal(store_open(folder, PLENTY, &other, &err), -EPERM);
        assert_non_null(strstr(err.text, "belongs to uid 12345, expected 0"));
        assert_int_equal(chown(folder, 0, (gid_t)-1), 0);
    }
    char *below = in("made");
    assert_int_equal(store_open(below, PLENTY, &store, &err), 0);
    store_close(store);
    struct stat st;
    assert_int_equal(stat(below, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, erase_folder)
        TEST(what_was_put_is_found),
        TEST(every_part_of_the_key_counts),
        TEST(what_others_begin_with_is_kept_once),
        TEST(names_are_kept),
        TEST(who_holds_the_most_pays_first),
        TEST(a_limit_of_a_user_is_kept_to),
        TEST(strange_files_are_left_alone),
        TEST(folders_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
