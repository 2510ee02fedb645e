/* SPDX-License-Identifier: MIT
 *
 * What do fast kernels cost a trained model on text it has not seen?
 *
 *     test_perplexity [--int8] MODEL.gguf TEXTS.jsonl [N TOKENS]
 *
 * A line is {"text":…}. Of N of them, evenly spread, the first TOKENS tokens; all of all without.
 * Place cpu, on every instruction set, with the arithmetic of prompts and with that of answers, has
 * a perplexity within 0.5 % of place ref's and a mean KL to it of at most 2e-3. What is left is
 * split in two. With the experts that ref chose no argmax is another where ref's is clearly ahead,
 * but for what chance makes of small leads: compare.h. And where it would choose others, ref chose
 * them narrowly, by less than what rounding may move scores by: choices.h. With --int8 place cpu
 * caches latents so.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture/choices.h"
#include "../fixture/compare.h"
#include "../fixture/texts.h"
#include "text/token.h"

enum { MOST_TEXTS = 1000, MOST_RUNS = 16, GROUP = 8 };

struct run {
    struct loaded_model m;
    const char *isa;
    enum texts_as as;
    double loss;                   /* a sum */
    struct compare left, followed; /* left to itself; with ref's experts */
    struct choices_off off;        /* what it would choose, following */
    long n_other;                  /* choices of others, left to itself */
    const struct choices *follow;  /* now */
    struct compare now;
};

static struct run truth, runs[MOST_RUNS];
static int n_runs;
static const char *cache; /* of place cpu */
static struct texts group;
static float *logprob[TEXTS_MAX]; /* of ref, [length][vocab] */
static struct choices chosen;     /* by ref, for the group */
static int32_t *texts[MOST_TEXTS];
static int length[MOST_TEXTS], n_texts;

