/* SPDX-License-Identifier: MIT */
#include "engine/draw.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/haste.h"
#include "engine/outbox.h"
#include "engine/score.h"
#include "engine/seq.h"
#include "model/forward.h"
#include "model/model.h"
#include "text/token.h"

int draw_open(struct draw *d, const struct model *model, struct outbox *outbox)
{
    const struct vocab *words = model_vocab(model);
    int vocab = model_hparams(model)->vocab;
    *d = (struct draw){.model = model, .outbox = outbox};
    d->logits = calloc((size_t)vocab, sizeof *d->logits);
    d->banned = calloc((size_t)vocab, 1);
    d->hidden = calloc((size_t)model_hparams(model)->hidden, sizeof *d->hidden);
    if (!d->logits || !d->banned || !d->hidden)
        return -ENOMEM;
    for (int32_t id = 0; id < vocab; id++)
        d->banned[id] = id >= vocab_size(words) || vocab_is_unused(words, id);
    return candidates_init(&d->candidates, vocab);
}

void draw_close(struct draw *d)
{
    candidates_fini(&d->candidates);
    free(d->logits);
    free(d->hidden);
    free(d->banned);
}

static int n_logits(const struct draw *d)
{
    return model_hparams(d->model)->vocab;
}

/* The logits behind the sequence's first n tokens, and the logarithm of their sum. */
static int fetch(struct draw *d, struct forward *forward, int logits, int n, double *log_sum,
                 struct draw_fault *fault)
{
    forward_logits(forward, logits, d->logits);
    *log_sum = sample_log_sum(d->logits, n_logits(d));
    if (isfinite(*log_sum))
        return 0;
    snprintf(fault->text, sizeof fault->text, "non-finite logits at token %d", n);
    return -EINVAL;
}

/* -1: there is nothing left to choose from. */
static int32_t choose(struct draw *d, struct seq *seq, uint64_t now_ns)
{
    if (!seq_is_decoding(seq))
        haste_begin(seq, now_ns);
    int32_t id = sampler_draw(&seq->sampler, d->logits, d->banned, &d->candidates);
    id = think_limit(&seq->think, id, now_ns);
    if (id >= 0)
        seq_accept(seq, id, model_vocab(d->model));
    return id;
}

int32_t draw_token(struct draw *d, struct forward *forward, struct seq *seq, int logits,
                   uint64_t now_ns, struct draw_fault *fault)
{
    double log_sum;
    int r = fetch(d, forward, logits, seq->n_tokens, &log_sum, fault);
    if (r < 0)
        return r;
    int32_t id = choose(d, seq, now_ns);
    if (id < 0) {
        snprintf(fault->text, sizeof fault->text,
                 "every token is banned, by logit_bias or by banned strings");
        return -EINVAL;
    }
    struct engine_event event = {.call = seq->call, .kind = ENGINE_TOKEN, .id = id};
    if (seq->request->top_logprobs >= 0)
        score(d->logits, n_logits(d), log_sum, seq->request->top_logprobs, &event);
    const char *text;
    size_t bytes;
    detok_push(&seq->detok, id, &text, &bytes);
    outbox_push_text(d->outbox, &event, text, bytes);
    return id;
}

int draw_scores(struct draw *d, struct forward *forward, struct seq *seq, int logits, int n,
                struct draw_fault *fault)
{
    int top = seq->request->top_logprobs > 0 ? seq->request->top_logprobs : 0;
    for (int at = seq->n_cached - n + 1; at <= seq->n_cached; at++, logits++) {
        double log_sum;
        if (at == seq->n_tokens)
            return 0; /* what follows the last is yet to be drawn */
        int r = fetch(d, forward, logits, at, &log_sum, fault);
        if (r < 0)
            return r;
        struct engine_event event = {
            .call = seq->call, .kind = ENGINE_PROMPT, .id = seq->token[at]};
        score(d->logits, n_logits(d), log_sum, top, &event);
        outbox_push(d->outbox, &event);
    }
    return 0;
}

static void tell_mean(struct draw *d, const struct seq *seq)
{
    struct engine_event event = {.call = seq->call, .kind = ENGINE_VALUES};
    for (int i = 0; i < seq->mean.dims; i++) {
        event.value[event.n_values++] = mean_at(&seq->mean, i);
        if (event.n_values < ENGINE_NUMBERS && i + 1 < seq->mean.dims)
            continue;
        outbox_push(d->outbox, &event);
        event.n_values = 0;
    }
}

int draw_embedding(struct draw *d, struct forward *forward, struct seq *seq, int row, int n,
                   struct draw_fault *fault)
{
    for (int end = row + n; row < end; row++) {
        forward_hidden(forward, row, d->hidden);
        mean_add(&seq->mean, d->hidden);
    }
    if (seq_n_waiting(seq) > 0)
        return 0;
    if (!mean_is_finite(&seq->mean)) {
        snprintf(fault->text, sizeof fault->text, "non-finite hidden states");
        return -EINVAL;
    }
    tell_mean(d, seq);
    return 1;
}
