/* SPDX-License-Identifier: MIT
 *
 * Multi-head latent attention of one layer as an op.
 */
#include "model/arch.h"

void block_mla(const struct hparams *hp, const struct weights *weights, int layer,
               struct program *program)
{
    struct kv_schema schema = {.n_layers = hp->layers, .latent = hp->latent, .rope = hp->rope_dims};
    program->ops[program->n++] = (struct op){
        .kind = OP_MLA,
        .mla =
            {
                .x = program->x,
                .cs = program->cs,
                .heads = hp->heads,
                .nope = hp->nope,
                .rope = hp->rope_dims,
                .value = hp->value,
                .latent = hp->latent,
                .q_rank = hp->q_rank,
                .eps = hp->eps,
                .scale = hp->scale,
                .page_tokens = PAGE_TOKENS,
                .max_tokens = hp->context,
                .plane = kv_plane_bytes(&schema, program->cache_type) * (size_t)layer,
                .norm = weights->layer[ROLE_ATTN_NORM][layer],
                .q_a = weights->layer[ROLE_Q_A][layer],
                .q_a_norm = weights->layer[ROLE_Q_A_NORM][layer],
                .q_b = weights->layer[hp->q_rank ? ROLE_Q_B : ROLE_Q][layer],
                .kv_a = weights->layer[ROLE_KV_A][layer],
                .kv_a_norm = weights->layer[ROLE_KV_A_NORM][layer],
                .k_b = weights->layer[ROLE_K_B][layer],
                .v_b = weights->layer[ROLE_V_B][layer],
                .out = weights->layer[ROLE_ATTN_OUT][layer],
            },
    };
}
