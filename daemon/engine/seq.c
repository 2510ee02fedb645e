/* SPDX-License-Identifier: MIT */
#include "engine/seq.h"

#include <string.h>

#include "text/token.h"

/* Which rows of the prompt are to be made as those of answers. */
static int set_answers(struct seq *seq, const struct engine_request *q)
{
    if (!q->is_replay)
        return 0;
    seq->answers = calloc((size_t)view_pages(q->n_prompt), sizeof *seq->answers);
    if (!seq->answers)
        return -ENOMEM;
    for (int i = 0, at = 0; i < q->n_runs; at += q->run[i++])
        for (int row = at; i % 2 && row < at + q->run[i]; row++)
            seq->answers[row / PAGE_TOKENS] |= 1u << row % PAGE_TOKENS;
    return 0;
}

int seq_new(uint64_t call, struct engine_request *request, const struct vocab *vocab, int limit,
            int logits, struct seq **ret)
{
    struct seq *seq = calloc(1, sizeof *seq);
    if (!seq) {
        engine_request_free(request);
        return -ENOMEM;
    }
    seq->call = call;
    seq->request = request;
    seq->limit = limit;
    seq->token = calloc((size_t)limit, sizeof *seq->token);
    int r = seq->token ? view_init(&seq->view, limit, request->uid) : -ENOMEM;
    if (r == 0)
        r = set_answers(seq, request);
    if (r == 0)
        r = detok_init(&seq->detok, vocab, request->show_special,
                       (const char *const *)request->stops, request->n_stops, NULL);
    if (r == 0)
        r = sampler_init(&seq->sampler, &request->sample, logits, vocab, limit);
    if (r < 0) {
        seq_free(seq, NULL);
        return r;
    }
    seq->view.talk = request->talk;
    memcpy(seq->token, request->prompt, (size_t)request->n_prompt * sizeof *seq->token);
    seq->n_tokens = request->n_prompt;
    think_init(&seq->think, &request->think);
    sampler_saw_prompt(&seq->sampler, seq->token, seq->n_tokens);
    *ret = seq;
    return 0;
}

void seq_free(struct seq *seq, struct page_pool *pool)
{
    if (!seq)
        return;
    view_fini(&seq->view, pool);
    detok_fini(&seq->detok);
    sampler_fini(&seq->sampler);
    engine_request_free(seq->request);
    free(seq->answers);
    mean_fini(&seq->mean);
    free(seq->token);
    free(seq);
}

void seq_accept(struct seq *seq, int32_t id, const struct vocab *vocab)
{
    size_t n = 0;
    const char *bytes = vocab_is_special(vocab, id) ? "" : vocab_bytes(vocab, id, &n);
    seq->token[seq->n_tokens++] = id;
    sampler_accept(&seq->sampler, id);
    think_accept(&seq->think, id, bytes, n);
}

int seq_n_generated(const struct seq *seq)
{
    return seq->n_tokens - seq->request->n_prompt;
}

int seq_n_waiting(const struct seq *seq)
{
    return seq->n_tokens - seq->n_cached;
}

bool seq_is_decoding(const struct seq *seq)
{
    return seq->n_tokens > seq->request->n_prompt;
}

static bool is_answer(const struct seq *seq, int row)
{
    return row >= seq->request->n_prompt ||
           (seq->answers && seq->answers[row / PAGE_TOKENS] >> row % PAGE_TOKENS & 1);
}

bool seq_is_writing(const struct seq *seq)
{
    return is_answer(seq, seq->n_cached);
}

int seq_n_alike(const struct seq *seq, int n)
{
    int end = seq->n_cached;
    while (end < seq->n_cached + n && is_answer(seq, end) == is_answer(seq, seq->n_cached))
        end++;
    return end - seq->n_cached;
}

bool seq_is_full(const struct seq *seq)
{
    return seq->n_tokens >= seq->limit;
}
