/* SPDX-License-Identifier: MIT
 *
 * What a row computes depends on nothing but the row: the logits of a prompt and of an answer to it
 * have the same bits for any number of threads, any cutting of the prompt into steps, and any
 * neighbours in them. So have those of answers to pasts that are cut into parts.
 *
 *     test_invariance MODEL.gguf [ISA…]
 */
#include <stdio.h>
#include <string.h>

#include "../fixture/loaded.h"

enum { PROMPT = 75, ANSWER = 9, MAX_NEIGHBOURS = 5, DEEP = 4, DEEP_ANSWER = 3 };

static int n_passed, n_failed;

static int32_t token_of(const struct loaded_model *m, int sequence, int position)
{
    uint32_t x = (uint32_t)(sequence * 7919 + position * 104729 + 12345);
    x ^= x >> 7;
    x *= 2654435761u;
    return (int32_t)(x % (uint32_t)m->vocab);
}

/* Tokens [done, done + n) of the sequences [first, last]. */
static void add(struct loaded_model *m, struct loaded_step *step, const struct view *view,
                int first, int last, int done, int n, bool wanted)
{
    for (int s = first; s <= last; s++)
        for (int i = 0; i < n; i++)
            loaded_step_add(step, &view[s], token_of(m, s, done + i), done + i,
                            wanted && i == n - 1);
}

/* The text in steps of `chunk` tokens up to PROMPT, beside neighbours that are as far in theirs;
 * then one by one as an answer's, beside some neighbours that answer and others that still read.
 * The logits are those after the prompt and those after the answer. */
static void run(struct loaded_model *m, int chunk, int neighbours, float *logits)
{
    static struct loaded_step step;
    struct view view[MAX_NEIGHBOURS + 1];
    for (int s = 0; s <= neighbours; s++)
        if (view_init(&view[s], 4 * PROMPT, 0) < 0 || view_grow(&view[s], m->pool, 4 * PROMPT) < 0)
            abort();
    for (int done = 0; done < PROMPT;) {
        int n = PROMPT - done < chunk ? PROMPT - done : chunk;
        loaded_step_clear(&step);
        add(m, &step, view, 1, neighbours / 2, done, n, false);
        add(m, &step, view, 0, 0, done, n, done + n == PROMPT);
        add(m, &step, view, neighbours / 2 + 1, neighbours, done, n, done > 0);
        forward_run(m->forward, &step.rows);
        done += n;
    }
    forward_logits(m->forward, 0, logits);
    for (int done = PROMPT, read = PROMPT; done < PROMPT + ANSWER; done++) {
        int n = 2 * PROMPT - read < chunk ? 2 * PROMPT - read : chunk;
        loaded_step_clear(&step);
        add(m, &step, view, 1, neighbours / 2, done, 1, false);
        add(m, &step, view, 0, 0, done, 1, true);
        step.rows.n_decode = step.rows.n;
        add(m, &step, view, neighbours / 2 + 1, neighbours, read, n, false);
        forward_run(m->forward, &step.rows);
        read += n;
    }
    forward_logits(m->forward, 0, logits + m->vocab);
    forward_rest(m->forward);
    for (int s = 0; s <= neighbours; s++)
        view_fini(&view[s], m->pool);
}

/* A past that nobody has read: latents of about ±0.5. */
static void fill(const struct loaded_model *m, const struct view *view, int sequence)
{
    struct kv_schema schema;
    forward_schema(m->forward, &schema);
    bool is_bf16 = forward_cache_type(m->forward) == MK_BF16;
    uint32_t x = 88172645u + (uint32_t)sequence;
    for (int p = 0; p < view->n; p++)
        for (size_t i = 0; i < kv_page_bytes(&schema, forward_cache_type(m->forward)) / 2; i++) {
            x = x * 1664525u + 1013904223u;
            uint16_t value =
                (uint16_t)((x >> 16 & 0x8000) | (is_bf16 ? 0x3e80 : 0x3400) | (x >> 20 & 0x7f));
            memcpy((char *)view->data[p] + 2 * i, &value, 2);
        }
}

/* Answers at the edges of parts and beyond, the first one's logits wanted. */
static void run_deep(struct loaded_model *m, int neighbours, float *logits)
{
    static const int depth[DEEP] = {2 * MK_ATTEND_PART - 1, 5, MK_ATTEND_PART - 1,
                                    3 * MK_ATTEND_PART + 77};
    static struct loaded_step step;
    struct view view[DEEP];
    for (int s = 0; s <= neighbours; s++) {
        if (view_init(&view[s], depth[s] + DEEP_ANSWER, 0) < 0 ||
            view_grow(&view[s], m->pool, depth[s] + DEEP_ANSWER) < 0)
            abort();
        fill(m, &view[s], s);
    }
    for (int i = 0; i < DEEP_ANSWER; i++) {
        loaded_step_clear(&step);
        for (int s = neighbours; s >= 0; s--)
            loaded_step_add(&step, &view[s], token_of(m, s, i), depth[s] + i, s == 0);
        step.rows.n_decode = step.rows.n;
        forward_run(m->forward, &step.rows);
    }
    forward_logits(m->forward, 0, logits);
    forward_rest(m->forward);
    for (int s = 0; s <= neighbours; s++)
        view_fini(&view[s], m->pool);
}

static void check_same(const float *truth, const float *is, size_t bytes, const char *isa,
                       const char *what, int threads, int chunk, int neighbours)
{
    bool same = !memcmp(truth, is, bytes);
    *(same ? &n_passed : &n_failed) += 1;
    if (!same)
        printf("FAIL  %s, %s: %d threads, chunks of %d, %d neighbours\n", isa, what, threads, chunk,
               neighbours);
}

static void check_isa(const char *path, const char *isa)
{
#ifdef SANITIZED /* some of all: watched, each takes its time */
    static const int chunks[] = {PROMPT, 7}, others[] = {0, MAX_NEIGHBOURS};
#else
    static const int chunks[] = {PROMPT, 1, 7, 32, 50}, others[] = {0, 1, MAX_NEIGHBOURS};
#endif
    float *truth = NULL, *deep = NULL, *logits = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        struct loaded_model m;
        if (!loaded_open(&m, path, "cpu", isa, threads))
            return;
        size_t bytes = 2 * (size_t)m.vocab * sizeof *logits;
        if (!truth) {
            truth = malloc(bytes);
            logits = malloc(bytes);
            deep = malloc(bytes);
            run(&m, PROMPT, 0, truth);
            run_deep(&m, 0, deep);
        }
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            for (size_t o = 0; o < sizeof others / sizeof *others; o++) {
                run(&m, chunks[c], others[o], logits);
                check_same(truth, logits, bytes, isa, "read and answered", threads, chunks[c],
                           others[o]);
            }
        }
        for (int o = 0; o < DEEP; o += DEEP - 1) {
            run_deep(&m, o, logits);
            check_same(deep, logits, bytes / 2, isa, "answered at depth", threads, 1, o);
        }
        loaded_close(&m);
    }
    free(truth);
    free(deep);
    free(logits);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: test_invariance MODEL.gguf [ISA…]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        check_isa(argv[1], argv[i]);
    for (int i = 0; argc == 2 && mk_isa_names[i]; i++)
        check_isa(argv[1], mk_isa_names[i]);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
