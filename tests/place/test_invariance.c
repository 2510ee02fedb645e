/* SPDX-License-Identifier: MIT
 *
 * What a row computes depends on nothing but the row: the logits of a prompt and of an answer to it
 * have the same bits for any number of threads, any cutting of the prompt into steps, and any
 * neighbours in them.
 *
 *     test_invariance MODEL.gguf [ISA…]
 */
#include <stdio.h>
#include <string.h>

#include "../fixture/loaded.h"

enum { PROMPT = 75, ANSWER = 9, MAX_NEIGHBOURS = 5 };

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

static void check_isa(const char *path, const char *isa)
{
#ifdef SANITIZED /* some of all: watched, each takes its time */
    static const int chunks[] = {PROMPT, 7}, others[] = {0, MAX_NEIGHBOURS};
#else
    static const int chunks[] = {PROMPT, 1, 7, 32, 50}, others[] = {0, 1, MAX_NEIGHBOURS};
#endif
    float *truth = NULL, *logits = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        struct loaded_model m;
        if (!loaded_open(&m, path, "cpu", isa, threads))
            return;
        size_t bytes = 2 * (size_t)m.vocab * sizeof *logits;
        if (!truth) {
            truth = malloc(bytes);
            logits = malloc(bytes);
            run(&m, PROMPT, 0, truth);
        }
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            for (size_t o = 0; o < sizeof others / sizeof *others; o++) {
                run(&m, chunks[c], others[o], logits);
                bool same = !memcmp(truth, logits, bytes);
                *(same ? &n_passed : &n_failed) += 1;
                if (!same)
                    printf("FAIL  %s: %d threads, chunks of %d, %d neighbours\n", isa, threads,
                           chunks[c], others[o]);
            }
        }
        loaded_close(&m);
    }
    free(truth);
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
