/* SPDX-License-Identifier: MIT
 *
 * The scheduler and its measure of time, with a machine that is made up: a step is OPS ops of the
 * same length, and takes what step_ns() says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "engine/pace.h"
#include "engine/sched.h"

enum {
    MS = 1000000,
    ALICE = 1000,
    BOB = 1001,
    CAROL = 1002,
    MOST = 256,
    PAGES = 1 << 20,
    OPS = 20,
};

struct machine {                                   /* a step takes that long */
    uint64_t fixed_ns, answer_ns, row_ns, past_ns; /* the last of a prompt that goes on */
};
static const struct machine quick = {100000, 20000, 10000, 0}, large = {20 * MS, 8 * MS, 2 * MS, 0},
                            deep = {20 * MS, 8 * MS, MS,
                                    300 * MS}; /* 64 answers in half a second */

struct pass { /* a step under way */
    struct sched_task *task[MOST];
    int rows[MOST];
    int n, n_rows, ops_left;
    uint64_t op_ns;
};

struct world {
    struct sched *sched;
    const struct machine *machine;
    uint64_t now_ns;
    int free_pages;
    struct sched_task *task[MOST];
    int left[MOST]; /* rows that it has to read, then tokens that it has to write */
    int wrote[MOST];
    uint64_t first_ns[MOST]; /* when it wrote something */
    int n;
    struct pass pass[N_TRACKS];
    /* of the last step that was done */
    enum track track;
    int n_rows;
    uint64_t took_ns; /* its ops */
    bool had[MOST];
    uint64_t prompts_ns; /* in all, of ops */
};

static void start(struct world *w, const struct machine *machine, int tasks, int rows)
{
    *w = (struct world){.machine = machine, .now_ns = 1, .free_pages = PAGES};
    assert_int_equal(sched_new(tasks, rows, 100, &w->sched), 0);
}

static int come(struct world *w, uint32_t uid, enum sched_class class, int prompt, int answer)
{
    struct sched_task *task = calloc(1, sizeof *task);
    *task = (struct sched_task){
        .uid = uid, .class = class, .pages = 1, .added_ns = w->now_ns, .n_rows = prompt};
    w->task[w->n] = task;
    w->left[w->n] = answer;
    assert_int_equal(sched_add(w->sched, task), 0);
    return w->n++;
}

static int index_of(const struct world *w, const struct sched_task *task)
{
    int i = 0;
    while (w->task[i] != task)
        i++;
    return i;
}

static void leave(struct world *w, int i)
{
    if (w->task[i]->has_begun)
        w->free_pages += w->task[i]->pages;
    sched_remove(w->sched, w->task[i]);
    free(w->task[i]);
    w->task[i] = NULL;
}

static void end(struct world *w)
{
    for (enum track track = 0; track < N_TRACKS; track++)
        if (w->pass[track].ops_left > 0)
            sched_stop(w->sched, track, false);
    for (int i = 0; i < w->n; i++)
        if (w->task[i])
            leave(w, i);
    sched_free(w->sched);
}

static void plan(struct world *w, enum track track)
{
    struct pass *p = &w->pass[track];
    struct sched_task *task;
    int rows;
    if (p->ops_left > 0)
        return;
    p->n = p->n_rows = 0;
    sched_look(w->sched, w->free_pages);
    if (!sched_plan(w->sched, track))
        return;
    while ((task = sched_next(w->sched, &rows))) {
        assert_false(task->rests || task->is_busy);
        assert_int_equal(task->writes, track == TRACK_ANSWERS);
        assert_true(rows > 0);
        if (!task->has_begun) {
            sched_begin(w->sched, task, w->now_ns);
            w->free_pages -= task->pages;
            assert_true(w->free_pages >= 0);
        }
        sched_give(w->sched, task, rows);
        assert_true(task->is_busy);
        p->n_rows += rows;
        p->task[p->n] = task;
        p->rows[p->n++] = rows;
    }
    assert_int_equal(sched_start(w->sched), p->n_rows);
    if (p->n == 0)
        return;
    const struct machine *m = w->machine;
    bool answers = track == TRACK_ANSWERS;
    p->ops_left = OPS;
    p->op_ns = (m->fixed_ns + (uint64_t)p->n_rows * (answers ? m->answer_ns : m->row_ns) +
                (answers ? 0 : m->past_ns)) /
               OPS;
}

