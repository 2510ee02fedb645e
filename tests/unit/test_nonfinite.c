/* SPDX-License-Identifier: MIT
 *
 * Weights that aren't numbers: the request that meets them ends with words and is counted, all
 * others answer as if they were alone with a whole model.
 *
 *     test_nonfinite V3.gguf           a toy of F32
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../fixture/edit.h"
#include "engine/engine.h"
#include "model/model.h"
#include "place/place.h"

enum { PROMPTS = 12, TOKENS = 20, HIDDEN = 64, BAD_TOKEN = 77 };

static const char *toy_path;

struct bench {
    struct model *model;
    struct place *place;
    struct engine *engine;
    sem_t events;
};

static void wake(void *arg)
{
    sem_post(&((struct bench *)arg)->events);
}

static void start(struct bench *b, const char *path, const char *isa, int sequences, int keep)
{
    struct err err = {0};
    struct place_spec spec = {.kind = "cpu", .isa = isa, .threads = 2};
    struct engine_config config = {
        .max_sequences = sequences, .max_queue = PROMPTS, .step_rows = 40, .keep_percent = keep};
    sem_init(&b->events, 0, 0);
    if (model_open(path, &b->model, &err) < 0 || place_open(&spec, &b->place, &err) < 0 ||
        model_load(b->model, b->place, NULL, NULL, &err) < 0 ||
        engine_open(b->model, b->place, &config, wake, b, &b->engine, &err) < 0)
        fail_msg("%s", err.text);
}

static void end(struct bench *b)
{
    engine_close(b->engine);
    model_close(b->model);
    place_close(b->place);
    sem_destroy(&b->events);
}

struct answer {
    uint64_t call;
    int32_t id[TOKENS];
    int n;
    bool done;
    struct engine_event last;
};

struct size { /* of a prompt: the first one's, how much longer each next one is, the answer's */
    int first, more, tokens;
};
static const struct size usual = {9, 3, TOKENS}, tiny = {2, 0, 2};

/* Prompts without the token that a test may spoil, but for the last but one. */
static void ask(struct bench *b, struct answer *a, struct size size, int which, int32_t spoiled)
{
    struct engine_request *q = engine_request_new();
    struct err err;
    q->n_prompt = size.first + size.more * which;
    q->prompt = calloc((size_t)q->n_prompt, sizeof *q->prompt);
    for (int i = 0; i < q->n_prompt; i++)
        q->prompt[i] = 100 + (which * 31 + i * 7) % 200;
    q->prompt[q->n_prompt - 2] = spoiled;
    q->max_tokens = size.tokens;
    q->ignore_end = true;
    q->uid = 1000; /* one user: its pages aren't cleared in between */
    q->sample.temperature = 0;
    *a = (struct answer){0};
    assert_int_equal(engine_submit(b->engine, q, &a->call, &err), 0);
}

static void collect(struct bench *b, struct answer *answers, int n)
{
    for (int done = 0; done < n;) {
        struct engine_event event;
        while (engine_poll(b->engine, &event)) {
            struct answer *a = answers;
            while (a->call != event.call)
                a++;
            if (event.kind == ENGINE_TOKEN)
                a->id[a->n++] = event.id;
            if (event.kind != ENGINE_DONE)
                continue;
            a->last = event;
            done++;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 60;
        if (done < n)
            assert_int_equal(sem_timedwait(&b->events, &until), 0);
    }
}

static void assert_same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->id, b->id, (size_t)a->n * sizeof *a->id);
    assert_int_equal(a->last.finish, b->last.finish);
}

static void assert_ended(const struct answer *a, int n_prompt)
{
    assert_int_equal(a->last.finish, ENGINE_ERROR);
    char words[64];
    snprintf(words, sizeof words, "non-finite logits at token %d", n_prompt + a->n);
    assert_string_equal(a->last.text, words);
}

/* All prompts on a toy, one after the other or together. */
static void run(const char *path, const char *isa, struct size size, bool together,
                struct answer *answers)
{
    struct bench b;
    start(&b, path, isa, together ? PROMPTS : 1, 0);
    for (int i = 0; i < PROMPTS; i++) {
        ask(&b, &answers[i], size, i, 101);
        if (!together)
            collect(&b, &answers[i], 1);
    }
    if (together)
        collect(&b, answers, PROMPTS);
    end(&b);
}

