/* SPDX-License-Identifier: MIT
 *
 * What an engine finds on the disk of what another one, of the same model, has read and written:
 * the same bytes as if there had been one engine all the time, and nothing that is not to be found.
 *
 *     test_archive MODEL.gguf REFERENCE.json
 */
#include "engine_bench.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/archive.h"
#include "kv/porter.h"
#include "own_folder.h"

enum { ALICE = 1000, BOB = 2000 };

/* Tokens in a row, of which the first `same` are those of every such prompt. */
static struct engine_request *words(uint32_t uid, int same, int n, int max_tokens)
{
    struct engine_request *q = long_prompt(n);
    for (int i = same; i < n; i++)
        q->prompt[i] = 320 + (i * 7 + same) % 500;
    q->uid = uid;
    q->max_tokens = max_tokens;
    q->ignore_end = true;
    return q;
}

static void assert_same_answer(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->id, b->id, (size_t)a->n * sizeof *a->id);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
}

/* An engine with a porter of its own: a process. */
struct life {
    struct bench bench;
    struct porter *porter;
};

static void be_born_with(struct life *life, int threads, uint64_t most_bytes, uint64_t cache_bytes)
{
    struct engine_config config = usual;
    struct err err = {0};
    config.cache_bytes = cache_bytes;
    if (porter_open(folder, most_bytes, &life->porter, &err) < 0)
        fail_msg("%s", err.text);
    config.porter = life->porter;
    start(&life->bench, threads, &config);
}

static void be_born(struct life *life, int threads, uint64_t most_bytes)
{
    be_born_with(life, threads, most_bytes, 0);
}

static void die(struct life *life, bool save)
{
    if (save)
        engine_save(life->bench.engine, UINT64_MAX);
    end(&life->bench);
    porter_close(life->porter);
}

static int n_files(const struct life *life)
{
    struct store_stat stat;
    porter_stat(life->porter, &stat);
    return stat.n_files;
}

/* ------------------------------------------------------------------ tests */

static void prompts_are_found(void **state)
{
    (void)state;
    static const struct {
        int same, n, known;
    } cases[] = {
        {160, 300, 160}, {100, 140, 100}, {64, 97, 64}, {63, 120, 63}, {65, 290, 65},
        {160, 160, 159}, {32, 33, 32},    {1, 40, 1},   {31, 32, 0},   {0, 100, 0},
    };
    struct life life;
    struct bench forgetful;
    struct engine_config config = usual;
    config.keep_percent = 0;
    start(&forgetful, 1, &config);
    be_born(&life, 1, 1 << 30);
    enum { CASES = sizeof cases / sizeof *cases };
    for (uint32_t i = 0; i < CASES; i++) /* a user each: they may be saved in between */
        free(ask(&life.bench, words(ALICE + i, 170, 170, 1)));
    die(&life, true);
    for (uint32_t i = 0; i < CASES; i++) {
        be_born(&life, 1 + (int)i % 2, 1 << 30);
        struct answer *bob = ask(&life.bench, words(BOB + i, cases[i].same, cases[i].n, 20));
        struct answer *alice = ask(&life.bench, words(ALICE + i, cases[i].same, cases[i].n, 20));
        struct answer *plain = ask(&forgetful, words(ALICE, cases[i].same, cases[i].n, 20));
        assert_int_equal(alice->last.n_cached, cases[i].known);
        assert_int_equal(bob->last.n_cached, 0);
        assert_same_answer(alice, plain);
        assert_same_answer(bob, plain);
        free(bob);
        free(alice);
        free(plain);
        die(&life, false);
    }
    end(&forgetful);
}

enum { TURNS = 4, PROMPT = 100, ANSWER = 45, QUESTION = 50 };

