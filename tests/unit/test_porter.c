/* SPDX-License-Identifier: MIT
 *
 * The porter: jobs of two desks come back done, in order, to whom sent them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/porter.h"
#include "own_folder.h"
#include "talk.h"

enum { JOBS = 8, TALKS = 40 };

/* An engine, as the porter sees one. */
struct sender {
    struct desk *desk;
    sem_t woken;
    struct talk talk[TALKS];
};
static struct sender senders[2];

static void wake(void *arg)
{
    sem_post(&((struct sender *)arg)->woken);
}

static struct porter *open_porter(void)
{
    struct porter *porter = NULL;
    struct err err = {0};
    if (porter_open(folder, 1 << 30, &porter, &err) < 0)
        fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++) {
        sem_init(&senders[i].woken, 0, 0);
        assert_int_equal(desk_open(porter, JOBS, wake, &senders[i], &senders[i].desk), 0);
    }
    return porter;
}

static void close_porter(struct porter *porter)
{
    for (int i = 0; i < 2; i++) {
        desk_close(senders[i].desk);
        sem_destroy(&senders[i].woken);
    }
    porter_close(porter);
}

static struct porter_job take(struct sender *sender)
{
    struct porter_job job;
    do
        sem_wait(&sender->woken);
    while (!desk_take(sender->desk, &job));
    return job;
}

static struct porter_job job_of(enum porter_task task, uint64_t ticket, struct talk *talk)
{
    return (struct porter_job){
        .task = task,
        .uid_bytes = UINT64_MAX,
        .ticket = ticket,
        .key = talk->key,
        .token = talk->token,
        .n_tokens = talk->text.n_rows,
        .answer = talk->answer,
        .page = talk->page,
    };
}

static void jobs_come_back_in_order(void **state)
{
    (void)state;
    struct porter *porter = open_porter();
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < TALKS; j++) {
            struct talk *talk = &senders[i].talk[j];
            talk_make(talk, 7 + (uint32_t)i, (uint64_t)j, 40 + j * 9);
            talk_fill(talk);
        }
    int sent[2] = {0}, taken[2] = {0};
    while (taken[0] < TALKS || taken[1] < TALKS) {
        for (int i = 0; i < 2; i++) {
            struct sender *sender = &senders[i];
            while (sent[i] < TALKS) {
                struct porter_job job =
                    job_of(PORTER_KEEP, (uint64_t)sent[i], &sender->talk[sent[i]]);
                if (!desk_send(sender->desk, &job))
                    break;
                sent[i]++;
                assert_in_range(desk_n_out(sender->desk), 1, JOBS);
            }
            if (taken[i] == TALKS)
                continue;
            struct porter_job job = take(sender);
            assert_int_equal(job.ticket, taken[i]++);
            assert_int_equal(job.result, 0);
        }
    }
    assert_int_equal(desk_n_out(senders[0].desk), 0);
    struct store_stat stat;
    porter_stat(porter, &stat);
    assert_int_equal(stat.n_files, 2 * TALKS);
    close_porter(porter);

    porter = open_porter(); /* its first job waits for the listing */
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < TALKS; j++) {
            struct talk *talk = &senders[i].talk[j], got;
            int asked = 40 + j * 9 + (j % 2 ? 5 : -3); /* for more or for fewer than there are */
            talk_make(&got, 7 + (uint32_t)i, (uint64_t)j, asked);
            memset(got.answer, 0, sizeof got.answer);
            memset(got.memory, 'x', sizeof got.memory);
            struct porter_job job = job_of(PORTER_FETCH, 1, &got);
            job.n_known = j % 3 * PAGE_TOKENS + j % 2;
            assert_true(desk_send(senders[i].desk, &job));
            job = take(&senders[i]);
            int n_rows = asked < talk->text.n_rows ? asked : talk->text.n_rows;
            int n_pages = rowfile_pages(n_rows);
            if (n_rows <= j % 3 * PAGE_TOKENS + j % 2) {
                assert_int_equal(job.result, 0);
                continue;
            }
            assert_int_equal(job.result, n_rows);
            for (int bit = 0; bit < TALK_MOST; bit++)
                assert_int_equal(talk_bit(got.answer, bit),
                                 bit < n_rows && talk_bit(talk->answer, bit));
            for (int page = 0; page < 16; page++)
                if (page < j % 3 || page >= n_pages) /* known, or not there */
                    assert_int_equal(got.memory[page][0], 'x');
                else
                    assert_memory_equal(got.memory[page], talk->memory[page], TALK_PAGE);
        }
    close_porter(porter);
}

