/* SPDX-License-Identifier: MIT
 *
 * The engine on the embedded model: what is promised to whoever submits.
 *
 *     test_engine MODEL.gguf REFERENCE.json
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine/ban.h"
#include "engine_bench.h"
#include "text/token.h"

/* ------------------------------------------------------------------ memory that is asked for */

static atomic_long n_asked;

#define COUNTED(type, name, params, args)                                                          \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        atomic_fetch_add(&n_asked, 1);                                                             \
        return __real_##name args;                                                                 \
    }
COUNTED(void *, malloc, (size_t bytes), (bytes))
COUNTED(void *, calloc, (size_t n, size_t bytes), (n, bytes))
COUNTED(void *, realloc, (void *old, size_t bytes), (old, bytes))
COUNTED(void *, aligned_alloc, (size_t align, size_t bytes), (align, bytes))
COUNTED(char *, strdup, (const char *text), (text))
COUNTED(void *, mmap, (void *at, size_t bytes, int protection, int flags, int fd, off_t offset),
        (at, bytes, protection, flags, fd, offset))

static int refused(struct bench *b, struct engine_request *q, struct err *err)
{
    uint64_t call;
    int r = engine_submit(b->engine, q, &call, err);
    assert_true(r < 0);
    engine_request_free(q);
    return r;
}

/* ------------------------------------------------------------------ tests */

/* Up to the first choice that the reference itself calls close. */
static void greedy_follows_the_reference(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 2, &usual);
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *p = json_array_get(prompts, i);
        const json_t *greedy = json_object_get(p, "greedy");
        const json_t *margin = json_object_get(p, "greedy_margin");
        int n = (int)json_array_size(greedy);
        struct answer *a = ask(&b, prompt(i, n));
        for (int t = 0; t < n && json_number_value(json_array_get(margin, (size_t)t)) > 0.1; t++)
            assert_int_equal(a->id[t], json_integer_value(json_array_get(greedy, (size_t)t)));
        free(a);
    }
    assert_idle(&b);
    end(&b);
}

static void answers_do_not_depend_on_company_or_threads(void **state)
{
    (void)state;
    enum { N = 17, TOKENS = 24 };
    static struct answer alone[N], together[N];
    struct bench b;
    memset(alone, 0, sizeof alone);
    start(&b, 1, &usual);
    for (int i = 0; i < N; i++) {
        alone[i].call = submit(&b, prompt((size_t)i, TOKENS));
        collect(&b, &alone[i], 1, 0);
    }
    end(&b);
    for (int threads = 1; threads <= 3; threads++) {
        struct engine_config small = usual;
        small.step_rows = 20 + threads * 7;
        memset(together, 0, sizeof together);
        start(&b, threads, &small);
        for (int i = N - 1; i >= 0; i--)
            together[i].call = submit(&b, prompt((size_t)i, TOKENS));
        collect(&b, together, N, 0);
        for (int i = 0; i < N; i++) {
            assert_int_equal(together[i].n, alone[i].n);
            assert_memory_equal(together[i].id, alone[i].id, (size_t)alone[i].n * sizeof(int32_t));
            assert_int_equal(together[i].n_text, alone[i].n_text);
            assert_memory_equal(together[i].text, alone[i].text, alone[i].n_text);
        }
        assert_idle(&b);
        end(&b);
    }
}

static void the_context_ends_an_answer(void **state)
{
    (void)state;
    struct bench b;
    struct err err;
    start(&b, 2, &usual);
    int context = (int)model_info(b.model)->context;

    struct answer *a = ask(&b, long_prompt(context - 1));
    assert_int_equal(a->n, 1);
    assert_true(a->last.finish == ENGINE_LENGTH || a->last.finish == ENGINE_STOP);
    free(a);
    a = ask(&b, long_prompt(context));
    assert_int_equal(a->n, 0);
    assert_int_equal(a->last.finish, ENGINE_LENGTH);
    free(a);
    assert_int_equal(refused(&b, long_prompt(context + 1), &err), -E2BIG);
    assert_non_null(strstr(err.text, "2049"));
    assert_non_null(strstr(err.text, "2048"));

    struct engine_request *q = prompt(0, 5);
    q->ignore_end = true;
    a = ask(&b, q);
    assert_int_equal(a->n, 5);
    assert_int_equal(a->last.finish, ENGINE_LENGTH);
    free(a);
    assert_idle(&b);
    end(&b);
}