/* A talk over several lives; what was an answer is known as one. */
static void talk(bool die_between, struct answer *answers)
{
    struct life life;
    be_born(&life, 1, 1 << 30);
    int32_t *said = calloc(TURNS * 200, sizeof *said);
    int n = PROMPT;
    for (int i = 0; i < n; i++)
        said[i] = 400 + i;
    for (int turn = 0; turn < TURNS; turn++) {
        struct engine_request *q = words(ALICE, 0, n, ANSWER);
        memcpy(q->prompt, said, (size_t)n * sizeof *said);
        struct answer *a = ask(&life.bench, q);
        answers[turn] = *a;
        memcpy(said + n, a->id, (size_t)a->n * sizeof *said);
        n += a->n;
        for (int i = 0; i < QUESTION; i++)
            said[n++] = 500 + i * turn;
        free(a);
        if (die_between) {
            die(&life, true);
            be_born(&life, 1 + turn % 2, 1 << 30);
        }
    }
    if (die_between) /* of the talk's parts the longest is kept */
        assert_int_equal(n_files(&life), 1);
    die(&life, false);
    free(said);
}

static void a_talk_outlives_its_engine(void **state)
{
    (void)state;
    static struct answer one_life[TURNS], many[TURNS];
    talk(false, one_life);
    talk(true, many);
    for (int turn = 0; turn < TURNS; turn++) {
        assert_same_answer(&one_life[turn], &many[turn]);
        assert_int_equal(one_life[turn].last.n_cached, many[turn].last.n_cached);
        assert_int_equal(one_life[turn].n_runs, many[turn].n_runs);
        for (int i = 0; i < many[turn].n_runs; i++)
            assert_int_equal(one_life[turn].run[i], many[turn].run[i]);
    }
    assert_int_equal(many[TURNS - 1].n_runs, 2 * (TURNS - 1));
}

/* Somebody says something else in the middle of an answer: of the page that was fetched for its
 * beginning the end is made anew, as a prompt. */
static void a_talk_parts_in_an_answer(void **state)
{
    (void)state;
    enum { HERE = PROMPT + 21, THERE = HERE + 60 };
    struct life life;
    be_born(&life, 1, 1 << 30);
    struct answer *a = ask(&life.bench, words(ALICE, PROMPT, PROMPT, ANSWER));
    die(&life, true);
    for (int turn = 0; turn < 2; turn++) {
        be_born(&life, 1, 1 << 30);
        struct engine_request *q = words(ALICE, PROMPT, THERE + turn * 20, 1);
        memcpy(q->prompt + PROMPT, a->id, (HERE - PROMPT) * sizeof *q->prompt);
        q->prompt[HERE] = a->id[HERE - PROMPT] == 400 ? 401 : 400;
        struct answer *b = ask(&life.bench, q);
        assert_int_equal(b->last.n_cached, turn ? THERE : HERE);
        assert_int_equal(b->run[0], PROMPT);
        assert_int_equal(b->run[1], HERE - PROMPT);
        assert_int_equal(b->n_runs, 2 + turn);
        free(b);
        die(&life, true);
    }
    free(a);
}

/* Nobody has to say that the end is near. */
static void talks_are_saved_when_nobody_asks(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 30);
    free(ask(&life.bench, words(ALICE, 100, 100, 1)));
    free(ask(&life.bench, words(ALICE, 50, 100, 1)));
    free(ask(&life.bench, words(BOB, 100, 100, 1)));
    for (int i = 0; i < 1000 && n_files(&life) < 3; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(n_files(&life), 3);
    free(ask(&life.bench, words(ALICE, 100, 100, 1)));
    die(&life, false);
}

/* A call that waits in the middle of its answer: while it is there the engine is never idle. */
static struct answer held;

static void hold(struct life *life)
{
    memset(&held, 0, sizeof held);
    held.call = submit(&life->bench, words(BOB, 50, 60, 40));
    collect(&life->bench, &held, 1, 1);
    engine_pause(life->bench.engine, held.call, true);
}

static struct answer *ask_beside(struct life *life, struct engine_request *q)
{
    struct answer *a = calloc(1, sizeof *a);
    struct engine_event event;
    a->call = submit(&life->bench, q);
    while (!a->done) {
        while (engine_poll(life->bench.engine, &event))
            take(event.call == held.call ? &held : a, &event);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return a;
}

/* It goes on, and nothing was taken from under it. */
static void let_go(struct life *life)
{
    assert_false(held.done);
    engine_pause(life->bench.engine, held.call, false);
    collect(&life->bench, &held, 1, 0);
    struct answer *again = ask(&life->bench, words(BOB, 50, 60, 40));
    assert_same_answer(&held, again);
    free(again);
}

static struct engine_stat stat_of(const struct life *life)
{
    struct engine_stat stat;
    engine_stat(life->bench.engine, &stat);
    return stat;
}

/* Until `holds` or half a minute is over. */
#define WAIT_FOR(holds)                                                                            \
    for (int i = 0; i < 3000 && !(holds); i++)                                                     \
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL)