/* What the step's tasks have of it. */
static void end_step(struct world *w, enum track track)
{
    struct pass *p = &w->pass[track];
    w->track = track;
    w->n_rows = p->n_rows;
    w->took_ns = p->op_ns * OPS;
    for (int i = 0; i < w->n; i++)
        w->had[i] = false;
    for (int k = 0; k < p->n; k++)
        p->task[k]->is_busy = false;
    for (int k = 0; k < p->n; k++) {
        int i = index_of(w, p->task[k]);
        w->had[i] = true;
        if (!p->task[k]->writes && (p->task[k]->n_rows -= p->rows[k]) > 0)
            continue;
        p->task[k]->writes = true;
        if (w->wrote[i]++ == 0)
            w->first_ns[i] = w->now_ns;
        if (--w->left[i] == 0)
            leave(w, i);
    }
    sched_stop(w->sched, track, true);
}

/* Until a step is done; false: nobody has rows. */
static bool step(struct world *w)
{
    for (;;) {
        for (enum track track = 0; track < N_TRACKS; track++)
            plan(w, track);
        enum track track = sched_turn(w->sched);
        if (track == N_TRACKS)
            return false;
        struct pass *p = &w->pass[track];
        assert_true(p->ops_left > 0);
        w->now_ns += p->op_ns;
        w->prompts_ns += track != TRACK_ANSWERS ? p->op_ns : 0;
        sched_charge(w->sched, track, p->op_ns);
        if (--p->ops_left > 0)
            continue;
        end_step(w, track);
        return true;
    }
}

static void run(struct world *w, int steps)
{
    while (steps-- > 0)
        assert_true(step(w));
}

/* ------------------------------------------------------------------ tests */

static void prompts_take_all_rows_when_nobody_writes(void **state)
{
    (void)state;
    struct world w;
    start(&w, &quick, 8, 256);
    come(&w, ALICE, CLASS_INTERACTIVE, 600, 1);
    run(&w, 2);
    assert_int_equal(w.n_rows, 256);
    run(&w, 1);
    assert_int_equal(w.n_rows, 600 - 512);
    assert_false(step(&w));
    for (int i = 0; i < 5;
         i++) /* not the short step, whose weights would be read again and again */
        come(&w, ALICE, CLASS_INTERACTIVE, 50, 1);
    run(&w, 1);
    assert_int_equal(w.n_rows, 250);
    assert_int_equal(w.track, TRACK_LONG);
    end(&w);
}

/* What needs few rows is read while many are, of the same user as well. */
static void a_short_prompt_does_not_wait_for_a_long_one(void **state)
{
    (void)state;
    struct world w;
    start(&w, &large, 8, 512);
    int a = come(&w, ALICE, CLASS_INTERACTIVE, 5000, 1);
    run(&w, 1);
    int b = come(&w, ALICE, CLASS_INTERACTIVE, 20, 1);
    uint64_t asked = w.now_ns;
    while (w.task[b])
        run(&w, 1);
    /* As long as alone, and no more than that for the other, but for an op of 512 rows. */
    assert_true(w.now_ns - asked <= 2 * 60 * MS + 2 * 1044 * MS / OPS);
    int c = come(&w, ALICE, CLASS_INTERACTIVE, 100, 1); /* while this one waits its turn */
    run(&w, 1);
    assert_true(w.had[a] && !w.had[c]);
    while (w.task[a] || w.task[c])
        run(&w, 1);
    end(&w);
}

