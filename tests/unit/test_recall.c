/* SPDX-License-Identifier: MIT
 *
 * What an engine knows already: prompts that begin as something did that was read or written
 * before.
 *
 *     test_recall MODEL.gguf REFERENCE.json
 */
#include "engine_bench.h"

#include "engine/preamble.h"

enum { ALICE = 1000, BOB = 1001 };

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

/* What came before, what was answered, and then n more words. */
static struct engine_request *next_turn(const struct engine_request *before, const struct answer *a,
                                        int n, int max_tokens)
{
    struct engine_request *q = words(before->uid, 0, before->n_prompt + a->n + n, max_tokens);
    size_t prompt = (size_t)before->n_prompt;
    memcpy(q->prompt, before->prompt, prompt * sizeof *q->prompt);
    memcpy(q->prompt + prompt, a->id, (size_t)a->n * sizeof *q->prompt);
    return q;
}

static struct engine_request *copy_of(const struct engine_request *from)
{
    struct engine_request *q = words(from->uid, 0, from->n_prompt, from->max_tokens);
    memcpy(q->prompt, from->prompt, (size_t)q->n_prompt * sizeof *q->prompt);
    return q;
}

static void assert_same_answer(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->id, b->id, (size_t)a->n * sizeof *a->id);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
}

static int pages_kept(struct bench *b)
{
    struct engine_stat stat;
    assert_idle(b);
    engine_stat(b->engine, &stat);
    return (int)stat.pages_kept;
}

/* ------------------------------------------------------------------ tests */

/* Prompts that begin with rows of prompts alone: as if nothing had been known, to the byte. */
static void what_was_read_is_not_read_again(void **state)
{
    (void)state;
    static const struct {
        int same, n, known;
    } cases[] = {
        {0, 100, 0},     {100, 100, 99}, {100, 140, 100}, {64, 90, 64},    {63, 90, 63},
        {65, 90, 65},    {33, 200, 33},  {96, 97, 96},    {96, 96, 95},    {1, 40, 1},
        {128, 129, 128}, {31, 32, 31},   {127, 700, 127}, {140, 141, 140}, {140, 140, 139},
    };
    struct engine_config config = usual;
    struct bench b, forgetful;
    start(&b, 1, &config);
    config.keep_percent = 0;
    start(&forgetful, 1, &config);
    free(ask(&b, words(ALICE, 160, 160, 1)));
    uint64_t prompt_tokens = 160, cached_tokens = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer *a = ask(&b, words(ALICE, cases[i].same, cases[i].n, 20));
        struct answer *plain = ask(&forgetful, words(ALICE, cases[i].same, cases[i].n, 20));
        /* At least what the first talk left; earlier cases may have left more. */
        assert_true(a->last.n_cached >= cases[i].known);
        assert_true(a->last.n_cached < cases[i].n);
        assert_int_equal(a->last.n_prompt, cases[i].n);
        assert_int_equal(plain->last.n_cached, 0);
        assert_same_answer(a, plain);
        cached_tokens += (uint64_t)a->last.n_cached;
        prompt_tokens += (uint64_t)(cases[i].n - a->last.n_cached);
        free(a);
        free(plain);
    }
    struct engine_stat stat;
    pages_kept(&b);
    engine_stat(b.engine, &stat);
    assert_int_equal(stat.cached_tokens, cached_tokens);
    assert_int_equal(stat.prompt_tokens, prompt_tokens);
    assert_int_equal(pages_kept(&forgetful), 0);
    end(&b);
    end(&forgetful);
}

enum { TURNS = 3, PROMPT = 100, ANSWER = 45, QUESTION = 50 };