static void wait_for_files(const struct life *life, int n)
{
    for (int i = 0; i < 3000 && n_files(life) < n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(n_files(life), n);
}

/* A cache for five talks of a user: what is dropped from it was written before, while somebody is
 * being answered. */
static void what_is_dropped_is_on_the_disk(void **state)
{
    (void)state;
    enum { TALKS = 12, FIT = 5, LONG = 100 };
    struct life life;
    be_born(&life, 1, 1 << 30);
    struct engine_stat stat = stat_of(&life);
    die(&life, false);
    be_born_with(&life, 1, 1 << 30, stat.cache_bytes / stat.pages_total * 40);
    assert_int_equal(stat_of(&life).pages_total, 40);
    hold(&life);
    for (int i = 0; i < TALKS; i++) {
        free(ask_beside(&life, words(ALICE, i, LONG, 1)));
        if (i >= FIT - 2) /* three quarters of a quota of twenty pages */
            wait_for_files(&life, i + 1);
    }
    for (int i = 0; i < TALKS; i++) {
        struct answer *a = ask_beside(&life, words(ALICE, i, LONG, 1));
        assert_int_equal(a->last.n_cached, LONG - 1);
        free(a);
    }
    let_go(&life);
    assert_int_equal(stat_of(&life).pages_lost, 0);
    die(&life, false);
}

static void wait_for_flush(const struct life *life)
{
    WAIT_FOR(!engine_is_flushing(life->bench.engine));
    assert_false(engine_is_flushing(life->bench.engine));
}

/* At once, though nobody rests. */
static void a_flush_writes_all_there_is(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 30);
    engine_flush(life.bench.engine, UINT64_MAX); /* there is nothing */
    wait_for_flush(&life);
    assert_int_equal(n_files(&life), 0);
    hold(&life);
    for (int i = 0; i < 3; i++)
        free(ask_beside(&life, words(ALICE, i, 100, 1)));
    assert_int_equal(n_files(&life), 0);
    engine_flush(life.bench.engine, UINT64_MAX);
    wait_for_flush(&life);
    int written = n_files(&life);
    assert_int_equal(written, 3); /* not what goes on */
    engine_flush(life.bench.engine, UINT64_MAX);
    wait_for_flush(&life);
    assert_int_equal(n_files(&life), written);
    free(ask_beside(&life, words(ALICE, 4, 100, 1)));
    engine_flush(life.bench.engine, 1); /* too late as it comes */
    wait_for_flush(&life);
    assert_int_equal(n_files(&life), written);
    let_go(&life);
    die(&life, false);
}

/* Rung by rung; what was saved is known again in the end. */
static void memory_is_given_back(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 30);
    hold(&life);
    free(ask_beside(&life, words(ALICE, 100, 100, 1)));
    engine_press(life.bench.engine, RUNG_SCRATCH);
    WAIT_FOR(stat_of(&life).given_back_bytes > 0);
    uint64_t scratch = stat_of(&life).given_back_bytes;
    assert_true(scratch > 0);
    assert_int_equal(stat_of(&life).pages_kept, 4);
    assert_int_equal(n_files(&life), 0);

    engine_press(life.bench.engine, RUNG_PARK);
    WAIT_FOR(stat_of(&life).given_back_bytes > scratch);
    assert_true(stat_of(&life).given_back_bytes > scratch);
    assert_int_equal(n_files(&life), 1);
    assert_int_equal(stat_of(&life).pages_kept, 0);
    assert_int_equal(stat_of(&life).pages_lost, 0);

    engine_press(life.bench.engine, RUNG_CALM);
    struct answer *a = ask_beside(&life, words(ALICE, 100, 100, 1));
    assert_int_equal(a->last.n_cached, 99);
    free(a);
    free(ask_beside(&life, words(ALICE, 50, 100, 1)));
    WAIT_FOR(stat_of(&life).pages_kept > 0);
    engine_press(life.bench.engine, RUNG_DROP);
    WAIT_FOR(stat_of(&life).pages_kept == 0);
    assert_int_equal(stat_of(&life).pages_kept, 0);
    let_go(&life);
    die(&life, false);
}