static void bad_requests_are_named(void **state)
{
    (void)state;
    struct bench b;
    struct err err;
    start(&b, 1, &usual);
    struct engine_request *q = prompt(1, 5);
    q->prompt[0] = (int32_t)model_info(b.model)->vocab;
    assert_int_equal(refused(&b, q, &err), -EINVAL);
    q = prompt(1, 5);
    q->prompt[0] = -1;
    assert_int_equal(refused(&b, q, &err), -EINVAL);
    q = prompt(1, 5);
    q->n_prompt = 0;
    assert_int_equal(refused(&b, q, &err), -EINVAL);
    q = prompt(1, 5);
    q->top_logprobs = ENGINE_MAX_TOP + 1;
    assert_int_equal(refused(&b, q, &err), -EINVAL);
    q = prompt(1, 5);
    q->n_stops = 1;
    q->stops = calloc(1, sizeof *q->stops);
    q->stops[0] = strdup("");
    assert_int_equal(refused(&b, q, &err), -EINVAL);
    q = prompt(1, 5);
    q->sample.n_bias = 1;
    q->sample.bias = calloc(1, sizeof *q->sample.bias);
    q->sample.bias[0].id = 1 << 20;
    assert_int_equal(refused(&b, q, &err), -EINVAL);
    end(&b);
}

static void cancel_frees_everything(void **state)
{
    (void)state;
    enum { N = 24 };
    static struct answer answers[N];
    memset(answers, 0, sizeof answers);
    struct bench b;
    struct err err;
    start(&b, 2, &usual);
    for (int i = 0; i < N; i++) {
        struct engine_request *q = prompt((size_t)i, 0);
        q->ignore_end = true;
        answers[i].call = submit(&b, q);
    }
    assert_int_equal(refused(&b, prompt(0, 1), &err), -EBUSY);
    collect(&b, answers, N, 40);
    for (int i = 0; i < N; i++)
        engine_cancel(b.engine, answers[i].call);
    collect(&b, answers, N, 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(answers[i].last.finish, ENGINE_CANCELLED);
    engine_cancel(b.engine, answers[0].call); /* long gone: nothing happens */
    engine_cancel(b.engine, 0);
    assert_idle(&b);
    struct answer *a = ask(&b, prompt(3, 4)); /* and it goes on */
    assert_true(a->n > 0);
    free(a);
    end(&b);
}

static void wait_for(struct bench *b, enum engine_event_kind kind, struct engine_event *ret)
{
    do {
        while (!engine_poll(b->engine, ret))
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    } while (ret->kind != kind);
}

/* One place, and somebody has it: who may wait for less than that is told so, with a time to come
 * back; who may wait for longer has his turn. */
static void who_may_not_wait_is_refused(void **state)
{
    (void)state;
    enum { N = 3 };
    static struct answer answers[N];
    static const uint64_t may_wait[N] = {0, 50000000, 60000000000};
    memset(answers, 0, sizeof answers);
    struct engine_config config = usual;
    struct bench b;
    config.max_sequences = 1;
    start(&b, 1, &config);
    for (int i = 0; i < N; i++) {
        struct engine_request *q = prompt((size_t)i, i == 0 ? 500 : 2);
        q->ignore_end = true;
        q->queue_ns = may_wait[i];
        answers[i].call = submit(&b, q);
    }
    struct engine_look look;
    collect(&b, answers, N, 20);
    assert_true(engine_look(b.engine, answers[0].call, &look));
    assert_int_equal(look.position, 0);
    assert_true(look.prefill_ns > 0 && look.decode_ns > 0);
    assert_true(engine_look(b.engine, answers[2].call, &look));
    assert_true(look.position > 0 && look.queue_ns > 0);
    collect(&b, answers, N, 0);
    assert_int_equal(answers[0].n, 500);
    assert_int_equal(answers[1].last.finish, ENGINE_REFUSED);
    assert_true(answers[1].last.queue_ns >= may_wait[1]);
    assert_true(answers[1].last.queue_ns < answers[0].last.decode_ns);
    assert_true(answers[1].last.left_ns > 0);
    assert_true(answers[1].last.n_text > 0);
    assert_int_equal(answers[2].n, 2);
    assert_false(engine_look(b.engine, answers[2].call, &look));
    struct engine_stat stat;
    assert_idle(&b);
    engine_stat(b.engine, &stat);
    assert_int_equal(stat.requests_refused, 1);
    assert_true(engine_retry_ns(b.engine) > 0);
    end(&b);
}

/* On a machine that is slow enough. */
static void how_far_a_prompt_is_is_told(void **state)
{
    (void)state;
    struct bench b;
    start_on(&b, "c", 1, &usual);
    struct engine_request *q = long_prompt(600);
    q->max_tokens = 1;
    submit(&b, q);
    struct engine_event event;
    int n = 0, n_read = 0;
    do {
        while (!engine_poll(b.engine, &event))
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (event.kind != ENGINE_READING)
            continue;
        n++;
        assert_int_equal(event.n_prompt, 600);
        assert_in_range(event.n_cached, n_read + 1, 599);
        n_read = event.n_cached;
    } while (event.kind != ENGINE_TOKEN);
    wait_for(&b, ENGINE_DONE, &event);
    assert_true((uint64_t)n <= event.prefill_ns / 250000000);
    assert_true(n > 0 || event.prefill_ns < 400000000);
    end(&b);
}

static void a_paused_call_waits(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 1, &usual);
    struct engine_request *q = prompt(2, 200);
    q->ignore_end = true;
    struct answer *a = calloc(1, sizeof *a);
    a->call = submit(&b, q);
    engine_pause(b.engine, a->call, true);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    struct engine_event event;
    while (engine_poll(b.engine, &event)) /* what was under way before the pause */
        take(a, &event);
    int before = a->n;
    assert_true(before < 200);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    assert_false(engine_poll(b.engine, &event));
    engine_pause(b.engine, a->call, false);
    collect(&b, a, 1, 0);
    assert_int_equal(a->n, 200);
    free(a);
    end(&b);
}

