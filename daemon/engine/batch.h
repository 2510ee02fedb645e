/* SPDX-License-Identifier: MIT
 *
 * The rows of one step: a row for each decoding sequence, or chunks of prompts.
 *
 * Owned by the engine's thread; all room is asked for once.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "engine/seq.h"
#include "place/op.h"

struct batch {
    struct rows rows; /* points into the arrays below */
    int max_rows;
    int32_t *token, *position, *wanted;
    void *const **page;
    struct seq **seq; /* [n_seqs] who has rows in this step */
    int *n_rows;      /* [n_seqs] how many */
    int *logits;      /* [n_seqs] index of its last row's logits, -1: it has more to read first */
    int *prompt;      /* [n_seqs] index of its first row's logits, if all rows have them, else -1 */
    int n_prompt;     /* rows of those sequences */
    int n_seqs;
};

int batch_init(struct batch *batch, int max_rows); /* -ENOMEM */
void batch_fini(struct batch *batch);

void batch_clear(struct batch *batch);
/* Appends up to n of the sequence's waiting tokens, as far as their rows are made alike; its pages
 * must be in place. Call with sequences in a fixed order, those first that are writing. The row of
 * its last token is wanted, and of a prompt whose log-probabilities were asked for all: at most
 * ENGINE_PROMPT_ROWS in a step, of all of them. */
void batch_add(struct batch *batch, struct seq *seq, int n);
