/* SPDX-License-Identifier: MIT */
#include "engine/batch.h"

int batch_init(struct batch *b, int max_rows)
{
    size_t n = (size_t)max_rows;
    *b = (struct batch){.max_rows = max_rows};
    b->token = calloc(n, sizeof *b->token);
    b->position = calloc(n, sizeof *b->position);
    b->wanted = calloc(n, sizeof *b->wanted);
    b->page = calloc(n, sizeof *b->page);
    b->seq = calloc(n, sizeof *b->seq);
    b->n_rows = calloc(n, sizeof *b->n_rows);
    b->logits = calloc(n, sizeof *b->logits);
    b->prompt = calloc(n, sizeof *b->prompt);
    if (b->token && b->position && b->wanted && b->page && b->seq && b->n_rows && b->logits &&
        b->prompt)
        return 0;
    batch_fini(b);
    return -ENOMEM;
}

void batch_fini(struct batch *b)
{
    free(b->token);
    free(b->position);
    free(b->wanted);
    free(b->page);
    free(b->seq);
    free(b->n_rows);
    free(b->logits);
    free(b->prompt);
    *b = (struct batch){0};
}

void batch_clear(struct batch *b)
{
    b->rows = (struct rows){
        .token = b->token,
        .position = b->position,
        .page = b->page,
        .wanted = b->wanted,
    };
    b->n_seqs = b->n_prompt = 0;
}

void batch_add(struct batch *b, struct seq *seq, int n)
{
    int waiting = seq_n_waiting(seq);
    bool all = seq->request->prompt_logprobs && !seq_is_decoding(seq);
    n = seq_n_alike(seq, n < waiting ? n : waiting);
    if (all && n > ENGINE_PROMPT_ROWS - b->n_prompt)
        n = ENGINE_PROMPT_ROWS - b->n_prompt;
    if (n == 0)
        return;
    for (int i = 0; i < n; i++) {
        int row = b->rows.n++;
        b->token[row] = seq->token[seq->n_cached + i];
        b->position[row] = seq->n_cached + i;
        b->page[row] = seq->view.data;
    }
    if (seq_is_writing(seq))
        b->rows.n_decode = b->rows.n; /* they come first */
    b->seq[b->n_seqs] = seq;
    b->n_rows[b->n_seqs] = n;
    b->prompt[b->n_seqs] = all ? b->rows.n_wanted : -1;
    b->n_prompt += all ? n : 0;
    bool is_last = n == waiting && !seq->request->is_embedding;
    for (int row = all ? b->rows.n - n : b->rows.n - is_last; row < b->rows.n; row++)
        b->wanted[b->rows.n_wanted++] = row;
    b->logits[b->n_seqs] = is_last ? b->rows.n_wanted - 1 : -1;
    b->n_seqs++;
}