/* More events than the ring holds: the engine waits, nothing is lost. */
static void a_lagging_loop_loses_nothing(void **state)
{
    (void)state;
    enum { N = 20, TOKENS = 100 };
    static struct answer answers[N];
    memset(answers, 0, sizeof answers);
    struct bench b;
    start(&b, 2, &usual);
    for (int i = 0; i < N; i++) {
        struct engine_request *q = prompt((size_t)i, TOKENS);
        q->ignore_end = true;
        answers[i].call = submit(&b, q);
    }
    nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
    collect(&b, answers, N, 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(answers[i].n, TOKENS);
    end(&b);
}

static void closing_ends_all(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 2, &usual);
    for (int i = 0; i < 24; i++) {
        struct engine_request *q = prompt((size_t)i, 0);
        q->ignore_end = true;
        submit(&b, q);
    }
    end(&b); /* the sanitizers see what is left */
}

static void a_seed_repeats(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 2, &usual);
    struct answer *a[3];
    for (int i = 0; i < 3; i++) {
        struct engine_request *q = prompt(3, 40);
        q->ignore_end = true;
        q->sample.temperature = 1;
        q->sample.seed = i == 2 ? 8 : 7;
        a[i] = ask(&b, q);
    }
    assert_memory_equal(a[0]->id, a[1]->id, 40 * sizeof(int32_t));
    assert_memory_not_equal(a[0]->id, a[2]->id, 40 * sizeof(int32_t));
    for (int i = 0; i < 3; i++)
        free(a[i]);
    end(&b);
}

static void logprobs_are_of_the_model(void **state)
{
    (void)state;
    struct bench b;
    start_on(&b, "c", 2, &usual); /* which rounds nothing to 8 bits */
    const json_t *p = json_array_get(prompts, 4);
    double sum = json_number_value(json_object_get(p, "logsumexp"));
    struct engine_request *q = prompt(4, 1);
    q->top_logprobs = ENGINE_MAX_TOP;
    q->sample.temperature = 3; /* reported before it */
    uint64_t call = submit(&b, q);
    struct engine_event event;
    while (!engine_poll(b.engine, &event))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(event.call, call);
    assert_int_equal(event.kind, ENGINE_TOKEN);
    assert_int_equal(event.n_top, ENGINE_MAX_TOP);
    for (size_t i = 0; i < ENGINE_MAX_TOP; i++) {
        const json_t *pair = json_array_get(json_object_get(p, "top"), i);
        double want = json_number_value(json_array_get(pair, 1)) - sum;
        assert_true(fabs((double)event.top[i].logprob - want) < 2e-3);
    }
    end(&b);
}

/* Prompts of three, some longer than a step takes of them, beside two that did not ask: each token
 * is told once, in order, with the very number that it has when a shorter prompt is asked for it.
 */
