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
    if (b->token && b->position && b->wanted && b->page && b->seq && b->n_rows && b->logits)
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
    b->n_seqs = 0;
}

int batch_room(const struct batch *b)
{
    return b->max_rows - b->rows.n;
}

void batch_add(struct batch *b, struct seq *seq, int n)
{
    int waiting = seq_n_waiting(seq);
    if (n > waiting)
        n = waiting;
    for (int i = 0; i < n; i++) {
        int row = b->rows.n++;
        b->token[row] = seq->token[seq->n_cached + i];
        b->position[row] = seq->n_cached + i;
        b->page[row] = seq->view.data;
    }
    if (seq_is_decoding(seq))
        b->rows.n_decode = b->rows.n; /* they come first */
    b->seq[b->n_seqs] = seq;
    b->n_rows[b->n_seqs] = n;
    b->logits[b->n_seqs] = -1;
    if (n == waiting) {
        b->logits[b->n_seqs] = b->rows.n_wanted;
        b->wanted[b->rows.n_wanted++] = b->rows.n - 1;
    }
    b->n_seqs++;
}