static int n_changed;

static int change_middle(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type != FTW_F)
        return 0;
    int fd = open(path, O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, st->st_size / 2), 1);
    byte ^= 64;
    assert_int_equal(pwrite(fd, &byte, 1, st->st_size / 2), 1);
    close(fd);
    n_changed++;
    return 0;
}

/* The disk gives half of the pages and then a wrong one: none of them counts. */
enum { TALK = 0x7a1c };

static struct engine_request *turn(int same, int n, bool is_pinned)
{
    struct engine_request *q = words(ALICE, same, n, 20);
    q->talk = TALK;
    q->is_pinned = is_pinned;
    return q;
}

static struct answer *take_care(struct life *life, enum engine_care care, uint64_t talk, int n)
{
    struct engine_request *q = words(ALICE, n, n, 0);
    q->talk = talk;
    q->care = care;
    q->is_pinned = care == CARE_PIN;
    return ask_beside(life, q);
}

static struct store_stat files_of(const struct life *life)
{
    struct store_stat stat;
    porter_stat(life->porter, &stat);
    return stat;
}

/* Its rows are on the disk, are held there, and are in memory again when they are wanted. */
static void a_session_is_parked(void **state)
{
    (void)state;
    struct life life;
    struct answer *a, *plain;
    be_born(&life, 1, 1 << 30);
    hold(&life); /* nothing is saved by itself */
    free(ask_beside(&life, turn(100, 100, false)));
    free(ask_beside(&life, words(ALICE, 40, 70, 20))); /* no session's */
    plain = ask_beside(&life, words(BOB, 100, 130, 20));
    int kept = (int)stat_of(&life).pages_kept;
    a = take_care(&life, CARE_PARK, TALK, 119);
    assert_int_equal(a->last.finish, ENGINE_STOP);
    assert_int_equal(a->last.n_cached, 100);
    assert_int_equal(a->last.care_bytes, files_of(&life).held_bytes);
    assert_int_equal(files_of(&life).n_files, 1);
    assert_true(a->last.care_bytes > 0);
    free(a);
    WAIT_FOR((int)stat_of(&life).pages_kept == kept - 3); /* the first page is the other's too */
    assert_int_equal(stat_of(&life).pages_kept, kept - 3);
    assert_int_equal(stat_of(&life).pages_lost, 0);
    assert_true(stat_of(&life).given_back_bytes > 0);

    a = take_care(&life, CARE_RESUME, TALK, 119);
    assert_int_equal(a->last.n_cached, 100);
    free(a);
    free(take_care(&life, CARE_PARK, TALK, 119));
    assert_int_equal(files_of(&life).n_files, 1);
    let_go(&life);
    die(&life, false);

    be_born(&life, 1, 1 << 30);
    hold(&life);
    a = ask_beside(&life, turn(100, 130, false));
    assert_int_equal(a->last.n_cached, 100);
    plain->call = a->call;
    assert_same_answer(a, plain);
    free(a);
    free(plain);
    let_go(&life);
    die(&life,
        true); /* what is longer takes the place of what is let go, and not of what is held */
    be_born(&life, 1, 1 << 30);
    WAIT_FOR(files_of(&life).held_bytes > 0);
    assert_true(files_of(&life).held_bytes > 0);
    assert_int_equal(porter_let_go(life.porter, BOB, TALK, NULL), 0);
    assert_true(files_of(&life).held_bytes > 0);
    assert_int_equal(porter_let_go(life.porter, ALICE, TALK, NULL), 0);
    assert_int_equal(files_of(&life).held_bytes, 0);
    int n = n_files(&life);
    assert_int_equal(porter_remove(life.porter, ALICE, TALK, NULL), 0);
    assert_int_equal(n_files(&life), n - 1);
    die(&life, false);
}