static void prompts_are_scored_as_if_asked_for(void **state)
{
    (void)state;
    enum { N = 5, ASKED = 3, MOST = 150 };
    static const int length[N] = {MOST, 1, 40, 60, 33};
    static float logprob[N][MOST];
    uint64_t call[N];
    int n[N] = {0}, done = 0;
    struct bench b;
    start(&b, 2, &usual);
    for (int i = 0; i < N; i++) {
        struct engine_request *q = long_prompt(length[i]);
        q->max_tokens = 2;
        q->ignore_end = true;
        q->prompt_logprobs = i < ASKED;
        call[i] = submit(&b, q);
    }
    while (done < N) {
        struct engine_event event;
        int i = 0;
        if (!engine_poll(b.engine, &event)) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            continue;
        }
        while (call[i] != event.call)
            i++;
        done += event.kind == ENGINE_DONE;
        if (event.kind == ENGINE_TOKEN)
            assert_int_equal(n[i], i < ASKED ? length[i] - 1 : 0); /* the prompt comes first */
        if (event.kind != ENGINE_PROMPT)
            continue;
        assert_int_equal(event.id, 300 + (n[i] + 1) % 700);
        assert_int_equal(event.n_top, 0);
        logprob[i][n[i]++] = event.logprob;
    }
    for (int i = 0; i < ASKED; i++)
        assert_int_equal(n[i], length[i] - 1);
    assert_memory_equal(logprob[0], logprob[2], (size_t)n[2] * sizeof(float));
    for (int at = 1; at < length[0]; at += 37) {
        struct engine_event event;
        struct engine_request *q = long_prompt(at);
        struct sample_bias force = {.id = 300 + at % 700, .bias = 1000};
        q->max_tokens = 1;
        q->top_logprobs = 0;
        q->sample.bias = malloc(sizeof force);
        *q->sample.bias = force;
        q->sample.n_bias = 1;
        submit(&b, q);
        wait_for(&b, ENGINE_TOKEN, &event);
        assert_int_equal(event.id, force.id);
        assert_true(event.logprob == logprob[0][at - 1]);
        wait_for(&b, ENGINE_DONE, &event);
    }

    struct engine_stat before, after;
    struct engine_request *q = long_prompt(MOST);
    q->max_tokens = 1;
    q->prompt_logprobs = true;
    assert_idle(&b);
    engine_stat(b.engine, &before);
    free(ask(&b, q));
    assert_idle(&b);
    engine_stat(b.engine, &after);
    assert_int_equal(after.steps - before.steps,
                     (MOST + ENGINE_PROMPT_ROWS - 1) / ENGINE_PROMPT_ROWS);
    end(&b);
}

static void a_stop_string_is_never_sent(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 2, &usual);
    struct engine_request *q = prompt(3, 60);
    q->ignore_end = true;
    struct answer *plain = ask(&b, q);
    assert_true(plain->n_text > 12);
    char stop[5] = "";
    memcpy(stop, plain->text + 6, 4);
    for (size_t i = 6; i < 10; i++)
        if (plain->text[i] & 0x80)
            skip(); /* the model changed: choose another prompt */

    q = prompt(3, 60);
    q->ignore_end = true;
    q->n_stops = 1;
    q->stops = calloc(1, sizeof *q->stops);
    q->stops[0] = strdup(stop);
    struct answer *stopped = ask(&b, q);
    assert_int_equal(stopped->last.finish, ENGINE_STOP);
    assert_int_equal(stopped->last.stop_index, 0);
    size_t at = (size_t)(strstr(plain->text, stop) - plain->text);
    assert_int_equal(stopped->n_text, at);
    assert_memory_equal(stopped->text, plain->text, at);
    free(plain);
    free(stopped);
    end(&b);
}

/* A stop string that almost comes holds more text back than an event has room for. */
static void held_text_arrives_whole(void **state)
{
    (void)state;
    struct bench b;
    start(&b, 2, &usual);
    struct engine_request *q = prompt(3, 160);
    q->ignore_end = true;
    struct answer *plain = ask(&b, q);
    assert_true(plain->n_text > 300);
    char stop[256] = "";
    memcpy(stop, plain->text + 10, 240);
    for (size_t i = 0; i < 240; i++)
        if (stop[i] & 0x80)
            skip(); /* the model changed: choose another prompt */
    strcat(stop, "#");

    q = prompt(3, 160);
    q->ignore_end = true;
    q->n_stops = 1;
    q->stops = calloc(1, sizeof *q->stops);
    q->stops[0] = strdup(stop);
    struct answer *held = ask(&b, q);
    assert_int_equal(held->last.stop_index, -1);
    assert_int_equal(held->n_text, plain->n_text);
    assert_memory_equal(held->text, plain->text, plain->n_text);
    free(plain);
    free(held);
    end(&b);
}

