/* SPDX-License-Identifier: MIT
 *
 * The scheduler and its measure of time, with a machine that is made up: a step of so many answers
 * and rows of prompts takes what step_ns() says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "engine/pace.h"
#include "engine/sched.h"

enum { MS = 1000000, ALICE = 1000, BOB = 1001, CAROL = 1002, MOST = 256, PAGES = 1 << 20 };

struct machine {                                   /* a step takes that long */
    uint64_t fixed_ns, answer_ns, row_ns, past_ns; /* the last of a prompt that goes on */
};
static const struct machine quick = {100000, 20000, 10000, 0},
                            large = {20 * MS, 8 * MS, 10 * MS, 0},
                            deep = {20 * MS, 8 * MS, MS,
                                    300 * MS}; /* 64 answers in half a second */

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
    /* of the last step */
    int n_answers, n_rows;
    uint64_t took_ns;
    bool had[MOST];
};

static void start(struct world *w, const struct machine *machine, int tasks, int rows)
{
    *w = (struct world){.machine = machine, .now_ns = 1, .free_pages = PAGES};
    assert_int_equal(sched_new(tasks, rows, &w->sched), 0);
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
    for (int i = 0; i < w->n; i++)
        if (w->task[i])
            leave(w, i);
    sched_free(w->sched);
}

/* False: nobody had rows. */
static bool step(struct world *w)
{
    struct sched_task *task, *chosen[MOST];
    int rows, given[MOST], n = 0;
    w->n_answers = w->n_rows = 0;
    for (int i = 0; i < w->n; i++)
        w->had[i] = false;
    sched_plan(w->sched, w->free_pages);
    while ((task = sched_next(w->sched, &rows))) {
        assert_false(task->rests);
        assert_true(rows > 0);
        if (!task->has_begun) {
            sched_begin(w->sched, task, w->now_ns);
            w->free_pages -= task->pages;
            assert_true(w->free_pages >= 0);
        }
        sched_give(w->sched, task, rows);
        *(task->writes ? &w->n_answers : &w->n_rows) += rows;
        chosen[n] = task;
        given[n++] = rows;
    }
    if (n == 0)
        return false;
    w->took_ns = w->machine->fixed_ns + (uint64_t)w->n_answers * w->machine->answer_ns +
                 (uint64_t)w->n_rows * w->machine->row_ns +
                 (w->n_rows > 0 ? w->machine->past_ns : 0);
    w->now_ns += w->took_ns;
    for (int k = 0; k < n; k++) {
        int i = index_of(w, chosen[k]);
        w->had[i] = true;
        if (!chosen[k]->writes && (chosen[k]->n_rows -= given[k]) > 0)
            continue;
        chosen[k]->writes = true;
        if (w->wrote[i]++ == 0)
            w->first_ns[i] = w->now_ns;
        if (--w->left[i] == 0)
            leave(w, i);
    }
    sched_charge(w->sched, w->took_ns);
    return true;
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
    end(&w);
}

/* On a quick machine no longer than the answers, on a large one at most 50 ms. */
static void prompts_hold_nobody_up(void **state)
{
    (void)state;
    for (int large_too = 0; large_too < 2; large_too++) {
        struct world w;
        start(&w, large_too ? &large : &quick, 64, 256);
        for (int i = 0; i < (large_too ? 8 : 1); i++)
            come(&w, ALICE, CLASS_INTERACTIVE, 1, 400);
        run(&w, 20);
        int reader = come(&w, ALICE, CLASS_INTERACTIVE, 900, 1);
        uint64_t answers_ns = w.took_ns;
        int over = 0, steps = 0;
        for (; w.task[reader] && !w.task[reader]->writes; steps++) {
            run(&w, 1);
            uint64_t most = answers_ns < 50 * MS ? answers_ns : 50 * MS;
            over += w.took_ns > answers_ns + most + most / 10;
        }
        assert_true(over <= steps / 20);
        /* It uses what it may: half of the time or 50 ms of each step, but for one in 32. */
        int rows = (int)((answers_ns < 50 * MS ? answers_ns : 50 * MS) / w.machine->row_ns);
        assert_in_range(steps, 900 / rows, 900 / rows * 5 / 4 + 8);
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
        alone_ns += w.n_answers == 1 ? w.took_ns : 0;
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

/* Where a prompt's past makes few rows dear, many are read now and then: it does not take forever,
 * and most gaps are as short as ever. */
static void a_long_past_is_not_looked_at_for_each_row(void **state)
{
    (void)state;
    struct world w;
    start(&w, &deep, 8, 256);
    come(&w, ALICE, CLASS_INTERACTIVE, 256, 1);
    run(&w, 1);
    int a = come(&w, ALICE, CLASS_INTERACTIVE, 1, 100000);
    run(&w, 10);
    uint64_t alone_ns = w.took_ns, last = w.now_ns, begin = w.now_ns;
    int b = come(&w, ALICE, CLASS_INTERACTIVE, 4096, 1), gaps = 0, wide = 0;
    while (w.task[b]) {
        run(&w, 1);
        assert_true(w.had[a]);
        gaps++;
        wide += w.now_ns - last > 2 * alone_ns;
        last = w.now_ns;
    }
    assert_true(wide <= gaps / 10);
    assert_in_range(w.now_ns - begin, 16 * 576ull * MS, 3 * 16 * 576ull * MS);
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
    start(&w, &quick, 4, 64);
    for (int i = 0; i < 4; i++)
        come(&w, ALICE, class[i], 64, 1);
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
        assert_true(w.n_answers > 0);
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

static void pace_measures_answers_apart(void **state)
{
    (void)state;
    struct pace p = {0};
    assert_int_equal(pace_answers_ns(&p, 3), 0);
    assert_int_equal(pace_learn(&p, 3, 0, 5 * MS), 0);
    assert_int_equal(pace_answers_ns(&p, 3), 5 * MS);
    assert_int_equal(pace_answers_ns(&p, 2), 0);
    pace_learn(&p, 64, 0, 80 * MS);
    assert_int_equal(pace_answers_ns(&p, 71), 80 * MS); /* of 64 to 71 alike */
    assert_int_equal(pace_answers_ns(&p, 72), 0);
    assert_int_equal(pace_answers_ns(&p, 1 << 20), 0);
    assert_int_equal(pace_rows(&p, 5 * MS, 1000, 100, false), 8);
    assert_int_equal(pace_learn(&p, 3, 8, 9 * MS), 4 * MS);
    assert_int_equal(pace_rows(&p, 5 * MS, 1000, 100, false), 10);
    assert_int_equal(pace_rows(&p, 50 * MS, 1000, 100, false), 16); /* twice as many at a time */
    assert_int_equal(pace_rows(&p, 100, 1000, 100, false), 1);
    assert_int_equal(pace_rows(&p, 5 * MS, 1000, 3, false), 3);
    for (int i = 0; i < 31; i++)
        pace_learn(&p, 3, 10, 10 * MS);
    assert_int_equal(pace_answers_ns(&p, 3), 0); /* it is time to look again */
    pace_all_rows(&p);
    assert_int_equal(pace_learn(&p, 0, 100, 7 * MS), 7 * MS);
    assert_int_equal(pace_learn(&p, 3, 10, 4 * MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_take_all_rows_when_nobody_writes),
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
        cmocka_unit_test(pace_measures_answers_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
