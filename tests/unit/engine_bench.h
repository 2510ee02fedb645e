/* SPDX-License-Identifier: MIT
 *
 * An engine on the embedded model, asked and heard by one thread: what tests of engines share.
 *
 *     main: bench_load(argc, argv), tests, bench_unload()
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"
#include "model/model.h"
#include "place/place.h"

static const char *model_path;
static json_t *root, *prompts;

/* MODEL.gguf REFERENCE.json */
static inline bool bench_load(int argc, char **argv)
{
    if (argc != 3)
        return false;
    model_path = argv[1];
    root = json_load_file(argv[2], 0, NULL);
    prompts = json_object_get(root, "prompts");
    return prompts;
}

static inline void bench_unload(void)
{
    json_decref(root);
}

struct bench { /* an engine with what it stands on */
    struct model *model;
    struct place *place;
    struct engine *engine;
    sem_t events;
};

static inline void wake(void *arg)
{
    sem_post(&((struct bench *)arg)->events);
}

static const struct engine_config usual = {
    .max_sequences = 20, .max_queue = 4, .step_rows = 64, .keep_percent = 50};

static inline void start_on(struct bench *b, const char *isa, int threads,
                            const struct engine_config *config)
{
    struct err err;
    /* With made-up nodes of memory: they must not matter either. */
    struct place_spec spec = {.kind = "cpu", .isa = isa, .threads = threads, .nodes = threads};
    sem_init(&b->events, 0, 0);
    assert_int_equal(model_open(model_path, &b->model, &err), 0);
    assert_int_equal(place_open(&spec, &b->place, &err), 0);
    assert_int_equal(model_load(b->model, b->place, NULL, NULL, &err), 0);
    assert_int_equal(engine_open(b->model, b->place, config, wake, b, &b->engine, &err), 0);
}

static inline void start(struct bench *b, int threads, const struct engine_config *config)
{
    start_on(b, NULL, threads, config);
}

static inline void end(struct bench *b)
{
    engine_close(b->engine);
    model_close(b->model);
    place_close(b->place);
    sem_destroy(&b->events);
}

/* ------------------------------------------------------------------ requests and answers */

static inline struct engine_request *request_of(const json_t *ids, int max_tokens)
{
    struct engine_request *q = engine_request_new();
    q->n_prompt = (int)json_array_size(ids);
    q->prompt = calloc((size_t)q->n_prompt + 1, sizeof *q->prompt);
    for (int i = 0; i < q->n_prompt; i++)
        q->prompt[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    q->max_tokens = max_tokens;
    q->sample.temperature = 0;
    return q;
}

static inline struct engine_request *prompt(size_t i, int max_tokens)
{
    return request_of(json_object_get(json_array_get(prompts, i % json_array_size(prompts)), "ids"),
                      max_tokens);
}

static inline struct engine_request *long_prompt(int n)
{
    struct engine_request *q = engine_request_new();
    q->n_prompt = n;
    q->prompt = calloc((size_t)n, sizeof *q->prompt);
    for (int i = 0; i < n; i++)
        q->prompt[i] = 300 + i % 700;
    q->sample.temperature = 0;
    return q;
}

static inline uint64_t submit(struct bench *b, struct engine_request *q)
{
    uint64_t call;
    struct err err;
    assert_int_equal(engine_submit(b->engine, q, &call, &err), 0);
    return call;
}

enum { MAX_ANSWER = 2100, MAX_TEXT = 1 << 16, MAX_RUNS = 256 };

struct answer {
    uint64_t call;
    int32_t id[MAX_ANSWER];
    float logprob[MAX_ANSWER]; /* if asked for */
    int n;
    char text[MAX_TEXT];
    size_t n_text;
    int run[MAX_RUNS], n_runs; /* of what was known */
    bool done;
    struct engine_event last;
};

static inline void take(struct answer *a, const struct engine_event *event)
{
    assert_false(a->done);
    if (event->kind == ENGINE_DONE) {
        a->done = true;
        a->last = *event;
        int known = 0;
        for (int i = 0; i < a->n_runs; i++)
            known += a->run[i];
        assert_int_equal(event->n_cached, known);
        assert_int_equal(event->n_tokens, a->n);
        return;
    }
    if (event->kind == ENGINE_KNOWN) {
        assert_int_equal(a->n, 0);
        for (int i = 0; i < event->n_runs; i++)
            a->run[a->n_runs++] = event->run[i];
        return;
    }
    if (event->kind == ENGINE_TOKEN) {
        a->logprob[a->n] = event->logprob;
        a->id[a->n++] = event->id;
    }
    memcpy(a->text + a->n_text, event->text, event->n_text);
    a->n_text += event->n_text;
}

/* Polls until all n answers are done, or `tokens` came in all (0: no such limit). */
static inline void collect(struct bench *b, struct answer *answers, int n, int tokens)
{
    for (;;) {
        struct engine_event event;
        int seen = 0, done = 0;
        while (engine_poll(b->engine, &event))
            for (int i = 0; i < n; i++)
                if (answers[i].call == event.call)
                    take(&answers[i], &event);
        for (int i = 0; i < n; i++) {
            seen += answers[i].n;
            done += answers[i].done;
        }
        if (done == n || (tokens && seen >= tokens))
            return;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 120;
        assert_int_equal(sem_timedwait(&b->events, &until), 0);
    }
}

static inline struct answer *ask(struct bench *b, struct engine_request *q)
{
    struct answer *a = calloc(1, sizeof *a);
    a->call = submit(b, q);
    collect(b, a, 1, 0);
    return a;
}

static inline void assert_idle(struct bench *b)
{
    struct engine_stat stat;
    for (int i = 0; i < 1000; i++) {
        engine_stat(b->engine, &stat);
        if (stat.pages_used == 0 && stat.sequences == 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    assert_int_equal(stat.pages_used, 0);
    assert_int_equal(stat.sequences, 0);
    assert_int_equal(stat.queued, 0);
}