/* Each turn sends all that was said before. Beside it, if asked for, somebody else writes. */
static void talk(struct bench *b, uint32_t uid, bool in_company, struct answer *answers)
{
    struct answer *other = calloc(1, sizeof *other);
    struct engine_request *said = words(uid, PROMPT, PROMPT, ANSWER);
    if (in_company) {
        struct engine_request *q = words(BOB, PROMPT, PROMPT, 300);
        other->call = submit(b, q);
        collect(b, other, 1, 5);
    }
    for (int turn = 0; turn < TURNS; turn++) {
        struct answer *a = &answers[turn];
        struct engine_request *q = copy_of(said);
        a->call = submit(b, q);
        while (!a->done) {
            struct engine_event event;
            if (!engine_poll(b->engine, &event))
                sem_wait(&b->events);
            else
                take(event.call == a->call ? a : other, &event);
        }
        assert_int_equal(a->n, ANSWER);
        struct engine_request *longer = next_turn(said, a, QUESTION, ANSWER);
        engine_request_free(said);
        said = longer;
    }
    engine_request_free(said);
    if (in_company)
        collect(b, other, 1, 0);
    free(other);
}

/* The same history on other threads, in other chunks and in company says the same. */
static void a_talk_goes_on_where_it_was(void **state)
{
    (void)state;
    static struct answer first[TURNS], again[TURNS];
    memset(first, 0, sizeof first);
    for (int round = 0; round < 3; round++) {
        struct engine_config config = usual;
        struct bench b;
        config.step_rows = 21 + 30 * round;
        start(&b, 1 + round % 3, &config);
        memset(again, 0, sizeof again);
        talk(&b, ALICE, round > 1, round == 0 ? first : again);
        for (int turn = 0; turn < TURNS && round > 0; turn++)
            assert_same_answer(&first[turn], &again[turn]);
        end(&b);
    }
    /* The last token of an answer is never computed: it is read with what follows. */
    assert_int_equal(first[0].last.n_cached, 0);
    assert_int_equal(first[1].last.n_cached, PROMPT + ANSWER - 1);
    assert_int_equal(first[1].n_runs, 2);
    assert_int_equal(first[1].run[0], PROMPT);
    assert_int_equal(first[2].last.n_cached, PROMPT + ANSWER + QUESTION + ANSWER - 1);
    assert_int_equal(first[2].n_runs, 4);
    assert_int_equal(first[2].run[1], ANSWER - 1);
    assert_int_equal(first[2].run[2], 1 + QUESTION);
}

/* Bob says what Alice said, word for word: nothing is known, and nothing of what she knows goes. */
static void another_user_knows_nothing(void **state)
{
    (void)state;
    static struct answer alice[TURNS], bob[TURNS], alone[TURNS];
    memset(alice, 0, sizeof alice);
    memset(bob, 0, sizeof bob);
    memset(alone, 0, sizeof alone);
    struct bench b;
    start(&b, 1, &usual);
    talk(&b, ALICE, false, alice);
    int kept = pages_kept(&b);
    talk(&b, BOB, false, bob);
    assert_int_equal(pages_kept(&b), 2 * kept);
    end(&b);
    start(&b, 1, &usual);
    talk(&b, BOB, false, alone);
    end(&b);
    for (int turn = 0; turn < TURNS; turn++) {
        assert_int_equal(bob[turn].last.n_cached, alone[turn].last.n_cached);
        assert_same_answer(&bob[turn], &alone[turn]);
    }
    assert_int_equal(bob[0].last.n_cached, 0);
}

/* Who asks the same at the same time reads what nobody has come to. */
static void a_prompt_is_read_once(void **state)
{
    (void)state;
    enum { N = 4, LONG = 600 };
    static struct answer answers[N];
    memset(answers, 0, sizeof answers);
    struct bench b;
    start(&b, 1, &usual);
    for (int i = 0; i < N; i++)
        answers[i].call = submit(&b, words(ALICE, LONG, LONG, 8));
    collect(&b, answers, N, 0);
    for (int i = 0; i < N; i++) {
        assert_same_answer(&answers[i], &answers[0]);
        assert_true(answers[i].last.n_cached >= (i > 0 ? LONG - usual.step_rows - 32 : 0));
    }
    end(&b);
}

static void what_is_cancelled_stays_known(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 1, &usual);
    struct answer *a = calloc(1, sizeof *a);
    a->call = submit(&b, words(ALICE, 100, 100, 1000));
    collect(&b, a, 1, 70);
    engine_cancel(b.engine, a->call);
    collect(&b, a, 1, 0);
    assert_int_equal(a->last.finish, ENGINE_CANCELLED);
    free(a);
    a = ask(&b, words(ALICE, 100, 100, 1));
    assert_int_equal(a->last.n_cached, 99);
    assert_true(pages_kept(&b) >= 5);
    free(a);
    end(&b);
}

