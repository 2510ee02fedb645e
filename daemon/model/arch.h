/* SPDX-License-Identifier: MIT
 *
 * What a model family is: which numbers and tensors its files hold, what a cache row looks like,
 * and which ops make a layer. A family writes programs, it never computes.
 *
 * A new one is arch_<name>.c and a line in arch_table[].
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kv/page.h"
#include "model/hparams.h"
#include "place/place.h"

struct format;

/* What a weight is for; several names in a file may mean the same role. */
enum role {
    ROLE_EMBEDDING,
    ROLE_FINAL_NORM,
    ROLE_HEAD,
    ROLE_ATTN_NORM,
    ROLE_Q,
    ROLE_Q_A,
    ROLE_Q_A_NORM,
    ROLE_Q_B,
    ROLE_KV_A,
    ROLE_KV_A_NORM,
    ROLE_KV_B, /* classic layout: becomes K_B and V_B */
    ROLE_K_B,
    ROLE_V_B,
    ROLE_ATTN_OUT,
    ROLE_FFN_NORM,
    ROLE_GATE,
    ROLE_UP,
    ROLE_DOWN,
    ROLE_ROUTER,
    ROLE_ROUTER_BIAS,
    ROLE_EXPERT_GATE,
    ROLE_EXPERT_UP,
    ROLE_EXPERT_DOWN,
    ROLE_EXPERT_GATE_UP, /* both in one: becomes EXPERT_GATE and EXPERT_UP */
    ROLE_SHARED_GATE,
    ROLE_SHARED_UP,
    ROLE_SHARED_DOWN,
    ROLE_SPARE, /* the same numbers once more, in the other layout */
    ROLE_MTP,   /* only of the multi-token-prediction block */
    ROLE_COUNT
};

/* Sizes as the file's dimensions name them, dims[0] first. */
enum dim {
    DIM_NONE, /* no such dimension */
    DIM_HIDDEN,
    DIM_TWO_HIDDEN,
    DIM_VOCAB,
    DIM_Q_RANK,
    DIM_Q, /* heads · (nope + rope) */
    DIM_LATENT,
    DIM_KV,   /* latent + rope */
    DIM_KV_B, /* heads · (nope + value) */
    DIM_NOPE,
    DIM_VALUE,
    DIM_HEADS,
    DIM_O, /* heads · value */
    DIM_DENSE,
    DIM_EXPERT,
    DIM_TWO_EXPERT,
    DIM_SHARED,
    DIM_EXPERTS,
};

/* Where a tensor belongs; all conditions of a rule must hold. */
enum {
    IN_FILE = 1 << 0,   /* once */
    IN_LAYER = 1 << 1,  /* every layer */
    IN_DENSE = 1 << 2,  /* layers with a plain FFN */
    IN_MOE = 1 << 3,    /* layers with experts */
    IN_MTP = 1 << 4,    /* the block behind the layers */
    IF_Q_RANK = 1 << 5, /* queries through a latent */
    IF_NO_Q_RANK = 1 << 6,
    IF_SHARED = 1 << 7,  /* shared experts */
    IF_CLASSIC = 1 << 8, /* attn_kv_b */
    IF_SPLIT = 1 << 9,   /* attn_k_b and attn_v_b */
    IF_MERGED = 1 << 10, /* ffn_gate_up_exps */
    IF_APART = 1 << 11,  /* ffn_gate_exps and ffn_up_exps */
    OPTIONAL = 1 << 12,
    AS_F32 = 1 << 13, /* norms, router: kept in float32 */
    ASIDE = 1 << 14,  /* known, checked, not loaded */

    ANY_LAYOUT = IF_CLASSIC | IF_SPLIT | IF_MERGED | IF_APART,
};

struct tensor_rule {
    const char *name; /* after "blk.N." unless IN_FILE */
    enum role role;
    enum dim dim[3];
    unsigned flags;
};

/* All weights of a model, bound; layers of one role are [hparams.layers]. */
struct weights {
    struct weight file[ROLE_COUNT];
    struct weight *layer[ROLE_COUNT];
};

/* A program while it is written. */
struct program {
    struct op *ops;
    int n;
    struct buf *x, *cs, *logits;
    enum mk_type cache_type;
};

struct arch {
    const char *name;                  /* general.architecture */
    const char *models;                /* who uses it, for messages */
    const struct tensor_rule *tensors; /* ended by a NULL name */
    int (*hparams)(const struct format *format, struct hparams *ret, struct err *err);
    unsigned (*layout)(const struct format *format); /* those of ANY_LAYOUT that hold */
    void (*kv_schema)(const struct hparams *hp, struct kv_schema *ret);
    /* Appends the layer's ops; at most ARCH_LAYER_OPS. */
    void (*layer)(const struct hparams *hp, const struct weights *weights, int layer,
                  struct program *program);
};

enum { ARCH_LAYER_OPS = 4 };

extern const struct arch *const arch_table[]; /* ended by NULL */

/* By general.architecture; -ENOTSUP names the family and what is supported. */
int arch_find(const struct format *format, const struct arch **ret, struct err *err);

/* ---- blocks that architectures share: block_*.c */
void block_mla(const struct hparams *hp, const struct weights *weights, int layer,
               struct program *program);
void block_ffn(const struct hparams *hp, const struct weights *weights, int layer,
               struct program *program);
void block_moe(const struct hparams *hp, const struct weights *weights, int layer,
               struct program *program);
