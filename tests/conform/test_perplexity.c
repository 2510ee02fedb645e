/* SPDX-License-Identifier: MIT
 *
 * What do fast kernels cost a trained model on text it has not seen?
 *
 *     test_perplexity MODEL.gguf TEXTS.jsonl [N TOKENS]
 *
 * A line is {"text":…}. Of N of them, evenly spread, the first TOKENS tokens; all of all without.
 * Place cpu, on every instruction set, with the arithmetic of prompts and with that of answers, has
 * a perplexity within 0.5 % of place ref's, a mean KL to it of at most 2e-3, and wherever ref's
 * argmax is ahead by more than 0.1 nat the same one, but for one position in 100: where experts win
 * narrowly rounding decides.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture/texts.h"
#include "text/token.h"

enum { MOST_TEXTS = 1000, MOST_RUNS = 16, GROUP = 8 };

struct run {
    struct loaded_model m;
    const char *isa;
    enum texts_as as;
    double loss, kl; /* sums */
    int wrong;
};

static struct run truth, runs[MOST_RUNS];
static int n_runs, n_tokens;
static struct texts group;
static float *logprob[TEXTS_MAX]; /* of ref, [length][vocab] */
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
    n_tokens++;
}

static void compare(void *arg, int text, int position, float *logits)
{
    struct run *run = arg;
    const float *p = truth_at(text, position);
    texts_log_softmax(logits, run->m.vocab);
    run->loss += loss_of(text, position, logits);
    run->kl += texts_kl(p, logits, run->m.vocab);
    run->wrong += !texts_agree(p, logits, run->m.vocab, 0.1f);
}

static void run_group(void)
{
    for (int t = 0; t < group.n; t++) {
        logprob[t] = calloc((size_t)group.length[t] * (size_t)truth.m.vocab, sizeof **logprob);
        if (!logprob[t])
            abort();
    }
    texts_run(&truth.m, &group, TEXTS_READ, keep, &truth);
    for (int i = 0; i < n_runs; i++)
        texts_run(&runs[i].m, &group, runs[i].as, compare, &runs[i]);
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
            if (!loaded_open(&run->m, path, "cpu", run->isa, 2))
                break;
            n_runs++;
        }
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 5) {
        fprintf(stderr, "usage: test_perplexity MODEL.gguf TEXTS.jsonl [N TOKENS]\n");
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
        const struct run *run = &runs[i];
        double off = exp(run->loss / losses) / ref - 1, kl = run->kl / n_tokens;
        bool good = fabs(off) <= 5e-3 && kl <= 2e-3 && run->wrong <= n_tokens / 100;
        printf("%s  cpu %s, %s: perplexity %+.4f %% (at most 0.5), mean KL %.2g (at most 2e-3), "
               "%d of %d argmaxes clearly differ\n",
               good ? "ok  " : "FAIL", run->isa, texts_as_names[run->as], 100 * off, kl, run->wrong,
               n_tokens);
        failed |= !good;
        loaded_close(&runs[i].m);
    }
    loaded_close(&truth.m);
    for (int i = 0; i < n_texts; i++)
        free(texts[i]);
    return failed || n_runs == 0;
}