/* Rows that follow from others than those that are known, or wanted, are of no use. */
static void rows_are_found_as_they_were_made(void **state)
{
    (void)state;
    static const struct {
        int n_known, n_made, flipped; /* a bit of the wish that is another; -1: none */
        int result;
    } cases[] = {
        {0, 0, -1, 200},     {64, 64, -1, 200}, {70, 70, -1, 200}, {70, 70, 69, 0},
        {70, 70, 3, 0},      {70, 70, 70, 200}, {0, 200, -1, 200}, {0, 200, 130, 130},
        {64, 200, 130, 130}, {64, 200, 40, 0},
    };
    struct porter *porter = open_porter();
    struct talk *talk = &senders[0].talk[0];
    talk_make(talk, 7, 1, 200);
    talk_fill(talk);
    struct porter_job job = job_of(PORTER_KEEP, 1, talk);
    assert_true(desk_send(senders[0].desk, &job));
    assert_int_equal(take(&senders[0]).result, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk got;
        int flipped = cases[i].flipped, n = cases[i].result;
        talk_make(&got, 7, 1, 200);
        for (int bit = 0; bit < TALK_MOST; bit++)
            if (bit >= cases[i].n_made)
                got.answer[bit / 8] &= (uint8_t) ~(1 << bit % 8);
        if (flipped >= 0 && flipped < cases[i].n_made)
            got.answer[flipped / 8] ^= (uint8_t)(1 << flipped % 8);
        job = job_of(PORTER_FETCH, 2, &got);
        job.n_known = cases[i].n_known;
        job.n_made = cases[i].n_made;
        assert_true(desk_send(senders[0].desk, &job));
        job = take(&senders[0]);
        assert_int_equal(job.result, n);
        for (int bit = 0; bit < TALK_MOST && n > 0; bit++)
            assert_int_equal(talk_bit(got.answer, bit), bit < n && talk_bit(talk->answer, bit));
    }
    close_porter(porter);
}

static void it_ends_with_jobs_that_wait(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct porter *porter = open_porter();
        for (int i = 0; i < 2 * JOBS; i++) {
            struct talk *talk = &senders[i % 2].talk[i];
            talk_make(talk, 9, (uint64_t)(round * 100 + i), 300);
            talk_fill(talk);
            struct porter_job job = job_of(PORTER_KEEP, 1, talk);
            assert_true(desk_send(senders[i % 2].desk, &job));
        }
        struct porter_job job = job_of(PORTER_KEEP, 1, &senders[0].talk[0]);
        if (round % 2)
            take(&senders[0]);
        else /* nobody has taken one, so there is no room, done or not */
            assert_false(desk_send(senders[0].desk, &job));
        close_porter(porter);
    }
}

static void faults_are_told(void **state)
{
    (void)state;
    struct porter *porter = NULL;
    struct err err = {0};
    assert_int_equal(porter_open("/dev/null", 1 << 20, &porter, &err), -ENOTDIR);
    assert_int_equal(porter_open(folder, 3000, &porter, &err), 0);
    struct sender *sender = &senders[0];
    sem_init(&sender->woken, 0, 0);
    assert_int_equal(desk_open(porter, 1, wake, sender, &sender->desk), 0);
    struct talk *talk = &sender->talk[0];
    talk_make(talk, 7, 1, 500);
    talk_fill(talk);
    struct porter_job job = job_of(PORTER_KEEP, 1, talk);
    assert_true(desk_send(sender->desk, &job));
    job = take(sender);
    assert_int_equal(job.result, -EFBIG);
    assert_non_null(strstr(job.err.text, "more than the store's 3000"));
    job = job_of(PORTER_FETCH, 2, talk);
    assert_true(desk_send(sender->desk, &job));
    job = take(sender);
    assert_int_equal(job.result, 0);
    assert_true(talk_is_right(talk, rowfile_pages(500), talk->page));
    desk_close(sender->desk);
    sem_destroy(&sender->woken);
    porter_close(porter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, erase_folder)
        TEST(jobs_come_back_in_order),
        TEST(rows_are_found_as_they_were_made),
        TEST(it_ends_with_jobs_that_wait),
        TEST(faults_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