static bool runs_here(const char *isa)
{
    struct mk mk;
    return mk_init(&mk, isa) == 0;
}

/* ------------------------------------------------------------------ tests */

/* One token's row: who says it ends, and the pages it leaves behind harm nobody. */
static void a_row_of_the_embedding(void **state)
{
    (void)state;
    static struct answer whole[PROMPTS], spoiled[PROMPTS + 1];
    static const float bad[] = {NAN, INFINITY};
    for (int isa = 0; mk_isa_names[isa]; isa++) {
        if (!runs_here(mk_isa_names[isa]))
            continue;
        run(toy_path, mk_isa_names[isa], usual, true, whole);
        for (size_t v = 0; v < 2; v++) {
            struct edit e = edit_read(toy_path);
            edit_fill(&e, "token_embd.weight", BAD_TOKEN * HIDDEN + 5, 1, bad[v]);
            struct bench b;
            start(&b, edit_write(&e), mk_isa_names[isa], PROMPTS + 1, 50 * (int)v);
            for (int round = 0; round < 3; round++) {
                for (int i = 0; i < PROMPTS; i++)
                    ask(&b, &spoiled[i], usual, i, 101);
                ask(&b, &spoiled[PROMPTS], usual, 4, BAD_TOKEN);
                collect(&b, spoiled, PROMPTS + 1);
                assert_int_equal(spoiled[PROMPTS].n, 0);
                assert_ended(&spoiled[PROMPTS], spoiled[PROMPTS].last.n_prompt);
                for (int i = 0; i < PROMPTS; i++)
                    if (whole[i].last.finish == ENGINE_LENGTH)
                        assert_same(&spoiled[i], &whole[i]);
            }
            struct engine_stat stat;
            engine_stat(b.engine, &stat);
            assert_int_equal(stat.errors, 3);
            end(&b);
            edit_fini(&e);
        }
    }
}

/* The same page again and again: what a failed call left in it isn't read. */
static void pages_left_behind(void **state)
{
    (void)state;
    struct answer whole, spoiled;
    struct bench b;
    start(&b, toy_path, NULL, 1, 0);
    ask(&b, &whole, usual, 0, 101);
    collect(&b, &whole, 1);
    end(&b);
    struct edit e = edit_read(toy_path);
    edit_fill(&e, "token_embd.weight", BAD_TOKEN * HIDDEN, HIDDEN, NAN);
    start(&b, edit_write(&e), NULL, 1, 0);
    for (int i = 0; i < 5; i++) {
        ask(&b, &spoiled, usual, 6, BAD_TOKEN);
        collect(&b, &spoiled, 1);
        assert_ended(&spoiled, spoiled.last.n_prompt);
        ask(&b, &spoiled, usual, 0, 101);
        collect(&b, &spoiled, 1);
        assert_same(&spoiled, &whole);
    }
    end(&b);
    edit_fini(&e);
}

/* Nothing of such a call is kept, not even a page that was whole. */
static void they_are_not_known_again(void **state)
{
    (void)state;
    struct answer a;
    struct bench b;
    struct engine_stat stat;
    struct edit e = edit_read(toy_path);
    edit_fill(&e, "token_embd.weight", BAD_TOKEN * HIDDEN, HIDDEN, NAN);
    start(&b, edit_write(&e), NULL, 1, 50);
    for (int i = 0; i < 3; i++) {
        ask(&b, &a, usual, 11, BAD_TOKEN); /* 42 tokens */
        collect(&b, &a, 1);
        assert_ended(&a, a.last.n_prompt);
        assert_int_equal(a.last.n_cached, 0);
    }
    for (int i = 0; i < 2; i++) {
        ask(&b, &a, usual, 11, 101);
        collect(&b, &a, 1);
        assert_int_equal(a.last.n_cached, i == 0 ? 0 : a.last.n_prompt - 1);
    }
    ask(&b, &a, usual, 11, BAD_TOKEN); /* the page before it is somebody else's too */
    collect(&b, &a, 1);
    assert_int_equal(a.last.n_cached, 40);
    engine_stat(b.engine, &stat);
    assert_int_equal(stat.errors, 4);
    end(&b);
    edit_fini(&e);
}

/* One expert: calls that never meet it answer as on the whole model, the others end; and who is
 * who doesn't depend on the company. */
