/* SPDX-License-Identifier: MIT
 *
 * What a step must touch and compute at the least, whoever runs it: for benches and estimates.
 */
#pragma once

#include "place/op.h"

struct cost {
    double weights; /* bytes of packed weights; of experts as many as independent routers choose */
    double cache;   /* bytes of latents read */
    double operations; /* multiplications and additions, no norms, no softmax; attention is absorbed
                        * but where rows share what they read: then keys and values are made */
};

/* Rows of a step at these depths: `rows` of them, each reading `context` cached tokens, `sharing`
 * rows the same ones; logits of n_wanted. */
void cost_of(const struct op *ops, int n_ops, enum mk_type cache_type, int rows, double context,
             int sharing, int n_wanted, struct cost *ret);