/* On a quick machine no longer than the answers, on a large one at most 50 ms, or one op. */
static void prompts_hold_nobody_up(void **state)
{
    (void)state;
    for (int large_too = 0; large_too < 2; large_too++) {
        struct world w;
        start(&w, large_too ? &large : &quick, 64, 512);
        for (int i = 0; i < (large_too ? 8 : 1); i++)
            come(&w, ALICE, CLASS_INTERACTIVE, 1, 4000);
        run(&w, 20);
        assert_int_equal(w.track, TRACK_ANSWERS);
        uint64_t answers_ns = w.took_ns, last = w.now_ns, begin = w.now_ns;
        uint64_t most = answers_ns < 50 * MS ? answers_ns : 50 * MS;
        int reader = come(&w, ALICE, CLASS_INTERACTIVE, 9000, 1), over = 0, steps = 0;
        w.prompts_ns = 0;
        while (w.task[reader]) {
            run(&w, 1);
            if (w.track != TRACK_ANSWERS)
                continue;
            over += w.now_ns - last > answers_ns + most + most / 10;
            last = w.now_ns;
            steps++;
        }
        assert_true(over <= steps / 20);
        /* It uses what it may: three quarters of the answers' time, or 50 ms of each step. */
        uint64_t share = most < answers_ns * 3 / 4 ? most : answers_ns * 3 / 4;
        uint64_t all = w.now_ns - begin;
        assert_in_range(w.prompts_ns, all * share / (answers_ns + share) * 9 / 10,
                        all * share / (answers_ns + share) * 11 / 10);
        end(&w);
    }
}

/* A hundred long ones, and a short one of somebody else: as soon as beside a single long one. */
static void a_crowd_does_not_hold_up_who_comes_alone(void **state)
{
    (void)state;
    const struct machine *machines[] = {&quick, &large};
    for (int m = 0; m < 2; m++) {
        uint64_t waited[2];
        for (int crowd = 0; crowd < 2; crowd++) {
            struct world w;
            start(&w, machines[m], 64, 256);
            for (int i = 0; i < (crowd ? 100 : 1); i++)
                come(&w, ALICE, CLASS_INTERACTIVE, 100, 5000);
            while (sched_n_begun(w.sched) < (crowd ? 64 : 1))
                run(&w, 1);
            run(&w, 100);
            int bob = come(&w, BOB, CLASS_BACKGROUND, 40, 1000);
            uint64_t asked = w.now_ns;
            while (!w.wrote[bob])
                run(&w, 1);
            waited[crowd] = w.first_ns[bob] - asked;
            end(&w);
        }
        assert_true(waited[1] <= 2 * waited[0]);
    }
}

/* Who writes alone has half of the time beside 64 of somebody else's, and they have the other. */
static void time_is_shared_by_user(void **state)
{
    (void)state;
    struct world w;
    start(&w, &large, 65, 256);
    for (int i = 0; i < 64; i++)
        come(&w, ALICE, CLASS_INTERACTIVE, 1, 100000);
    run(&w, 10);
    int bob = come(&w, BOB, CLASS_INTERACTIVE, 1, 100000);
    run(&w, 10);
    uint64_t alone_ns = 0, all_ns = 0;
    for (int i = 0; i < 1000; i++) {
        run(&w, 1);
        assert_true(w.had[bob]); /* who has the least is never left out */
        all_ns += w.took_ns;
        alone_ns += w.n_rows == 1 ? w.took_ns : 0;
    }
    assert_in_range(alone_ns, all_ns * 4 / 10, all_ns * 6 / 10);
    end(&w);
}

/* Two who do the same are in every step. */
static void who_does_the_same_shares_every_step(void **state)
{
    (void)state;
    struct world w;
    start(&w, &large, 8, 256);
    int a = come(&w, ALICE, CLASS_INTERACTIVE, 1, 100000);
    int b = come(&w, BOB, CLASS_BATCH, 1, 100000);
    run(&w, 10);
    for (int i = 0; i < 500; i++) {
        run(&w, 1);
        assert_true(w.had[a] && w.had[b]);
    }
    end(&w);
}

/* One who writes, one who reads a long prompt: no gap between his tokens is more than twice as
 * long. */
static void gaps_stay_short_beside_a_reader(void **state)
{
    (void)state;
    struct world w;
    start(&w, &large, 8, 256);
    int a = come(&w, ALICE, CLASS_INTERACTIVE, 1, 100000);
    run(&w, 10);
    uint64_t alone_ns = w.took_ns, last = w.now_ns;
    int b = come(&w, BOB, CLASS_INTERACTIVE, 8000, 1);
    int gaps = 0, wide = 0;
    while (w.task[b]) {
        run(&w, 1);
        if (!w.had[a])
            continue;
        gaps++;
        wide += w.now_ns - last > 2 * alone_ns + alone_ns / 10;
        last = w.now_ns;
    }
    assert_true(wide <= gaps / 20);
    end(&w);
}

