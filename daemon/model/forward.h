/* SPDX-License-Identifier: MIT
 *
 * A loaded model's program and its buffers: rows go in, logits come out.
 *
 * Made and used on the engine's thread. A step allocates nothing.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/own.h"
#include "kv/page.h"
#include "place/op.h"

struct cost;
struct forward;
struct model;

/* For steps of at most max_rows rows, max_wanted of them with logits. */
int forward_new(const struct model *model, int max_rows, int max_wanted, struct forward **ret,
                struct err *err);
/* Another of the same model and place, for smaller steps that may be under way at the same time, op
 * by op: it counts what experts are chosen into the first one's, which must outlive it. */
int forward_beside(const struct forward *first, const struct model *model, int max_rows,
                   int max_wanted, struct forward **ret, struct err *err);
void forward_free(struct forward *forward);
OWN_DEFINE(forward, forward_free);

/* What a model would take on a place, for steps of that size; nothing is read. */
struct forward_size {
    uint64_t weights, scratch; /* bytes; scratch holds buffers and logits too */
    uint64_t page;             /* bytes of a cache page of PAGE_TOKENS tokens */
};
int forward_measure(const struct model *model, struct place *place, int max_rows, int max_wanted,
                    struct forward_size *ret, struct err *err);
/* Bytes that one beside it takes. */
uint64_t forward_beside_bytes(const struct model *model, int max_rows, int max_wanted);

void forward_schema(const struct forward *forward, struct kv_schema *ret);
enum mk_type forward_cache_type(const struct forward *forward);

/* Runs one step. Rows of one sequence must come in ascending position, their pages in place. */
void forward_run(struct forward *forward, const struct rows *rows);
/* The same in parts: the rows stay as they are until the step is over, or another one is begun. */
void forward_begin(struct forward *forward, const struct rows *rows);
bool forward_go_on(struct forward *forward); /* runs an op; true: it was the last */
/* Logits of the i-th wanted row of the last step: [vocabulary], valid until the next. */
void forward_logits(struct forward *forward, int i, float *dst);
/* The i-th row of the last step as the head would take it, behind the last norm: [hidden]. Any row,
 * wanted or not. */
void forward_hidden(struct forward *forward, int i, float *dst);
/* How many rows each expert was chosen for so far. Any thread may read. */
struct forward_experts {
    int first, n_layers; /* layers [first, first + n_layers) have experts */
    int n_experts;
    const atomic_uint_fast64_t *chosen; /* [n_layers][n_experts] */
};
void forward_experts(const struct forward *forward, struct forward_experts *ret);
/* What a step of the given rows costs: see cost.h. */
void forward_cost(const struct forward *forward, int rows, double context, int sharing,
                  int n_wanted, struct cost *ret);
/* No step will follow for a while. */
void forward_rest(struct forward *forward);
/* After that: gives back what a step would write anyhow, and with it the last logits; bytes. */
size_t forward_shed(struct forward *forward);
