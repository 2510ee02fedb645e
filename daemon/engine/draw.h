/* SPDX-License-Identifier: MIT
 *
 * What comes of a sequence's rows: a token is drawn and told, a prompt's log-probabilities, an
 * embedding.
 *
 * The engine's thread's; nothing is allocated after draw_open().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/sample.h"

struct forward;
struct outbox;
struct seq;

struct draw {
    const struct model *model;
    struct outbox *outbox;
    struct candidates candidates;
    float *logits;
    float *hidden;   /* of a row, behind the last norm */
    uint8_t *banned; /* [vocabulary] rows that are no token of it */
};

/* Why nothing can come of them. */
struct draw_fault {
    char text[ENGINE_TEXT_BYTES];
};

int draw_open(struct draw *draw, const struct model *model, struct outbox *outbox); /* -ENOMEM */
void draw_close(struct draw *draw);

/* The sequence goes on by a token, drawn from the step's logits `logits`; -EINVAL. */
int32_t draw_token(struct draw *draw, struct forward *forward, struct seq *seq, int logits,
                   uint64_t now_ns, struct draw_fault *fault);
/* Tells how probable the tokens behind its prompt's n last rows were; -EINVAL. */
int draw_scores(struct draw *draw, struct forward *forward, struct seq *seq, int logits, int n,
                struct draw_fault *fault);
/* Takes n of the step's rows, from `row` on, into an embedding, and tells it when it is whole,
 * which is 1; -EINVAL. */
int draw_embedding(struct draw *draw, struct forward *forward, struct seq *seq, int row, int n,
                   struct draw_fault *fault);
