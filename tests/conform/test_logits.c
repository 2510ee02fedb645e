/* SPDX-License-Identifier: MIT
 *
 * Compares the logits of a model file with those of an independent float32 implementation.
 *
 *     test_logits MODEL.gguf REFERENCE.json
 *
 * Place ref, both forms of attention: the 20 best log-probabilities within 2e-3, and the two forms
 * within 1e-3 of each other. Place cpu on every instruction set, with the arithmetic of prompts and
 * with that of answers: mean KL (over the reference's 20 tokens and one bucket for the rest) at
 * most 2e-3, and the same argmax wherever the reference's best is ahead by more than 0.1 nat; to
 * place ref, at all positions and over all tokens, mean KL at most 2e-3 and the same argmax
 * where it is ahead by more than 0.2. Positions at which rounding may choose other experts don't
 * count: see fixture/judge.py.
 */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture/texts.h"

enum { TOP = 20 };

struct run {        /* the log-probabilities after every token of every prompt */
    float *logprob; /* [positions][vocab] */
};

static int n_passed, n_failed, vocab;
static json_t *prompts;
static struct texts texts;          /* the same */
static size_t start[TEXTS_MAX + 1]; /* position of each prompt's first token among all */

static void check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void check(bool ok, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    printf("%s  ", ok ? "ok  " : "FAIL");
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
    *(ok ? &n_passed : &n_failed) += 1;
}

static void read_prompts(void)
{
    for (size_t i = 0; i < json_array_size(prompts) && i < TEXTS_MAX; i++) {
        const json_t *ids = json_object_get(json_array_get(prompts, i), "ids");
        size_t n = json_array_size(ids);
        int32_t *copy = calloc(n, sizeof *copy);
        for (size_t t = 0; copy && t < n; t++)
            copy[t] = (int32_t)json_integer_value(json_array_get(ids, t));
        texts.ids[i] = copy;
        texts.length[i] = (int)n;
        texts.n++;
        start[i + 1] = start[i] + n;
    }
}

static float *at(const struct run *run, size_t prompt, size_t position)
{
    return run->logprob + (start[prompt] + position) * (size_t)vocab;
}

static float *last(const struct run *run, size_t prompt)
{
    return at(run, prompt, start[prompt + 1] - start[prompt] - 1);
}

static void keep(void *arg, int text, int position, float *logits)
{
    texts_log_softmax(logits, vocab);
    memcpy(at(arg, (size_t)text, (size_t)position), logits, (size_t)vocab * sizeof *logits);
}

/* Empty if this processor lacks the instruction set. */
static struct run run_place(const char *path, const char *kind, const char *isa, enum texts_as as)
{
    struct run run = {0};
    struct loaded_model m;
    if (!loaded_open(&m, path, kind, isa, 2))
        return run;
    vocab = m.vocab;
    run.logprob = calloc(start[texts.n] * (size_t)vocab, sizeof *run.logprob);
    if (!run.logprob)
        abort();
    texts_run(&m, &texts, as, keep, &run);
    loaded_close(&m);
    return run;
}

struct reference {
    int id[TOP];
    double logprob[TOP];
    const json_t *argmax;
    bool is_narrow; /* rounding may choose other experts for its last token */
};

static bool is_narrow(size_t prompt, size_t position)
{
    const json_t *all = json_object_get(json_array_get(prompts, prompt), "narrow");
    for (size_t i = 0; i < json_array_size(all); i++)
        if ((size_t)json_integer_value(json_array_get(all, i)) == position)
            return true;
    return false;
}

static struct reference reference(size_t i)
{
    const json_t *p = json_array_get(prompts, i);
    struct reference ref = {.argmax = json_object_get(p, "argmax_per_position")};
    double sum = json_number_value(json_object_get(p, "logsumexp"));
    ref.is_narrow = is_narrow(i, json_array_size(ref.argmax) - 1);
    for (size_t t = 0; t < TOP; t++) {
        const json_t *pair = json_array_get(json_object_get(p, "top"), t);
        ref.id[t] = (int)json_integer_value(json_array_get(pair, 0));
        ref.logprob[t] = json_number_value(json_array_get(pair, 1)) - sum;
    }
    return ref;
}

static double top_distance(const struct run *run, size_t i)
{
    struct reference ref = reference(i);
    double worst = 0;
    for (int t = 0; t < TOP; t++)
        worst = fmax(worst, fabs((double)last(run, i)[ref.id[t]] - ref.logprob[t]));
    return worst;
}