/* A disk that takes nothing, and none: the session stays as it was. */
static void a_session_cannot_be_parked(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 10);
    free(ask(&life.bench, turn(100, 100, false)));
    struct answer *a = take_care(&life, CARE_PARK, TALK, 119);
    assert_int_equal(a->last.finish, ENGINE_ERROR);
    assert_int_equal(a->last.care_code, -EDQUOT);
    assert_non_null(strstr(a->last.text, "held for one user"));
    free(a);
    a = ask(&life.bench, turn(100, 130, false));
    assert_int_equal(a->last.n_cached, 100);
    free(a);
    die(&life, false);

    struct bench bench;
    start(&bench, 1, &usual);
    struct engine_request *q = turn(100, 100, false);
    q->care = CARE_PARK;
    a = ask(&bench, q);
    assert_int_equal(a->last.finish, ENGINE_ERROR);
    assert_int_equal(a->last.care_code, -EUNATCH);
    free(a);
    end(&bench);
}

static uint64_t pinned(const struct life *life, uint64_t talk)
{
    return engine_pinned_bytes(life->bench.engine, ALICE, talk);
}

/* What is pinned stays when all else has to go, and grows with each turn. */
static void a_pin_stays(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 30);
    uint64_t page = stat_of(&life).cache_bytes / stat_of(&life).pages_total;
    hold(&life);
    free(ask_beside(&life, turn(100, 100, false)));
    assert_int_equal(pinned(&life, TALK), 0);
    free(take_care(&life, CARE_PIN, TALK, 119));
    assert_int_equal(pinned(&life, TALK), 4 * page);
    free(ask_beside(&life, turn(100, 150, true)));
    assert_int_equal(pinned(&life, TALK), 6 * page); /* 169 rows */
    WAIT_FOR(stat_of(&life).pages_pinned == 6);
    free(ask_beside(&life, words(ALICE, 0, 100, 1)));
    engine_press(life.bench.engine, RUNG_DROP);
    WAIT_FOR(stat_of(&life).pages_kept == 0);
    assert_int_equal(stat_of(&life).pages_kept, 0);
    struct answer *a = ask_beside(&life, words(ALICE, 100, 150, 20));
    assert_int_equal(a->last.n_cached, 149);
    free(a);
    engine_unpin(life.bench.engine, BOB, TALK);
    assert_int_equal(pinned(&life, TALK), 6 * page);
    engine_unpin(life.bench.engine, ALICE, TALK);
    assert_int_equal(pinned(&life, TALK), 0);
    WAIT_FOR(stat_of(&life).pages_pinned == 0 && stat_of(&life).pages_kept == 0);
    assert_int_equal(stat_of(&life).pages_pinned, 0);
    assert_int_equal(stat_of(&life).pages_kept, 0);
    let_go(&life);
    die(&life, false);
}

/* Forty pages: a user pins five of them. */
static void pins_leave_room(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 30);
    uint64_t page = stat_of(&life).cache_bytes / stat_of(&life).pages_total;
    die(&life, false);
    be_born_with(&life, 1, 1 << 30, page * 40);
    free(ask(&life.bench, turn(100, 120, false)));
    struct answer *a = take_care(&life, CARE_PIN, TALK, 100);
    assert_int_equal(a->last.finish, ENGINE_STOP);
    assert_int_equal(pinned(&life, TALK), 4 * page);
    free(a);
    a = take_care(&life, CARE_PIN, TALK + 1, 100);
    assert_int_equal(a->last.finish, ENGINE_ERROR);
    assert_int_equal(a->last.care_code, -ENOSPC);
    assert_int_equal(pinned(&life, TALK + 1), 0);
    free(a);
    free(ask(&life.bench, turn(100, 200, true))); /* as much of it as may be */
    assert_int_equal(pinned(&life, TALK), 5 * page);

    /* Who needs no more than what is left has it, who does has it all. */
    a = ask(&life.bench, words(BOB, 0, 900, 180));
    assert_int_equal(a->n, 180);
    free(a);
    assert_int_equal(pinned(&life, TALK), 5 * page);
    a = ask(&life.bench, words(BOB, 0, 900, 300));
    assert_int_equal(a->n, 300);
    free(a);
    assert_int_equal(pinned(&life, TALK), 0);
    die(&life, false);
}