/* A prompt's past, which is looked at for each step of it, is not looked at for a few rows. */
static void a_long_past_is_not_looked_at_for_each_row(void **state)
{
    (void)state;
    struct world w;
    start(&w, &deep, 8, 256);
    come(&w, ALICE, CLASS_INTERACTIVE, 1, 100000);
    run(&w, 10);
    uint64_t begin = w.now_ns;
    int b = come(&w, ALICE, CLASS_INTERACTIVE, 4096, 1);
    while (w.task[b])
        run(&w, 1);
    /* Some 40 steps of 100 rows, in three sevenths of the time; few at a time would be 200 s. */
    assert_in_range(w.now_ns - begin, 16 * 576ull * MS, 45 * 420ull * MS * 7 / 3);
    end(&w);
}

/* Slots are few: what has begun is set aside for who has had less, and for a better class. */
static void slots_go_to_who_has_had_less(void **state)
{
    (void)state;
    struct world w;
    start(&w, &quick, 4, 64);
    for (int i = 0; i < 10; i++)
        come(&w, ALICE, CLASS_BATCH, 1, 100000);
    run(&w, 10);
    assert_int_equal(sched_n_begun(w.sched), 4);
    assert_int_equal(sched_n_queued(w.sched, CLASS_BATCH), 6);
    int bob = come(&w, BOB, CLASS_BATCH, 1, 50);
    run(&w, 10);
    assert_true(w.wrote[bob] >= 8);
    assert_int_equal(sched_n_begun(w.sched), 5);
    int carol = come(&w, ALICE, CLASS_INTERACTIVE, 1, 50);
    run(&w, 10);
    assert_true(w.wrote[carol] >= 8);
    assert_int_equal(sched_n_queued(w.sched, CLASS_INTERACTIVE), 0);
    assert_int_equal(sched_n_queued(w.sched, CLASS_BATCH), 6);
    while (w.task[bob] || w.task[carol])
        run(&w, 1);
    int before[4];
    for (int i = 0; i < 4; i++)
        before[i] = w.wrote[i];
    run(&w, 10);
    for (int i = 0; i < 4; i++)
        assert_int_equal(w.wrote[i], before[i] + 10); /* and they go on */
    end(&w);
}

static void prompts_go_by_class_then_by_arrival(void **state)
{
    (void)state;
    static const enum sched_class class[] = {CLASS_BACKGROUND, CLASS_BATCH, CLASS_BATCH,
                                             CLASS_INTERACTIVE};
    static const int order[] = {3, 1, 2, 0};
    struct world w;
    start(&w, &quick, 4, 128);
    for (int i = 0; i < 4; i++)
        come(&w, ALICE, class[i], 128, 1);
    sched_number(w.sched);
    assert_int_equal(w.task[3]->position, 1);
    assert_int_equal(w.task[0]->position, 4);
    for (int k = 0; k < 4; k++) {
        run(&w, 1);
        for (int i = 0; i < 4; i++)
            assert_int_equal(w.had[i], i == order[k]);
    }
    end(&w);
}

/* Two read: each has half of the time, however many prompts he has. */
static void readers_take_turns(void **state)
{
    (void)state;
    struct world w;
    start(&w, &large, 64, 32);
    for (int i = 0; i < 10; i++)
        come(&w, ALICE, CLASS_INTERACTIVE, 1000, 1);
    run(&w, 5);
    int bob = come(&w, BOB, CLASS_INTERACTIVE, 1000, 1);
    int steps = 0, had = 0;
    for (; w.task[bob]; steps++) {
        run(&w, 1);
        had += w.had[bob];
    }
    assert_in_range(steps, 2 * had - 2, 2 * had + 2);
    end(&w);
}

/* Who was away has saved nothing up. */
static void absence_is_not_saved_up(void **state)
{
    (void)state;
    struct world w;
    start(&w, &large, 64, 256);
    int bob = come(&w, BOB, CLASS_INTERACTIVE, 1, 100000);
    run(&w, 2);
    int alice = come(&w, ALICE, CLASS_INTERACTIVE, 1, 100000);
    w.task[bob]->rests = true;
    run(&w, 1000);
    w.task[bob]->rests = false;
    run(&w, 5);
    assert_true(w.had[alice]);
    end(&w);
}

