/* SPDX-License-Identifier: MIT
 *
 * The ops a model is written in, each as large as the work that hangs together.
 *
 * A model's program is an array of ops over bound weights and buffers, written once when the model
 * is loaded. What changes from step to step is only `struct rows`. All residual rows are float32.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mk.h"

struct buf; /* memory of a place: place.h */

/* Rows of every matrix of a weight, or some of its matrices, that lie by themselves. */
struct weight_part {
    int first, end;
    size_t stride; /* from one matrix to the next */
    const void *data;
};

/* Matrices packed on a place: `count` times [n][k], rows are outputs. */
struct weight {
    enum mk_type type;
    int n, k, count;
    size_t stride; /* bytes from one matrix to the next */
    const void *data;
    /* Of a place with several nodes of memory, and a weight that lies on more than one: its parts
     * in order. Then stride and data are those of one of them. */
    const struct weight_part *part; /* NULL: data holds everything */
    bool by_matrix;                 /* parts are matrices, not rows */
};

/* The rows of one step. Arrays are the caller's and stay as they are until submit returns. */
struct rows {
    int n;
    int n_decode; /* rows [0, n_decode) are of answers, the others of prompts: a place may compute
                   * the two in different ways, but always one way each */
    const int32_t *token;     /* [n] */
    const int32_t *position;  /* [n] absolute, from 0 */
    void *const *const *page; /* [n] the pages of the row's sequence, enough for its position */
    int n_wanted;
    const int32_t *wanted; /* [n_wanted] ascending indices of rows whose logits are asked for */
};

/* x[row] = embedding of its token; cs[row] = its (cos, sin) pairs, shared by all layers. */
struct op_begin {
    struct buf *x, *cs;
    struct weight embedding; /* [vocabulary][hidden] */
    const double *frequency; /* [rope / 2] */
    int rope;
};

/* x += attention(norm(x)): multi-head latent attention of one layer.
 * The latent and its rotated key are stored at the row's position before anybody reads. */
struct op_mla {
    struct buf *x, *cs;
    int heads, nope, rope, value, latent;
    int q_rank; /* 0: q_b multiplies the normed input itself */
    float eps, scale;
    int page_tokens;
    int max_tokens;     /* the longest context: positions stay below it */
    size_t plane;       /* bytes from a page's start to this layer's rows: mk_cache_row_bytes() */
    struct weight norm; /* [1][hidden] F32, like all norms */
    struct weight q_a, q_a_norm;   /* only with q_rank */
    struct weight q_b;             /* [heads · (nope + rope)][q_rank or hidden] */
    struct weight kv_a, kv_a_norm; /* [latent + rope][hidden], [1][latent] */
    struct weight k_b, v_b;        /* heads × [latent][nope], heads × [value][latent] */
    struct weight out;             /* [hidden][heads · value] */
};

/* x += down(silu(gate · h) ⊙ (up · h)),  h = norm(x) */
struct op_ffn {
    struct buf *x;
    float eps;
    struct weight norm, gate, up, down;
};

/* x += Σ weight_e · expert_e(h) + shared(h),  h = norm(x); summed in order of e, shared last. */
struct op_moe {
    struct buf *x;
    float eps;
    struct mk_route route;
    struct weight norm, router;                        /* router [n_experts][hidden] F32 */
    struct weight gate, up, down;                      /* n_experts matrices each */
    struct weight shared_gate, shared_up, shared_down; /* data NULL: no shared expert */
    /* [n_experts] rows that each was chosen for so far, which a place counts in one thread at a
     * time; NULL: nobody asks. */
    atomic_uint_fast64_t *chosen;
};

/* An expert was chosen for so many rows more. Others read, none writes: nothing is locked. */
static inline void op_moe_count(const struct op_moe *op, int expert, int rows)
{
    if (!op->chosen)
        return;
    atomic_uint_fast64_t *n = &op->chosen[expert];
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (uint64_t)rows,
                          memory_order_relaxed);
}

/* logits[i] = head · norm(x[wanted[i]]) */
struct op_head {
    struct buf *x, *logits;
    float eps;
    struct weight norm, head;
};

enum op_kind { OP_BEGIN, OP_MLA, OP_FFN, OP_MOE, OP_HEAD };

struct op {
    enum op_kind kind;
    union {
        struct op_begin begin;
        struct op_mla mla;
        struct op_ffn ffn;
        struct op_moe moe;
        struct op_head head;
    };
};
