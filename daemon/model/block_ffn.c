/* SPDX-License-Identifier: MIT
 *
 * The feed-forward half of one layer as an op: a plain SwiGLU network, or experts behind a router.
 */
#include "model/arch.h"

void block_ffn(const struct hparams *hp, const struct weights *weights, int layer,
               struct program *program)
{
    program->ops[program->n++] = (struct op){
        .kind = OP_FFN,
        .ffn =
            {
                .x = program->x,
                .eps = hp->eps,
                .norm = weights->layer[ROLE_FFN_NORM][layer],
                .gate = weights->layer[ROLE_GATE][layer],
                .up = weights->layer[ROLE_UP][layer],
                .down = weights->layer[ROLE_DOWN][layer],
            },
    };
}

void block_moe(const struct hparams *hp, const struct weights *weights, int layer,
               struct program *program)
{
    struct op *op = &program->ops[program->n++];
    *op = (struct op){
        .kind = OP_MOE,
        .moe =
            {
                .x = program->x,
                .eps = hp->eps,
                .route = hp->route,
                .norm = weights->layer[ROLE_FFN_NORM][layer],
                .router = weights->layer[ROLE_ROUTER][layer],
                .gate = weights->layer[ROLE_EXPERT_GATE][layer],
                .up = weights->layer[ROLE_EXPERT_UP][layer],
                .down = weights->layer[ROLE_EXPERT_DOWN][layer],
                .shared_gate = weights->layer[ROLE_SHARED_GATE][layer],
                .shared_up = weights->layer[ROLE_SHARED_UP][layer],
                .shared_down = weights->layer[ROLE_SHARED_DOWN][layer],
            },
    };
    op->moe.route.bias = weights->layer[ROLE_ROUTER_BIAS][layer].data;
}