static void memory_goes_to_who_has_less_of_it(void **state)
{
    (void)state;
    struct world w;
    start(&w, &quick, 64, 256);
    w.free_pages = 80;
    for (int i = 0; i < 20; i++) {
        int a = come(&w, ALICE, CLASS_INTERACTIVE, 1, 100 + 10 * i);
        w.task[a]->pages = 10;
    }
    run(&w, 10);
    assert_int_equal(w.free_pages, 10); /* an eighth is for others */
    int bob = come(&w, BOB, CLASS_INTERACTIVE, 1, 10);
    w.task[bob]->pages = 8;
    run(&w, 2);
    assert_true(w.task[bob]->has_begun);
    int carol = come(&w, CAROL, CLASS_BACKGROUND, 1, 10); /* waits for two of Alice's to end */
    w.task[carol]->pages = 25;
    int begun = sched_n_begun(w.sched);
    while (!w.task[carol]->has_begun) {
        run(&w, 1);
        assert_true(w.n_rows > 0);
        assert_true(sched_n_begun(w.sched) - w.task[carol]->has_begun <= begun);
        begun = sched_n_begun(w.sched);
    }
    while (step(&w)) /* nobody gets stuck */
        ;
    for (int i = 0; i < w.n; i++)
        assert_null(w.task[i]);
    end(&w);
}

/* One that needs everything begins when there is nothing else. */
static void the_largest_gets_its_turn(void **state)
{
    (void)state;
    struct world w;
    start(&w, &quick, 64, 256);
    w.free_pages = 80;
    for (int i = 0; i < 5; i++) {
        int a = come(&w, ALICE, CLASS_INTERACTIVE, 1, 20);
        w.task[a]->pages = i == 2 ? 80 : 10;
    }
    while (step(&w))
        ;
    for (int i = 0; i < w.n; i++)
        assert_null(w.task[i]);
    assert_true(w.first_ns[2] > w.first_ns[1]);
    assert_true(w.first_ns[3] > w.first_ns[2]); /* it was not overtaken */
    end(&w);
}

static void a_wait_is_estimated_by_those_before(void **state)
{
    (void)state;
    struct world w;
    start(&w, &quick, 4, 64);
    for (int i = 0; i < 40; i++)
        come(&w, ALICE, CLASS_BATCH, 1, 100);
    assert_int_equal(sched_wait_ns(w.task[39], w.now_ns), 0); /* nothing is known */
    run(&w, 1);
    uint64_t began = w.now_ns;
    while (!w.task[20]->has_begun) {
        run(&w, 1);
        assert_non_null(w.task[39]);
    }
    int last = come(&w, ALICE, CLASS_BATCH, 1, 100),
        better = come(&w, ALICE, CLASS_INTERACTIVE, 1, 1);
    uint64_t wait = sched_wait_ns(w.task[last], w.now_ns), from = w.now_ns;
    assert_int_equal(sched_wait_ns(w.task[better], w.now_ns), 0);
    while (!w.task[last]->has_begun)
        run(&w, 1);
    uint64_t waited = w.now_ns - from;
    assert_in_range(wait, waited / 3, waited * 3);
    assert_true(from > began);
    while (step(&w))
        ;
    int later = come(&w, ALICE, CLASS_BATCH, 1, 1);
    come(&w, ALICE, CLASS_BATCH, 1, 1);
    assert_int_equal(sched_wait_ns(w.task[later + 1], w.now_ns + 1000000000), 0); /* all is quiet */
    end(&w);
}

