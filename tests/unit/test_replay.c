/* SPDX-License-Identifier: MIT
 *
 * Answers computed again by an engine that has forgotten what it knew when it gave them: rows of
 * their prompts are made as they once were.
 *
 *     test_replay MODEL.gguf REFERENCE.json
 */
#include "engine_bench.h"

enum { ALICE = 1000, BOB = 1001, TURNS = 3, PROMPT = 100, ANSWER = 45, QUESTION = 50 };

static struct answer answers[TURNS];
static struct engine_request *asked[TURNS];

static struct engine_request *words(uint32_t uid, int n, int max_tokens)
{
    struct engine_request *q = long_prompt(n);
    for (int i = 0; i < n; i++)
        q->prompt[i] = 320 + i * 7 % 500;
    q->uid = uid;
    q->max_tokens = max_tokens;
    q->ignore_end = true;
    q->top_logprobs = 0;
    q->sample.temperature = 0.8f;
    q->sample.seed = 7;
    return q;
}

static struct engine_request *copy_of(const struct engine_request *from, int n_prompt)
{
    struct engine_request *q = words(from->uid, n_prompt, from->max_tokens);
    int n = from->n_prompt < n_prompt ? from->n_prompt : n_prompt;
    memcpy(q->prompt, from->prompt, (size_t)n * sizeof *q->prompt);
    return q;
}

/* A request whose rows are made as those of the answer's prompt were. */
static struct engine_request *replay_of(const struct engine_request *from, const struct answer *a)
{
    struct engine_request *q = copy_of(from, from->n_prompt);
    q->is_replay = true;
    q->n_runs = a->n_runs;
    q->run = calloc((size_t)a->n_runs + 1, sizeof *q->run);
    for (int i = 0; i < a->n_runs; i++)
        q->run[i] = a->run[i];
    return q;
}

static bool same_answer(const struct answer *a, const struct answer *b)
{
    return a->n == b->n && memcmp(a->id, b->id, (size_t)a->n * sizeof *a->id) == 0 &&
           memcmp(a->logprob, b->logprob, (size_t)a->n * sizeof *a->logprob) == 0;
}

/* Three turns, each with all that was said before, beside somebody who writes. */
static int have_talk(void **state)
{
    (void)state;
    struct bench b;
    struct answer *other = calloc(1, sizeof *other);
    start(&b, 2, &usual);
    other->call = submit(&b, words(BOB, PROMPT, 1000));
    asked[0] = words(ALICE, PROMPT, ANSWER);
    for (int turn = 0; turn < TURNS; turn++) {
        struct answer *a = &answers[turn];
        a->call = submit(&b, copy_of(asked[turn], asked[turn]->n_prompt));
        while (!a->done) {
            struct engine_event event;
            if (!engine_poll(b.engine, &event))
                sem_wait(&b.events);
            else
                take(event.call == a->call ? a : other, &event);
        }
        if (turn + 1 == TURNS)
            break;
        int n = asked[turn]->n_prompt;
        asked[turn + 1] = copy_of(asked[turn], n + ANSWER + QUESTION);
        memcpy(asked[turn + 1]->prompt + n, a->id, ANSWER * sizeof *a->id);
    }
    engine_cancel(b.engine, other->call);
    collect(&b, other, 1, 0);
    free(other);
    end(&b);
    return 0;
}

static int forget_talk(void **state)
{
    (void)state;
    for (int turn = 0; turn < TURNS; turn++)
        engine_request_free(asked[turn]);
    return 0;
}

/* ------------------------------------------------------------------ tests */