/* A cache for one long talk and a bit: what is kept gives way, everybody gets an answer, and it is
 * the answer of one who knows nothing. */
static void what_is_kept_gives_way(void **state)
{
    (void)state;
    enum { N = 12 };
    static struct answer answers[N];
    struct engine_config config = usual;
    struct bench b, forgetful;
    config.cache_bytes = 800000;
    config.keep_percent = 80;
    start(&b, 1, &config);
    config.keep_percent = 0;
    start(&forgetful, 1, &config);
    struct engine_stat stat;
    engine_stat(b.engine, &stat);
    int context = (int)stat.context;
    for (int round = 0; round < 2; round++) {
        memset(answers, 0, sizeof answers);
        for (int i = 0; i < N; i++)
            answers[i].call = submit(&b, words(ALICE + (uint32_t)i % 3, 40 * (i % 5 + round),
                                               context - 7 - 40 * (i % 4), 1 + i % 6));
        collect(&b, answers, N, 0);
        for (int i = 0; i < N; i++) {
            struct answer *plain = ask(&forgetful, words(BOB, 40 * (i % 5 + round),
                                                         context - 7 - 40 * (i % 4), 1 + i % 6));
            assert_same_answer(&answers[i], plain);
            free(plain);
        }
        assert_true(pages_kept(&b) <= (int)stat.pages_total);
    }
    engine_stat(b.engine, &stat);
    assert_true(stat.cached_tokens > 0);
    end(&b);
    end(&forgetful);
}

/* Two pages of the beginning and no more; in a cache so small that who has all the rest of it must
 * not need theirs. */
static void what_is_listed_is_known_to_all(void **state)
{
    (void)state;
    enum { PAGES = 40, LISTED = 70 };
    struct engine_request *listed = words(0, LISTED, LISTED, 1);
    struct preamble preamble = {.path = "test", .token = listed->prompt, .n = LISTED};
    struct preambles preambles = {.at = &preamble, .n = 1};
    struct engine_config config = usual;
    struct bench b, plain;
    struct engine_stat stat;
    start(&plain, 1, &config);
    engine_stat(plain.engine, &stat);
    config.cache_bytes = stat.cache_bytes / stat.pages_total * PAGES;
    config.shared = &preambles;
    start(&b, 1, &config);
    engine_stat(b.engine, &stat);
    assert_int_equal(stat.context, (PAGES - 2) * 32);
    for (int i = 0; i < 4; i++) {
        uint32_t uid = i % 2 ? BOB : ALICE;
        struct answer *a = ask(&b, words(uid, 100 + i / 2 * 20, 200, 20));
        struct answer *same = ask(&plain, words(uid, 100 + i / 2 * 20, 200, 20));
        assert_same_answer(a, same);
        assert_int_equal(a->last.n_cached, i == 0 ? 0 : i == 1 ? 64 : 100);
        free(a);
        free(same);
    }
    struct answer *a = ask(&b, words(BOB, 0, (int)stat.context, 0)); /* all of it is his */
    assert_int_equal(a->last.finish, ENGINE_LENGTH);
    free(a);
    a = ask(&b, words(BOB, 0, (int)stat.context - 1, 0));
    assert_int_equal(a->n, 1);
    free(a);
    assert_idle(&b);
    engine_stat(b.engine, &stat);
    assert_int_equal(stat.pages_shared, 2);
    a = ask(&b, words(BOB + 1, 100, 200, 1));
    assert_int_equal(a->last.n_cached, 64);
    free(a);
    end(&b);
    end(&plain);
    engine_request_free(listed);
}

int main(int argc, char **argv)
{
    if (!bench_load(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_is_not_read_again),
        cmocka_unit_test(a_talk_goes_on_where_it_was),
        cmocka_unit_test(another_user_knows_nothing),
        cmocka_unit_test(a_prompt_is_read_once),
        cmocka_unit_test(what_is_cancelled_stays_known),
        cmocka_unit_test(what_is_kept_gives_way),
        cmocka_unit_test(what_is_listed_is_known_to_all),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_unload();
    return failed;
}
