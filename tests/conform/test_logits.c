/* SPDX-License-Identifier: MIT
 *
 * Compares the logits of a model file with those of an independent float32 implementation.
 *
 *     test_logits [--int8] MODEL.gguf REFERENCE.json
 *
 * Place ref, both forms of attention: the 20 best log-probabilities within 2e-3, and the two forms
 * within 1e-3 of each other. Place cpu on every instruction set, with the arithmetic of prompts and
 * with that of answers: where it would choose other experts than ref, ref chose them narrowly
 * (choices.h); with ref's, mean KL to the reference (over its 20 tokens and one bucket for the
 * rest) at most 2e-3 and the same argmax wherever its best is ahead by a quarter of a nat; and to
 * place ref, at all positions and over all tokens, mean KL at most 2e-3 and no clear lead lost, but
 * for what chance makes of small ones (compare.h). With --int8 place cpu caches latents so.
 */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture/choices.h"
#include "../fixture/compare.h"
#include "../fixture/texts.h"

enum { TOP = 20 };

struct run {
    float *logprob; /* [positions][vocab] after every token of every prompt */
    struct choices choices;
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

static void run_texts(struct loaded_model *m, enum texts_as as, const struct choices *follow,
                      struct run *run)
{
    vocab = m->vocab;
    run->logprob = calloc(start[texts.n] * (size_t)vocab, sizeof *run->logprob);
    if (!run->logprob)
        abort();
    choices_init(&run->choices, (int)start[texts.n]);
    texts_run(m, &texts, as, &run->choices, follow, keep, run);
}

static void run_fini(struct run *run)
{
    free(run->logprob);
    choices_fini(&run->choices);
}

struct reference {
    int id[TOP];
    double logprob[TOP];
    const json_t *argmax;
};

static struct reference reference(size_t i)
{
    const json_t *p = json_array_get(prompts, i);
    struct reference ref = {.argmax = json_object_get(p, "argmax_per_position")};
    double sum = json_number_value(json_object_get(p, "logsumexp"));
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
    struct loaded_model m;
    *run = (struct run){0};
    loaded_open(&m, path, kind, NULL, 1);
    run_texts(&m, TEXTS_READ, NULL, run);
    loaded_close(&m);
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
static void check_last(const struct run *run)
{
    double sum = 0;
    int wrong = 0, clear = 0;
    for (size_t i = 0; i < (size_t)texts.n; i++) {
        struct reference ref = reference(i);
        sum += kl(run, i);
        if (ref.logprob[0] - ref.logprob[1] <= COMPARE_FAR * COMPARE_MOVED)
            continue;
        clear++;
        wrong += texts_argmax(last(run, i), vocab) != ref.id[0];
    }
    check(sum / texts.n <= COMPARE_KL, "  to the reference: mean KL %.2g (at most %g)",
          sum / texts.n, COMPARE_KL);
    check(wrong == 0, "  to the reference: %d of %d clear argmaxes differ", wrong, clear);
}

static void add_all(struct compare *sum, const struct run *run, const struct run *truth)
{
    for (size_t i = 0; i < start[texts.n] * (size_t)vocab; i += (size_t)vocab)
        compare_add(sum, truth->logprob + i, run->logprob + i, vocab);
}

/* Against place ref, everywhere. */
static void check_all(const struct run *run, const struct run *truth)
{
    struct compare sum = {0};
    struct compare_verdict verdict;
    struct choices_off off = {0};
    struct choices_verdict choices;
    add_all(&sum, run, truth);
    compare_judge(&sum, &verdict);
    choices_compare(&off, &truth->choices, &run->choices);
    choices_judge(&off, &choices);
    check(verdict.holds, "  to place ref:");
    compare_print(&verdict);
    check(choices.holds, "  experts:");
    choices_print(&choices);
    compare_fini(&sum);
}

/* Left to itself a place's router chooses as its scores say: up to the first token for which that
 * is not what ref chose, following changes nothing but how bent weights are rounded. */
static void check_router(const struct run *left, const struct run *followed,
                         const struct run *truth)
{
    double worst = 0;
    int n = 0;
    for (int i = 0; i < texts.n; i++) {
        int first = (int)start[i],
            alike = choices_alike(&left->choices, &truth->choices, first, texts.length[i]);
        for (size_t j = start[i] * (size_t)vocab; j < (start[i] + (size_t)alike) * (size_t)vocab;
             j++)
            worst = fmax(worst, fabs((double)left->logprob[j] - (double)followed->logprob[j]));
        n += alike;
    }
    check(worst <= COMPARE_MOVED,
          "  following changes %d positions that chose alike by %.2g (at most %g)", n, worst,
          COMPARE_MOVED);
}

/* Left to itself; and with ref's experts, where it chose others. */
static void check_cpu(struct loaded_model *m, const char *isa, enum texts_as as,
                      const struct run *truth)
{
    struct run run = {0};
    struct compare left = {0};
    struct compare_verdict verdict;
    struct choices_off off = {0};
    run_texts(m, as, NULL, &run);
    add_all(&left, &run, truth);
    compare_judge(&left, &verdict);
    choices_compare(&off, &truth->choices, &run.choices);
    printf(
        "      cpu %s, %s: mean KL %.2g; %d of %d clear leads are lost, %ld of %ld experts' sets "
        "are others\n",
        isa, texts_as_names[as], verdict.kl, verdict.lost, verdict.clear, off.other, off.n);
    if (off.other) {
        struct run left_run = run;
        run_texts(m, as, &truth->choices, &run);
        check_router(&left_run, &run, truth);
        run_fini(&left_run);
    }
    check_last(&run);
    check_all(&run, truth);
    compare_fini(&left);
    run_fini(&run);
}

int main(int argc, char **argv)
{
    const char *cache = NULL;
    if (argc > 1 && !strcmp(argv[1], "--int8")) {
        cache = "int8";
        argv++, argc--;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: test_logits [--int8] MODEL.gguf REFERENCE.json\n");
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
    run_fini(&naive);
    for (int i = 0; mk_isa_names[i]; i++) {
        struct loaded_model m;
        const struct place_spec spec = {
            .kind = "cpu", .isa = mk_isa_names[i], .threads = 2, .cache = cache};
        if (!loaded_open_on(&m, argv[1], &spec))
            continue;
        for (int as = 0; texts_as_names[as]; as++)
            check_cpu(&m, mk_isa_names[i], (enum texts_as)as, &absorbed);
        loaded_close(&m);
    }
    run_fini(&absorbed);
    for (int i = 0; i < texts.n; i++)
        free((void *)texts.ids[i]);
    json_decref(root);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