static void pace_says_how_many_rows(void **state)
{
    (void)state;
    struct pace p = {.few_rows = 90};
    assert_int_equal(pace_next(&p), N_TRACKS);
    assert_int_equal(pace_rows(&p, 50), 50);
    assert_int_equal(pace_rows(&p, 1000), 90);
    static const struct {
        uint64_t answers_ns, op_ns;
        int rows, want;
    } cases[] = {
        {20 * MS, 5 * MS, 128, 256},   /* at most twice as many */
        {20 * MS, 30 * MS, 600, 300},  /* an op takes no longer than prompts may: 15 ms */
        {200 * MS, 80 * MS, 640, 400}, /* nor than 50 ms */
        {20 * MS, 60 * MS, 200, 100},  /* at most half as few */
        {20 * MS, 60 * MS, 100, 90},   /* and no fewer than make sense */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        p = (struct pace){.few_rows = 90};
        pace_start(&p, TRACK_ANSWERS, 1, false);
        assert_int_equal(pace_next(&p), TRACK_ANSWERS);
        pace_spend(&p, TRACK_ANSWERS, cases[i].answers_ns);
        pace_stop(&p, TRACK_ANSWERS, true);
        pace_start(&p, TRACK_LONG, cases[i].rows, false);
        assert_int_equal(pace_next(&p), TRACK_LONG);
        pace_start(&p, TRACK_ANSWERS, 1, false);
        pace_spend(&p, TRACK_LONG, cases[i].op_ns);
        assert_int_equal(pace_next(&p), TRACK_ANSWERS);
        pace_stop(&p, TRACK_LONG, true);
        assert_in_range(pace_rows(&p, 1000), cases[i].want - 1, cases[i].want + 1);
    }
}

/* The short step goes first, then both have half. */
static void pace_shares_between_prompts(void **state)
{
    (void)state;
    struct pace p = {0};
    uint64_t ns[N_TRACKS] = {0};
    pace_start(&p, TRACK_LONG, 512, false);
    pace_spend(&p, TRACK_LONG, 500 * MS);
    pace_start(&p, TRACK_SHORT, 20, false);
    assert_int_equal(pace_next(&p), TRACK_SHORT);
    for (int i = 0; i < 1000; i++) {
        enum track track = pace_next(&p);
        uint64_t took = track == TRACK_SHORT ? 3 * MS : 50 * MS;
        pace_spend(&p, track, took);
        ns[track] += took;
    }
    assert_in_range(ns[TRACK_SHORT], ns[TRACK_LONG] - 60 * MS, ns[TRACK_LONG] + 60 * MS);
    assert_int_equal(ns[TRACK_ANSWERS], 0);
}

/* Within a long step of answers prompts have 50 ms, but for those of somebody who has none there.
 */
static void pace_bounds_what_answers_wait_for(void **state)
{
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        struct pace p = {0};
        uint64_t ns = 0;
        pace_start(&p, TRACK_ANSWERS, 64, false);
        pace_start(&p, TRACK_SHORT, 40, waits);
        assert_int_equal(pace_next(&p), waits ? TRACK_SHORT : TRACK_ANSWERS);
        for (int i = 0; i < 50; i++) {
            enum track track = pace_next(&p);
            pace_spend(&p, track, track == TRACK_SHORT ? 10 * MS : 20 * MS);
            ns += track == TRACK_SHORT ? 10 * MS : 0;
        }
        assert_in_range(ns, waits ? 200 * MS : 50 * MS, waits ? 450 * MS : 50 * MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_take_all_rows_when_nobody_writes),
        cmocka_unit_test(a_short_prompt_does_not_wait_for_a_long_one),
        cmocka_unit_test(prompts_hold_nobody_up),
        cmocka_unit_test(a_crowd_does_not_hold_up_who_comes_alone),
        cmocka_unit_test(time_is_shared_by_user),
        cmocka_unit_test(who_does_the_same_shares_every_step),
        cmocka_unit_test(gaps_stay_short_beside_a_reader),
        cmocka_unit_test(a_long_past_is_not_looked_at_for_each_row),
        cmocka_unit_test(slots_go_to_who_has_had_less),
        cmocka_unit_test(prompts_go_by_class_then_by_arrival),
        cmocka_unit_test(readers_take_turns),
        cmocka_unit_test(absence_is_not_saved_up),
        cmocka_unit_test(memory_goes_to_who_has_less_of_it),
        cmocka_unit_test(the_largest_gets_its_turn),
        cmocka_unit_test(a_wait_is_estimated_by_those_before),
        cmocka_unit_test(pace_says_how_many_rows),
        cmocka_unit_test(pace_shares_between_prompts),
        cmocka_unit_test(pace_bounds_what_answers_wait_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