/* On any number of threads, in chunks of any size, and whatever is known meanwhile. */
static void an_answer_comes_again(void **state)
{
    (void)state;
    assert_int_equal(answers[2].n_runs, 4);
    for (int round = 0; round < 3; round++) {
        struct engine_config config = usual;
        struct bench b;
        config.step_rows = 20 + 25 * round; /* not less than there may be sequences */
        start(&b, 1 + round % 2, &config);
        for (int turn = TURNS - 1; turn >= 0; turn--) {
            struct answer *first = ask(&b, replay_of(asked[turn], &answers[turn]));
            struct answer *again = ask(&b, replay_of(asked[turn], &answers[turn]));
            if (turn == TURNS - 1)
                assert_int_equal(first->last.n_cached, 0);
            assert_int_equal(again->last.n_cached, asked[turn]->n_prompt - 1);
            assert_true(same_answer(first, &answers[turn]));
            assert_true(same_answer(again, &answers[turn]));
            for (int i = 0; i < answers[turn].n_runs; i++)
                if (i + 1 < again->n_runs)
                    assert_int_equal(again->run[i], answers[turn].run[i]);
            free(first);
            free(again);
        }
        end(&b);
    }
}

/* Rows that are there, but were made otherwise, are not taken; and it matters. */
static void rows_made_otherwise_are_none(void **state)
{
    (void)state;
    struct bench b;
    struct answer read_all = {0};
    start(&b, 1, &usual);
    struct answer *plain = ask(&b, copy_of(asked[2], asked[2]->n_prompt));
    assert_int_equal(plain->last.n_cached, 0);
    struct answer *again = ask(&b, replay_of(asked[2], &answers[2]));
    assert_int_equal(again->last.n_cached, PROMPT);
    assert_true(same_answer(again, &answers[2]));
    struct answer *read = ask(&b, replay_of(asked[2], &read_all));
    assert_true(same_answer(read, plain));
    assert_int_equal(read->last.n_cached, asked[2]->n_prompt - 1);
    if (strcmp(b.place->isa, "c") != 0) /* else both ways are one */
        assert_false(same_answer(plain, &answers[2]));
    free(plain);
    free(again);
    free(read);
    end(&b);
}

/* Beside others who read, write and replay; a few rows a step. */
static void neighbours_do_not_matter(void **state)
{
    (void)state;
    enum { N = 6 };
    static struct answer got[N];
    memset(got, 0, sizeof got);
    struct bench b;
    start(&b, 2, &usual);
    for (int i = 0; i < N; i++) {
        struct engine_request *q = replay_of(asked[i % TURNS], &answers[i % TURNS]);
        q->uid = ALICE + (uint32_t)i; /* nobody knows what another has made */
        got[i].call = submit(&b, q);
    }
    collect(&b, got, N, 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(got[i].last.n_cached, 0);
        assert_true(same_answer(&got[i], &answers[i % TURNS]));
    }
    assert_idle(&b);
    end(&b);
}

static void bad_runs_are_refused(void **state)
{
    (void)state;
    static const struct {
        int32_t run[3];
        const char *words;
    } cases[] = {
        {{50, 0, 1}, "run 1 of the prompt's rows has 0, expected at least 1"},
        {{50, -1, 1}, "run 1 of the prompt's rows has -1"},
        {{50, 50, 1}, "add up to 101, it has 100"},
        {{INT32_MAX, INT32_MAX, INT32_MAX}, "add up to 6442450941, it has 100"},
    };
    struct bench b;
    start(&b, 1, &usual);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct engine_request *q = words(ALICE, 100, 1);
        struct err err = {0};
        uint64_t call;
        q->is_replay = true;
        q->n_runs = 3;
        q->run = calloc(3, sizeof *q->run);
        memcpy(q->run, cases[i].run, sizeof cases[i].run);
        assert_int_equal(engine_submit(b.engine, q, &call, &err), -EINVAL);
        assert_non_null(strstr(err.text, cases[i].words));
        engine_request_free(q);
    }
    end(&b);
}

int main(int argc, char **argv)
{
    if (!bench_load(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_again),
        cmocka_unit_test(rows_made_otherwise_are_none),
        cmocka_unit_test(neighbours_do_not_matter),
        cmocka_unit_test(bad_runs_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, have_talk, forget_talk);
    bench_unload();
    return failed;
}