static int32_t *encode(const struct vocab *vocab, const char *text, int *n)
{
    struct ids ids = {0};
    struct err err = {0};
    if ((vocab_add_bos(vocab) && ids_push(&ids, vocab_bos(vocab)) < 0) ||
        vocab_encode(vocab, text, strlen(text), 0, &ids, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    *n = (int)ids.n;
    return ids.id;
}

/* Every line, its text encoded. */
static void read_texts(const char *path, const struct vocab *vocab)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    while (file && n_texts < MOST_TEXTS && getline(&line, &room, file) > 0) {
        json_t *object = json_loads(line, 0, NULL);
        const char *text = json_string_value(json_object_get(object, "text"));
        if (!text) {
            fprintf(stderr, "%s:%d: no text\n", path, n_texts + 1);
            exit(2);
        }
        texts[n_texts] = encode(vocab, text, &length[n_texts]);
        n_texts++;
        json_decref(object);
    }
    if (!n_texts) {
        fprintf(stderr, "%s: no texts\n", path);
        exit(2);
    }
    free(line);
    fclose(file);
}

/* Minus the log-probability of the token that follows; 0 behind the last. */
static double loss_of(int text, int position, const float *p)
{
    return position + 1 < group.length[text] ? -(double)p[group.ids[text][position + 1]] : 0;
}

static float *truth_at(int text, int position)
{
    return logprob[text] + (size_t)position * (size_t)truth.m.vocab;
}

static void keep(void *arg, int text, int position, float *logits)
{
    struct run *run = arg;
    texts_log_softmax(logits, run->m.vocab);
    memcpy(truth_at(text, position), logits, (size_t)run->m.vocab * sizeof *logits);
    run->loss += loss_of(text, position, logits);
}

static void compare(void *arg, int text, int position, float *logits)
{
    struct run *run = arg;
    texts_log_softmax(logits, run->m.vocab);
    if (!run->follow)
        run->loss += loss_of(text, position, logits);
    compare_add(&run->now, truth_at(text, position), logits, run->m.vocab);
}

static void run_as(struct run *run, const struct choices *follow, struct compare *sum,
                   struct choices *ret)
{
    compare_fini(&run->now);
    run->now = (struct compare){0};
    run->follow = follow;
    choices_init(ret, chosen.n_tokens);
    texts_run(&run->m, &group, run->as, ret, follow, compare, run);
    compare_join(sum, &run->now);
}

/* Left to itself; and, where it chose others, with ref's experts as well. */
static void run_both(struct run *run)
{
    struct choices own;
    struct choices_off off = {0};
    run_as(run, NULL, &run->left, &own);
    choices_compare(&off, &chosen, &own);
    run->n_other += off.other;
    if (off.other) {
        choices_fini(&own);
        run_as(run, &chosen, &run->followed, &own);
    } else {
        compare_join(&run->followed, &run->now);
    }
    choices_compare(&run->off, &chosen, &own);
    choices_fini(&own);
}

static void run_group(void)
{
    int n = 0;
    for (int t = 0; t < group.n; n += group.length[t++]) {
        logprob[t] = calloc((size_t)group.length[t] * (size_t)truth.m.vocab, sizeof **logprob);
        if (!logprob[t])
            abort();
    }
    choices_init(&chosen, n);
    texts_run(&truth.m, &group, TEXTS_READ, &chosen, NULL, keep, &truth);
    for (int i = 0; i < n_runs; i++)
        run_both(&runs[i]);
    choices_fini(&chosen);
    for (int t = 0; t < group.n; t++)
        free(logprob[t]);
    group.n = 0;
}

static void open_runs(const char *path)
{
    for (int i = 0; mk_isa_names[i]; i++)
        for (int as = 0; texts_as_names[as]; as++) {
            struct run *run = &runs[n_runs];
            *run = (struct run){.isa = mk_isa_names[i], .as = (enum texts_as)as};
            const struct place_spec spec = {
                .kind = "cpu", .isa = run->isa, .threads = 2, .cache = cache};
            if (!loaded_open_on(&run->m, path, &spec))
                break;
            n_runs++;
        }
}

static bool judge(const struct run *run, double off)
{
    struct compare_verdict left, followed;
    struct choices_verdict choices;
    compare_judge(&run->left, &left);
    compare_judge(&run->followed, &followed);
    choices_judge(&run->off, &choices);
    bool good = fabs(off) <= 5e-3 && left.kl <= COMPARE_KL && followed.holds && choices.holds;
    printf("%s  cpu %s, %s: perplexity %+.4f %% (at most 0.5), mean KL %.2g (at most %g); %d of %d "
           "clear leads are lost, %ld of %ld experts' sets are others\n",
           good ? "ok  " : "FAIL", run->isa, texts_as_names[run->as], 100 * off, left.kl,
           COMPARE_KL, left.lost, left.clear, run->n_other, run->off.n);
    compare_print(&followed);
    choices_print(&choices);
    return good;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--int8")) {
        cache = "int8";
        argv++, argc--;
    }
    if (argc != 3 && argc != 5) {
        fprintf(stderr, "usage: test_perplexity [--int8] MODEL.gguf TEXTS.jsonl [N TOKENS]\n");
        return 2;
    }
    loaded_open(&truth.m, argv[1], "ref", NULL, 1);
    open_runs(argv[1]);
    read_texts(argv[2], model_vocab(truth.m.model));
    int n = argc == 5 ? atoi(argv[3]) : n_texts, most = argc == 5 ? atoi(argv[4]) : 1 << 20;
    int losses = 0, failed = 0;
    for (int i = 0; i < n && i < n_texts; i++) {
        int text = (int)((long)i * n_texts / n);
        group.ids[group.n] = texts[text];
        group.length[group.n] = length[text] < most ? length[text] : most;
        losses += group.length[group.n] - 1;
        if (++group.n == GROUP || i + 1 == n)
            run_group();
    }
    double ref = exp(truth.loss / losses);
    printf("      ref: perplexity %.4f over %d tokens\n", ref, losses);
    for (int i = 0; i < n_runs; i++) {
        failed |= !judge(&runs[i], exp(runs[i].loss / losses) / ref - 1);
        compare_fini(&runs[i].left);
        compare_fini(&runs[i].followed);
        compare_fini(&runs[i].now);
        loaded_close(&runs[i].m);
    }
    loaded_close(&truth.m);
    for (int i = 0; i < n_texts; i++)
        free(texts[i]);
    return failed || n_runs == 0;
}