static void an_expert(void **state)
{
    (void)state;
    static const char *const tensors[] = {"blk.1.ffn_gate_exps.weight", "blk.2.ffn_up_exps.weight",
                                          "blk.2.ffn_down_exps.weight"};
    static struct answer whole[PROMPTS], alone[PROMPTS], together[PROMPTS];
    enum { EXPERT_BYTES = 32 * HIDDEN, BAD_EXPERT = 6 };
    for (int isa = 0; mk_isa_names[isa]; isa++) {
        if (!runs_here(mk_isa_names[isa]))
            continue;
        run(toy_path, mk_isa_names[isa], tiny, false, whole);
        int ended = 0, unharmed = 0;
        for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++) {
            struct edit e = edit_read(toy_path);
            edit_fill(&e, tensors[t], BAD_EXPERT * EXPERT_BYTES + 40, 3, NAN);
            run(edit_write(&e), mk_isa_names[isa], tiny, false, alone);
            run(e.path, mk_isa_names[isa], tiny, true, together);
            for (int i = 0; i < PROMPTS; i++) {
                assert_same(&together[i], &alone[i]);
                assert_memory_equal(alone[i].id, whole[i].id, (size_t)alone[i].n * sizeof(int32_t));
                bool harmed = alone[i].last.finish == ENGINE_ERROR;
                if (harmed)
                    assert_ended(&alone[i], alone[i].last.n_prompt);
                else
                    assert_same(&alone[i], &whole[i]);
                *(harmed ? &ended : &unharmed) += 1;
            }
            edit_fini(&e);
        }
        assert_true(ended > 0);
        assert_true(unharmed > 0);
    }
}

/* Weights that all calls use: whatever kernel meets them first, nothing hides them. */
static void no_kernel_hides_them(void **state)
{
    (void)state;
    static const char *const tensors[] = {
        "output.weight",
        "output_norm.weight",
        "blk.0.attn_norm.weight",
        "blk.1.attn_q_a.weight",
        "blk.1.attn_q_a_norm.weight",
        "blk.2.attn_q_b.weight",
        "blk.1.attn_kv_a_mqa.weight",
        "blk.0.attn_kv_a_norm.weight",
        "blk.0.attn_k_b.weight",
        "blk.2.attn_v_b.weight",
        "blk.1.attn_output.weight",
        "blk.2.ffn_norm.weight",
        "blk.0.ffn_gate.weight",
        "blk.0.ffn_up.weight",
        "blk.0.ffn_down.weight",
        "blk.1.ffn_gate_shexp.weight",
        "blk.2.ffn_down_shexp.weight",
    };
    static const char *const kinds[] = {"cpu", "ref", "ref-naive"};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++) {
        for (int i = 0; i < 3 * 3; i++) {
            struct edit e = edit_read(toy_path);
            edit_fill(&e, tensors[t], 2, 1, bad[i % 3]);
            for (int isa = 0; mk_isa_names[isa]; isa++) {
                if (!runs_here(mk_isa_names[isa]) || (i / 3 > 0 && isa > 0))
                    continue;
                struct answer a;
                struct bench b;
                struct err err = {0};
                struct place_spec spec = {
                    .kind = kinds[i / 3], .isa = mk_isa_names[isa], .threads = 1};
                struct engine_config config = {.max_sequences = 1, .step_rows = 8};
                sem_init(&b.events, 0, 0);
                assert_int_equal(model_open(edit_write(&e), &b.model, &err), 0);
                assert_int_equal(place_open(&spec, &b.place, &err), 0);
                assert_int_equal(model_load(b.model, b.place, NULL, NULL, &err), 0);
                assert_int_equal(engine_open(b.model, b.place, &config, wake, &b, &b.engine, &err),
                                 0);
                ask(&b, &a, usual, 3, 101);
                collect(&b, &a, 1);
                if (a.last.finish != ENGINE_ERROR)
                    fail_msg("%s, %s: %g in %s is hidden", kinds[i / 3], mk_isa_names[isa],
                             (double)bad[i % 3], tensors[t]);
                end(&b);
            }
            edit_fini(&e);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    toy_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_of_the_embedding),   cmocka_unit_test(pages_left_behind),
        cmocka_unit_test(they_are_not_known_again), cmocka_unit_test(an_expert),
        cmocka_unit_test(no_kernel_hides_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
