/* SPDX-License-Identifier: MIT */
#include "model/cost.h"

#include <math.h>

/* A matrix of w times m rows. */
static void add(struct cost *cost, const struct weight *w, double matrices, double rows)
{
    cost->weights += (double)w->stride * matrices;
    cost->operations += 2 * (double)w->n * w->k * rows;
}

static void add_mla(struct cost *cost, const struct op_mla *op, enum mk_type cache_type, int rows,
                    double context, int sharing)
{
    size_t row = mk_cache_row_bytes(cache_type, op->latent, op->rope);
    if (op->q_rank)
        add(cost, &op->q_a, 1, rows);
    add(cost, &op->q_b, 1, rows);
    add(cost, &op->kv_a, 1, rows);
    add(cost, &op->k_b, op->heads, (double)rows * op->heads);
    add(cost, &op->v_b, op->heads, (double)rows * op->heads);
    add(cost, &op->out, 1, rows);
    cost->cache += (double)row * context * rows / sharing;
    int products = sharing > 1 ? op->nope + op->rope + op->value : 2 * op->latent + op->rope;
    cost->operations += 2.0 * rows * context * op->heads * products;
}

static void add_moe(struct cost *cost, const struct op_moe *op, int rows)
{
    double n = op->route.n_experts, pairs = (double)rows * op->route.n_used;
    double met = n * (1 - pow(1 - op->route.n_used / n, rows));
    add(cost, &op->router, 1, rows);
    add(cost, &op->gate, met, pairs);
    add(cost, &op->up, met, pairs);
    add(cost, &op->down, met, pairs);
    if (op->shared_gate.data) {
        add(cost, &op->shared_gate, 1, rows);
        add(cost, &op->shared_up, 1, rows);
        add(cost, &op->shared_down, 1, rows);
    }
}

void cost_of(const struct op *ops, int n_ops, enum mk_type cache_type, int rows, double context,
             int sharing, int n_wanted, struct cost *ret)
{
    *ret = (struct cost){0};
    for (int i = 0; i < n_ops; i++) {
        const struct op *op = &ops[i];
        switch (op->kind) {
        case OP_BEGIN:
            break; /* a row of the embedding */
        case OP_MLA:
            add_mla(ret, &op->mla, cache_type, rows, context, sharing);
            break;
        case OP_FFN:
            add(ret, &op->ffn.gate, 1, rows);
            add(ret, &op->ffn.up, 1, rows);
            add(ret, &op->ffn.down, 1, rows);
            break;
        case OP_MOE:
            add_moe(ret, &op->moe, rows);
            break;
        case OP_HEAD:
            if (n_wanted > 0)
                add(ret, &op->head.head, 1, n_wanted);
            break;
        }
    }
}