static void a_changed_file_is_not_believed(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 1 << 30);
    free(ask(&life.bench, words(ALICE, 300, 300, 1)));
    struct answer *plain = ask(&life.bench, words(BOB, 300, 310, 20));
    die(&life, true);
    be_born(&life, 1, 1 << 30);
    free(ask(&life.bench, words(ALICE, 80, 80, 1))); /* some is known in memory */
    assert_int_equal(nftw(folder, change_middle, 8, FTW_PHYS), 0);
    assert_int_equal(n_changed, 2);
    struct answer *a = ask(&life.bench, words(ALICE, 300, 310, 20));
    assert_int_equal(a->last.n_cached, 64);
    assert_same_answer(a, plain);
    free(a);
    free(plain);
    die(&life, true);
}

static void a_full_store_costs_nothing_else(void **state)
{
    (void)state;
    struct life life;
    be_born(&life, 1, 100);
    struct answer *a = ask(&life.bench, words(ALICE, 100, 100, 5));
    assert_int_equal(a->n, 5);
    free(a);
    die(&life, true);
    be_born(&life, 1, 100);
    a = ask(&life.bench, words(ALICE, 100, 100, 5));
    assert_int_equal(a->last.n_cached, 0);
    free(a);
    die(&life, false);
}

/* While something is in the way of a user's files, until it is not: by itself, or at the end. */
static void what_cannot_be_written_is_tried_again(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof path, "%s/%d", folder, ALICE);
    for (int at_last = 0; at_last < 2; at_last++) {
        struct life life;
        be_born(&life, 1, 1 << 30);
        close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
        free(ask(&life.bench, words(ALICE, 100, 100, 1)));
        free(ask(&life.bench, words(BOB + (uint32_t)at_last, 100, 100, 1)));
        uint64_t tried = at_last ? 1 : 3;
        WAIT_FOR(stat_of(&life).saves_failed >= tried && n_files(&life) == 1 + at_last);
        assert_true(stat_of(&life).saves_failed >= tried);
        assert_int_equal(n_files(&life), 1 + at_last); /* nobody else waits for it */
        assert_int_equal(unlink(path), 0);
        if (!at_last)
            wait_for_files(&life, 2);
        assert_int_equal(stat_of(&life).pages_lost, 0);
        die(&life, true);
        be_born(&life, 1, 1 << 30);
        struct answer *a = ask(&life.bench, words(ALICE, 100, 100, 1));
        assert_int_equal(a->last.n_cached, 99);
        free(a);
        die(&life, false);
        if (!at_last) {
            char away[112];
            snprintf(away, sizeof away, "%s/away", folder);
            assert_int_equal(rename(path, away), 0);
        }
    }
}

/* A desk whose owner keeps the porter waiting. */
struct obstacle {
    struct desk *desk;
    sem_t reached, over;
};

static void stand_in_the_way(void *arg)
{
    struct obstacle *o = arg;
    sem_post(&o->reached);
    sem_wait(&o->over);
}

static void get_in_the_way(struct obstacle *o, struct porter *porter)
{
    static int32_t token[1];
    static uint8_t answer[1];
    static void *page[1];
    sem_init(&o->reached, 0, 0);
    sem_init(&o->over, 0, 0);
    assert_int_equal(desk_open(porter, 1, stand_in_the_way, o, &o->desk), 0);
    struct porter_job job = {
        .task = PORTER_FETCH, .token = token, .n_tokens = 1, .answer = answer, .page = page};
    assert_true(desk_send(o->desk, &job));
    sem_wait(&o->reached);
}

static void get_out_of_the_way(struct obstacle *o)
{
    sem_post(&o->over);
    desk_close(o->desk);
    sem_destroy(&o->reached);
    sem_destroy(&o->over);
}

/* What was promised to one who has begun may be with the porter when it is needed: he waits. */
static void promised_pages_come_back(void **state)
{
    (void)state;
    struct life life;
    struct obstacle obstacle = {0};
    be_born(&life, 1, 1 << 30);
    struct engine_stat stat = stat_of(&life);
    die(&life, false);
    be_born_with(&life, 1, 1 << 30, stat.cache_bytes / stat.pages_total * 40);
    free(ask(&life.bench, words(ALICE, 400, 400, 1)));
    get_in_the_way(&obstacle, life.porter); /* a second later she would be written */
    struct answer *a = calloc(1, sizeof *a);
    struct engine_request *q = words(BOB, 0, 1100, 1);
    q->is_embedding = true; /* nobody looks on the disk for it */
    a->call = submit(&life.bench, q);
    WAIT_FOR(stat_of(&life).pages_used >= 39); /* with those of the other; a step takes two */
    assert_true(stat_of(&life).pages_used >= 39);
    get_out_of_the_way(&obstacle);
    collect(&life.bench, a, 1, 0);
    assert_int_equal(a->last.finish, ENGINE_STOP);
    free(a);
    die(&life, false);
}