static double kl(const struct run *run, size_t i)
{
    struct reference ref = reference(i);
    double sum = 0, rest_p = 1, rest_q = 1;
    for (int t = 0; t < TOP; t++) {
        double p = exp(ref.logprob[t]);
        double q = (double)last(run, i)[ref.id[t]];
        sum += p * (ref.logprob[t] - q);
        rest_p -= p;
        rest_q -= exp(q);
    }
    if (rest_p > 1e-9 && rest_q > 1e-9)
        sum += rest_p * log(rest_p / rest_q);
    return fabs(sum);
}

static void check_ref(const char *path, const char *kind, struct run *run)
{
    *run = run_place(path, kind, NULL, TEXTS_READ);
    double worst = 0;
    int same = 0, all = 0;
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        struct reference ref = reference(i);
        worst = fmax(worst, top_distance(run, i));
        for (size_t t = 0; t < json_array_size(ref.argmax); t++, all++)
            same += texts_argmax(at(run, i, t), vocab) ==
                    (int32_t)json_integer_value(json_array_get(ref.argmax, t));
    }
    check(worst <= 2e-3, "%s: top 20 log-probabilities within %.2g (at most 2e-3)", kind, worst);
    check(same >= all - all / 100, "%s: argmax of %d of %d positions", kind, same, all);
}

/* Against the other implementation, behind each prompt. */
static void check_last(const char *isa, const char *as, const struct run *run)
{
    double sum = 0;
    int wrong = 0, clear = 0, n = 0;
    for (size_t i = 0; i < (size_t)texts.n; i++) {
        struct reference ref = reference(i);
        if (ref.is_narrow)
            continue;
        n++;
        sum += kl(run, i);
        if (ref.logprob[0] - ref.logprob[1] <= 0.1)
            continue;
        clear++;
        wrong += texts_argmax(last(run, i), vocab) != ref.id[0];
    }
    check(n > 0 && sum / n <= 2e-3, "cpu %s, %s: mean KL %.2g of %d (at most 2e-3)", isa, as,
          sum / n, n);
    check(wrong == 0, "cpu %s, %s: %d of %d clear argmaxes differ", isa, as, wrong, clear);
}

/* Against place ref, everywhere. */
static void check_all(const char *isa, const char *as, const struct run *run,
                      const struct run *truth)
{
    double sum = 0;
    int wrong = 0, n = 0;
    for (size_t i = 0; i < (size_t)texts.n; i++)
        for (size_t t = 0; t < (size_t)texts.length[i]; t++) {
            if (is_narrow(i, t))
                continue;
            n++;
            sum += texts_kl(at(truth, i, t), at(run, i, t), vocab);
            wrong += !texts_agree(at(truth, i, t), at(run, i, t), vocab, 0.2f);
        }
    check(n > 0 && sum / n <= 2e-3, "cpu %s, %s: mean KL to ref %.2g of %d (at most 2e-3)", isa, as,
          sum / n, n);
    check(wrong == 0, "cpu %s, %s: %d of %d positions have clearly another argmax", isa, as, wrong,
          n);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: test_logits MODEL.gguf REFERENCE.json\n");
        return 2;
    }
    json_error_t json_error;
    json_t *root = json_load_file(argv[2], 0, &json_error);
    prompts = json_object_get(root, "prompts");
    if (!prompts || json_array_size(prompts) == 0) {
        fprintf(stderr, "%s: %s\n", argv[2], root ? "no prompts" : json_error.text);
        return 2;
    }
    read_prompts();
    struct run absorbed, naive;
    check_ref(argv[1], "ref", &absorbed);
    check_ref(argv[1], "ref-naive", &naive);
    double worst = 0;
    for (size_t i = 0; i < start[texts.n] * (size_t)vocab; i++)
        if (absorbed.logprob[i] > -20)
            worst = fmax(worst, fabs((double)absorbed.logprob[i] - (double)naive.logprob[i]));
    check(worst <= 1e-3, "absorbed and naive attention differ by %.2g (at most 1e-3)", worst);
    free(naive.logprob);
    for (int i = 0; mk_isa_names[i]; i++)
        for (int as = 0; texts_as_names[as]; as++) {
            struct run run = run_place(argv[1], "cpu", mk_isa_names[i], (enum texts_as)as);
            if (!run.logprob)
                break;
            check_last(mk_isa_names[i], texts_as_names[as], &run);
            check_all(mk_isa_names[i], texts_as_names[as], &run, &absorbed);
            free(run.logprob);
        }
    free(absorbed.logprob);
    for (int i = 0; i < texts.n; i++)
        free((void *)texts.ids[i]);
    json_decref(root);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