static void a_small_cache_shortens_the_context(void **state)
{
    (void)state;
    struct bench b;
    struct err err;
    struct engine_config config = usual;
    config.cache_bytes = 400000; /* a few pages */
    start(&b, 1, &config);
    struct engine_stat stat;
    engine_stat(b.engine, &stat);
    assert_int_equal(stat.context, stat.pages_total * 32);
    assert_int_equal(refused(&b, long_prompt((int)stat.context + 1), &err), -E2BIG);
    struct engine_request *q = long_prompt((int)stat.context);
    q->prompt_logprobs = true; /* would end before a row is read */
    assert_int_equal(refused(&b, q, &err), -E2BIG);
    assert_non_null(strstr(err.text, "prompt_logprobs"));
    static struct answer answers[6];
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < 6; i++) /* they take turns */
        answers[i].call = submit(&b, long_prompt((int)stat.context - 2));
    collect(&b, answers, 6, 0);
    for (int i = 0; i < 6; i++)
        assert_true(answers[i].n >= 1);
    assert_idle(&b);
    end(&b);
}

/* From the eighth token of each on, three answers ask for no memory: greedy, sampled, and with all
 * that may be told beside it. */
static void writing_asks_for_no_memory(void **state)
{
    (void)state;
    enum { N = 3, WARM = 8, TOKENS = 100 };
    static struct answer answers[N];
    struct bench b;
    start(&b, 2, &usual);
    assert_true(atomic_load(&n_asked) > 0);
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < N; i++) {
        struct engine_request *q = prompt((size_t)i, TOKENS);
        q->ignore_end = true;
        if (i == 1) {
            q->sample.temperature = 1;
            q->sample.top_p = 0.9f;
            const char *banned[] = {"the", " a"};
            assert_int_equal(ban_new(model_vocab(b.model), banned, 2, false, &q->sample.ban), 0);
            q->sample.dry =
                (struct dry_params){.multiplier = 0.8f, .base = 1.75f, .allowed_length = 2};
            q->sample.top_n_sigma = 2;
            q->sample.mirostat_tau = 5;
            q->sample.mirostat_eta = 0.1f;
        }
        if (i == 2) {
            q->top_logprobs = ENGINE_MAX_TOP;
            q->stops = calloc(1, sizeof *q->stops);
            q->stops[q->n_stops++] = strdup("no such words");
        }
        answers[i].call = submit(&b, q);
    }
    int warm;
    do {
        int seen = 0;
        warm = 0;
        for (int i = 0; i < N; i++) {
            seen += answers[i].n;
            warm += answers[i].n >= WARM;
        }
        if (warm < N)
            collect(&b, answers, N, seen + 1);
    } while (warm < N);
    long before = atomic_load(&n_asked);
    collect(&b, answers, N, N * TOKENS);
    assert_int_equal(atomic_load(&n_asked), before);
    for (int i = 0; i < N; i++)
        assert_int_equal(answers[i].n, TOKENS);
    end(&b);
}

int main(int argc, char **argv)
{
    if (!bench_load(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_follows_the_reference),
        cmocka_unit_test(answers_do_not_depend_on_company_or_threads),
        cmocka_unit_test(the_context_ends_an_answer),
        cmocka_unit_test(bad_requests_are_named),
        cmocka_unit_test(cancel_frees_everything),
        cmocka_unit_test(who_may_not_wait_is_refused),
        cmocka_unit_test(how_far_a_prompt_is_is_told),
        cmocka_unit_test(a_paused_call_waits),
        cmocka_unit_test(a_lagging_loop_loses_nothing),
        cmocka_unit_test(closing_ends_all),
        cmocka_unit_test(a_seed_repeats),
        cmocka_unit_test(logprobs_are_of_the_model),
        cmocka_unit_test(prompts_are_scored_as_if_asked_for),
        cmocka_unit_test(a_stop_string_is_never_sent),
        cmocka_unit_test(held_text_arrives_whole),
        cmocka_unit_test(a_small_cache_shortens_the_context),
        cmocka_unit_test(writing_asks_for_no_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_unload();
    return failed;
}