/* At any moment, also while the porter has the sequence's pages; they come back all of them. */
static void calls_end_while_they_are_away(void **state)
{
    (void)state;
    enum { N = 8, ROUNDS = 12 };
    static struct answer answers[N];
    struct life life;
    be_born(&life, 1, 1 << 30);
    free(ask(&life.bench, words(ALICE, 500, 500, 1)));
    die(&life, true);
    int fetched = 0;
    for (int round = 0; round < ROUNDS; round++) {
        be_born(&life, 1, 1 << 30);
        memset(answers, 0, sizeof answers);
        for (int i = 0; i < N; i++)
            answers[i].call = submit(&life.bench, words(ALICE, 500, 501 + i, 3));
        nanosleep(&(struct timespec){.tv_nsec = round * 100000}, NULL);
        for (int i = 0; i < N; i += 2)
            engine_cancel(life.bench.engine, answers[i].call);
        if (round % 3) { /* else the engine ends with them */
            collect(&life.bench, answers, N, 0);
            for (int i = 0; i < N; i++)
                assert_true(answers[i].last.finish == ENGINE_LENGTH || i % 2 == 0);
            for (int i = 1; i < N; i += 2)
                fetched += answers[i].last.n_cached >= 480;
        }
        die(&life, round % 2);
    }
    assert_int_equal(fetched, ROUNDS / 3 * 2 * N / 2);
}

static void rows_of_other_arithmetic_are_others(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    struct rowfile_key key, other;
    struct kv_schema schema = {.n_layers = 3, .latent = 16, .rope = 8};
    start(&b, 1, &usual);
    assert_int_equal(archive_key(b.model, b.place, &schema, MK_F16, &key, &err), 0);
    assert_int_equal(archive_key(b.model, b.place, &schema, MK_F16, &other, &err), 0);
    assert_memory_equal(&key, &other, sizeof key);
    struct place changed = *b.place;
    changed.isa = "another";
    assert_int_equal(archive_key(b.model, &changed, &schema, MK_F16, &other, &err), 0);
    assert_memory_not_equal(key.kind, other.kind, sizeof key.kind);
    assert_memory_equal(key.model, other.model, sizeof key.model);
    changed = *b.place;
    changed.attention = "another";
    assert_int_equal(archive_key(b.model, &changed, &schema, MK_F16, &other, &err), 0);
    assert_memory_not_equal(key.kind, other.kind, sizeof key.kind);
    assert_int_equal(archive_key(b.model, b.place, &schema, MK_F32, &other, &err), 0);
    assert_memory_not_equal(key.kind, other.kind, sizeof key.kind);
    schema.n_layers++;
    assert_int_equal(archive_key(b.model, b.place, &schema, MK_F16, &other, &err), 0);
    assert_memory_not_equal(key.kind, other.kind, sizeof key.kind);
    end(&b);
}

int main(int argc, char **argv)
{
    if (!bench_load(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, erase_folder)
        TEST(prompts_are_found),
        TEST(a_talk_outlives_its_engine),
        TEST(a_talk_parts_in_an_answer),
        TEST(talks_are_saved_when_nobody_asks),
        TEST(what_is_dropped_is_on_the_disk),
        TEST(a_flush_writes_all_there_is),
        TEST(memory_is_given_back),
        TEST(a_session_is_parked),
        TEST(a_session_cannot_be_parked),
        TEST(a_pin_stays),
        TEST(pins_leave_room),
        TEST(a_changed_file_is_not_believed),
        TEST(a_full_store_costs_nothing_else),
        TEST(what_cannot_be_written_is_tried_again),
        TEST(promised_pages_come_back),
        TEST(calls_end_while_they_are_away),
        TEST(rows_of_other_arithmetic_are_others),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_unload();
    return failed;
}
