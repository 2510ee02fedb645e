/* SPDX-License-Identifier: MIT
 *
 * DeepSeek V2 and V3 and their kin: latent attention, then a dense FFN or experts with a shared
 * part. One architecture name covers them all; the numbers in the file tell them apart.
 *
 * Sources: the DeepSeek-V2 and V3 reports; keys and tensor names as the GGUF converters write them.
 */
#include "model/arch.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/format.h"

#define PREFIX "deepseek2"

static const struct tensor_rule tensors[] = {
    {"token_embd.weight", ROLE_EMBEDDING, {DIM_HIDDEN, DIM_VOCAB}, IN_FILE},
    {"output_norm.weight", ROLE_FINAL_NORM, {DIM_HIDDEN}, IN_FILE | AS_F32},
    {"output.weight", ROLE_HEAD, {DIM_HIDDEN, DIM_VOCAB}, IN_FILE | OPTIONAL}, /* else tied */

    {"attn_norm.weight", ROLE_ATTN_NORM, {DIM_HIDDEN}, IN_LAYER | AS_F32},
    {"attn_q.weight", ROLE_Q, {DIM_HIDDEN, DIM_Q}, IN_LAYER | IF_NO_Q_RANK},
    {"attn_q_a.weight", ROLE_Q_A, {DIM_HIDDEN, DIM_Q_RANK}, IN_LAYER | IF_Q_RANK},
    {"attn_q_a_norm.weight", ROLE_Q_A_NORM, {DIM_Q_RANK}, IN_LAYER | IF_Q_RANK | AS_F32},
    {"attn_q_b.weight", ROLE_Q_B, {DIM_Q_RANK, DIM_Q}, IN_LAYER | IF_Q_RANK},
    {"attn_kv_a_mqa.weight", ROLE_KV_A, {DIM_HIDDEN, DIM_KV}, IN_LAYER},
    {"attn_kv_a_norm.weight", ROLE_KV_A_NORM, {DIM_LATENT}, IN_LAYER | AS_F32},
    {"attn_kv_b.weight", ROLE_KV_B, {DIM_LATENT, DIM_KV_B}, IN_LAYER | IF_CLASSIC},
    {"attn_k_b.weight", ROLE_K_B, {DIM_NOPE, DIM_LATENT, DIM_HEADS}, IN_LAYER | IF_SPLIT},
    {"attn_v_b.weight", ROLE_V_B, {DIM_LATENT, DIM_VALUE, DIM_HEADS}, IN_LAYER | IF_SPLIT},
    {"attn_kv_b.weight",
     ROLE_SPARE,
     {DIM_LATENT, DIM_KV_B},
     IN_LAYER | IF_SPLIT | OPTIONAL | ASIDE},
    {"attn_output.weight", ROLE_ATTN_OUT, {DIM_O, DIM_HIDDEN}, IN_LAYER},

    {"ffn_norm.weight", ROLE_FFN_NORM, {DIM_HIDDEN}, IN_LAYER | AS_F32},
    {"ffn_gate.weight", ROLE_GATE, {DIM_HIDDEN, DIM_DENSE}, IN_DENSE},
    {"ffn_up.weight", ROLE_UP, {DIM_HIDDEN, DIM_DENSE}, IN_DENSE},
    {"ffn_down.weight", ROLE_DOWN, {DIM_DENSE, DIM_HIDDEN}, IN_DENSE},
    {"ffn_gate_inp.weight", ROLE_ROUTER, {DIM_HIDDEN, DIM_EXPERTS}, IN_MOE | AS_F32},
    {"exp_probs_b.bias", ROLE_ROUTER_BIAS, {DIM_EXPERTS}, IN_MOE | OPTIONAL | AS_F32},
    {"exp_probs_b.weight", ROLE_ROUTER_BIAS, {DIM_EXPERTS}, IN_MOE | OPTIONAL | AS_F32},
    {"exp_probs_b", ROLE_ROUTER_BIAS, {DIM_EXPERTS}, IN_MOE | OPTIONAL | AS_F32},
    {"ffn_gate_exps.weight",
     ROLE_EXPERT_GATE,
     {DIM_HIDDEN, DIM_EXPERT, DIM_EXPERTS},
     IN_MOE | IF_APART},
    {"ffn_up_exps.weight",
     ROLE_EXPERT_UP,
     {DIM_HIDDEN, DIM_EXPERT, DIM_EXPERTS},
     IN_MOE | IF_APART},
    {"ffn_gate_up_exps.weight",
     ROLE_EXPERT_GATE_UP,
     {DIM_HIDDEN, DIM_TWO_EXPERT, DIM_EXPERTS},
     IN_MOE | IF_MERGED},
    {"ffn_down_exps.weight", ROLE_EXPERT_DOWN, {DIM_EXPERT, DIM_HIDDEN, DIM_EXPERTS}, IN_MOE},
    {"ffn_gate_shexp.weight", ROLE_SHARED_GATE, {DIM_HIDDEN, DIM_SHARED}, IN_MOE | IF_SHARED},
    {"ffn_up_shexp.weight", ROLE_SHARED_UP, {DIM_HIDDEN, DIM_SHARED}, IN_MOE | IF_SHARED},
    {"ffn_down_shexp.weight", ROLE_SHARED_DOWN, {DIM_SHARED, DIM_HIDDEN}, IN_MOE | IF_SHARED},

    {"nextn.eh_proj.weight", ROLE_MTP, {DIM_TWO_HIDDEN, DIM_HIDDEN}, IN_MTP},
    {"nextn.enorm.weight", ROLE_MTP, {DIM_HIDDEN}, IN_MTP},
    {"nextn.hnorm.weight", ROLE_MTP, {DIM_HIDDEN}, IN_MTP},
    {"nextn.shared_head_norm.weight", ROLE_MTP, {DIM_HIDDEN}, IN_MTP},
    {"nextn.embed_tokens.weight", ROLE_MTP, {DIM_HIDDEN, DIM_VOCAB}, IN_MTP},
    {"nextn.shared_head_head.weight", ROLE_MTP, {DIM_HIDDEN, DIM_VOCAB}, IN_MTP},
    {NULL},
};

/* ------------------------------------------------------------------ numbers */

static int read_int(const struct meta *meta, const char *key, int least, int most, int fallback,
                    int *ret, struct err *err)
{
    return hparams_int(meta, PREFIX, key, least, most, fallback, ret, err);
}

static int read_float(const struct meta *meta, const char *key, double least, double most,
                      const double *fallback, double *ret, struct err *err)
{
    return hparams_float(meta, PREFIX, key, least, most, fallback, ret, err);
}

/* A block behind the layers is a prediction block or dropped. One that attends and predicts nothing
 * would be a layer that the count leaves out. */
static int check_mtp(const struct format *format, const struct hparams *hp, struct err *err)
{
    for (int block = hp->layers; block < hp->layers + hp->mtp_layers; block++) {
        char norm[64], projection[64];
        snprintf(norm, sizeof norm, "blk.%d.attn_norm.weight", block);
        snprintf(projection, sizeof projection, "blk.%d.nextn.eh_proj.weight", block);
        if (format_find(format, norm) && !format_find(format, projection))
            return err_set(err, -EINVAL,
                           "%s: key '" PREFIX ".nextn_predict_layers' is %d, but block %d has no "
                           "tensor '%s'",
                           format_path(format), hp->mtp_layers, block, projection);
    }
    return 0;
}

static int read_layers(const struct format *format, struct hparams *hp, struct err *err)
{
    const struct meta *meta = format_meta(format);
    int blocks = 1;
    double eps = 0;
    int r = read_int(meta, "block_count", 1, HPARAMS_MAX_LAYERS, NO_DEFAULT, &blocks, err);
    if (r == 0)
        r = read_int(meta, "nextn_predict_layers", 0, blocks - 1, 0, &hp->mtp_layers, err);
    hp->layers = blocks - hp->mtp_layers;
    if (r == 0)
        r = check_mtp(format, hp, err);
    if (r == 0)
        r = read_int(meta, "embedding_length", 1, HPARAMS_MAX_WIDTH, NO_DEFAULT, &hp->hidden, err);
    if (r == 0)
        r = read_int(meta, "context_length", 1, HPARAMS_MAX_CONTEXT, NO_DEFAULT, &hp->context, err);
    if (r == 0)
        r = read_float(meta, "attention.layer_norm_rms_epsilon", 1e-12, 1e-1, NULL, &eps, err);
    if (r < 0)
        return r;
    hp->eps = (float)eps;

    const struct tensor *embedding = format_find(format, "token_embd.weight");
    int rows =
        embedding && embedding->dims[1] <= HPARAMS_MAX_VOCAB ? (int)embedding->dims[1] : NO_DEFAULT;
    return read_int(meta, "vocab_size", 1, HPARAMS_MAX_VOCAB, rows, &hp->vocab, err);
}

/* Beside the lengths of a head: those of a cached row, or the same again. */
static int check_cached(const struct format *format, const char *key, int head, int cached,
                        struct err *err)
{
    int found;
    int r = read_int(format_meta(format), key, 1, 2 * HPARAMS_MAX_WIDTH, head, &found, err);
    if (r == 0 && found != head && found != cached)
        r = err_set(err, -EINVAL,
                    "%s: key '" PREFIX ".%s' is %d, expected %d as cached or %d as in a head",
                    format_path(format), key, found, cached, head);
    return r;
}

static int read_heads(const struct format *format, struct hparams *hp, struct err *err)
{
    const struct meta *meta = format_meta(format);
    int kv_heads = 0, key = 0;
    int r =
        read_int(meta, "attention.head_count", 1, HPARAMS_MAX_HEADS, NO_DEFAULT, &hp->heads, err);
    if (r == 0)
        r = read_int(meta, "attention.head_count_kv", 1, HPARAMS_MAX_HEADS, hp->heads, &kv_heads,
                     err);
    if (r == 0 && kv_heads != 1 && kv_heads != hp->heads)
        r = err_set(err, -EINVAL,
                    "%s: key '" PREFIX ".attention.head_count_kv' is %d, expected 1 "
                    "or the number of heads, %d",
                    format_path(format), kv_heads, hp->heads);
    if (r == 0)
        r = read_int(meta, "attention.kv_lora_rank", 1, HPARAMS_MAX_WIDTH, NO_DEFAULT, &hp->latent,
                     err);
    if (r == 0)
        r = read_int(meta, "attention.q_lora_rank", 0, HPARAMS_MAX_WIDTH, 0, &hp->q_rank, err);
    if (r == 0)
        r = read_int(meta, "rope.dimension_count", 2, 4096, NO_DEFAULT, &hp->rope_dims, err);
    if (r < 0)
        return r;
    if (hp->rope_dims % 2)
        return err_set(err, -EINVAL,
                       "%s: key '" PREFIX ".rope.dimension_count' is %d, expected an "
                       "even number",
                       format_path(format), hp->rope_dims);

    /* Files of the split layout describe the cache in key_length and a head in key_length_mla. */
    bool split = meta_has(meta, PREFIX ".attention.key_length_mla");
    r = read_int(meta, split ? "attention.key_length_mla" : "attention.key_length",
                 hp->rope_dims + 1, HPARAMS_MAX_WIDTH, NO_DEFAULT, &key, err);
    if (r == 0)
        r = read_int(meta, split ? "attention.value_length_mla" : "attention.value_length", 1,
                     HPARAMS_MAX_WIDTH, NO_DEFAULT, &hp->value, err);
    hp->nope = key - hp->rope_dims;
    if (r == 0 && (int64_t)hp->heads * (key + hp->value) > HPARAMS_MAX_ROWS)
        r = err_set(err, -EINVAL,
                    "%s: key '" PREFIX ".attention.head_count' is %d with %d numbers a head, "
                    "expected at most %d in all",
                    format_path(format), hp->heads, key + hp->value, HPARAMS_MAX_ROWS);
    if (r == 0 && split)
        r = check_cached(format, "attention.key_length", key, hp->latent + hp->rope_dims, err);
    if (r == 0 && split)
        r = check_cached(format, "attention.value_length", hp->value, hp->latent, err);
    return r;
}

/* A number of either kind: converters write the same key as one or the other. */
static int any_number(const struct meta *meta, const char *key, double *ret, struct err *err)
{
    float f;
    uint32_t u;
    struct err not_whole;
    if (meta_u32(meta, key, &u, &not_whole) == 0) {
        *ret = u;
        return 0;
    }
    int r = meta_f32(meta, key, &f, err);
    if (r == 0)
        *ret = (double)f;
    return r;
}

/* Rules that change what the numbers mean and that no released model of this family has. */
static int refuse_unknown_rules(const struct meta *meta, struct err *err)
{
    static const struct {
        const char *key;
        double neutral;
    } rules[] = {
        {"attention.scale", 0},
        {"attention.temperature_scale", 0},
        {"attention.clamp_kqv", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"logit_scale", 0},
        {"embedding_scale", 0},
        {"residual_scale", 0},
        {"moe_every_n_layers", 1},
        {"rope.scale_linear", 1},
        {"attention.indexer.head_count", 0},
        {"attention.sliding_window", 0},
        {"rope.scaling.attn_factor", 1},
        {"rope.scaling.yarn_attn_factor", 1},
        {"rope.scaling.yarn_ext_factor", 1},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        char full[160];
        snprintf(full, sizeof full, PREFIX ".%s", rules[i].key);
        double found;
        int r = any_number(meta, full, &found, err);
        if (r == 0 && found != rules[i].neutral)
            return err_set(err, -ENOTSUP,
                           "%s: key '%s' is %g; the " PREFIX " models that moed runs have %g or "
                           "none",
                           meta_path(meta), full, found, rules[i].neutral);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

/* Others take a factor without a type for linear scaling: it must not be passed over. */
static int refuse_factor(const struct meta *meta, struct err *err)
{
    const double one = 1;
    double factor;
    int r = read_float(meta, "rope.scaling.factor", 0, 1e6, &one, &factor, err);
    if (r == 0 && factor != 0 && factor != 1)
        return err_set(err, -ENOTSUP,
                       "%s: key '" PREFIX ".rope.scaling.factor' is %g without key '" PREFIX
                       ".rope.scaling.type' being 'yarn'",
                       meta_path(meta), factor);
    return r;
}

static int read_rope(const struct format *format, struct hparams *hp, struct err *err)
{
    const struct meta *meta = format_meta(format);
    const double theta = 10000, fast = 32, slow = 1, zero = 0;
    hp->rope = (struct mk_rope){.n_dims = hp->rope_dims};
    hp->scale = (float)(1 / sqrt((double)(hp->nope + hp->rope_dims)));
    int r = read_float(meta, "rope.freq_base", 2, 1e12, &theta, &hp->rope.theta, err);
    if (r == 0)
        r = refuse_unknown_rules(meta, err);
    if (r < 0)
        return r;

    const char *type = "none";
    size_t bytes;
    r = meta_str(meta, PREFIX ".rope.scaling.type", &type, &bytes, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!strcmp(type, "none"))
        return refuse_factor(meta, err);
    if (strcmp(type, "yarn"))
        return err_set(err, -ENOTSUP,
                       "%s: key '" PREFIX ".rope.scaling.type' is '%s', expected 'yarn' or 'none'",
                       format_path(format), type);

    /* Kimi-K2's converters dropped its betas; its configuration says 1 and 1. */
    bool kimi = hp->experts == 384 && hp->rope.theta == 50000;
    double multiplier, beta_fast = kimi ? 1 : fast;
    hp->rope.yarn = true;
    r = read_float(meta, "rope.scaling.factor", 1, 1e6, NULL, &hp->rope.factor, err);
    if (r == 0)
        r = read_float(meta, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, &beta_fast,
                       &hp->rope.beta_fast, err);
    if (r == 0)
        r = read_float(meta, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, &slow, &hp->rope.beta_slow,
                       err);
    if (r == 0)
        r = read_float(meta, "rope.scaling.yarn_log_multiplier", 0, 10, &zero, &multiplier, err);
    int original = 0;
    if (r == 0)
        r = read_int(meta, "rope.scaling.original_context_length", 1, HPARAMS_MAX_CONTEXT,
                     NO_DEFAULT, &original, err);
    if (r < 0)
        return r;
    if (hp->rope.beta_fast < hp->rope.beta_slow)
        return err_set(err, -EINVAL,
                       "%s: key '" PREFIX ".rope.scaling.yarn_beta_fast' is %g, expected at least "
                       "yarn_beta_slow, %g",
                       format_path(format), hp->rope.beta_fast, hp->rope.beta_slow);
    hp->rope.original_context = original;
    hp->warn_no_mscale = !meta_has(meta, PREFIX ".rope.scaling.yarn_log_multiplier");
    double m = 1 + multiplier * log(hp->rope.factor);
    hp->scale *= (float)(m * m);
    return 0;
}

/* Older files lack the keys for groups, and older runtimes ignored groups altogether. */
static int read_groups(const struct format *format, struct hparams *hp, struct err *err)
{
    const struct meta *meta = format_meta(format);
    int usual = 1, groups, used = 1;
    if (hp->experts == 160 && hp->route.gate == MK_GATE_SOFTMAX)
        usual = 8, used = 3;
    if (hp->experts == 256 && hp->route.gate == MK_GATE_SIGMOID)
        usual = 8, used = 4;
    int r = read_int(meta, "expert_group_count", 0, hp->experts, usual, &groups, err);
    if (r == 0)
        r = read_int(meta, "expert_group_used_count", 0, hp->experts,
                     groups > 1 && groups != usual ? NO_DEFAULT : used, &used, err);
    if (r < 0)
        return r;
    if (groups <= 1) {
        groups = 1;
        used = 1;
    }
    if (hp->experts % groups)
        return err_set(err, -EINVAL,
                       "%s: %d experts do not divide into key '" PREFIX ".expert_group_count', %d",
                       format_path(format), hp->experts, groups);
    if (used < 1 || used > groups)
        return err_set(err, -EINVAL,
                       "%s: key '" PREFIX ".expert_group_used_count' is %d, expected "
                       "1 to %d",
                       format_path(format), used, groups);
    if (hp->experts_used > hp->experts / groups * used)
        return err_set(err, -EINVAL,
                       "%s: key '" PREFIX ".expert_used_count' is %d, expected at most the %d "
                       "experts of the groups kept, %d",
                       format_path(format), hp->experts_used, hp->experts / groups * used, used);
    hp->route.n_groups = groups;
    hp->route.n_groups_used = used;
    return 0;
}

static int read_gate(const struct format *format, struct hparams *hp, struct err *err)
{
    const struct meta *meta = format_meta(format);
    bool has_bias = false;
    for (int i = 0; i < format_n_tensors(format) && !has_bias; i++)
        has_bias = strstr(format_tensor(format, i)->name, ".exp_probs_b") != NULL;

    enum { SOFTMAX = 1, SIGMOID = 2 };
    int gate;
    int r = read_int(meta, "expert_gating_func", 0, 1000, 0, &gate, err);
    if (r < 0)
        return r;
    if (gate == 0)
        gate = has_bias ? SIGMOID : SOFTMAX;
    if (gate != SOFTMAX && gate != SIGMOID)
        return err_set(err, -ENOTSUP,
                       "%s: key '" PREFIX ".expert_gating_func' is %d, expected 1 (softmax) or 2 "
                       "(sigmoid)",
                       format_path(format), gate);
    hp->route.gate = gate == SIGMOID ? MK_GATE_SIGMOID : MK_GATE_SOFTMAX;

    const double one = 1;
    double scale;
    hp->route.norm = gate == SIGMOID;
    r = meta_bool(meta, PREFIX ".expert_weights_norm", &hp->route.norm, err);
    if (r < 0 && r != -ENOENT)
        return r;
    r = read_float(meta, "expert_weights_scale", 0, 1e6, &one, &scale, err);
    /* A zero would silence all experts; converters write it for "unset". */
    hp->route.scale = scale > 0 ? (float)scale : 1;
    return r;
}

static int read_experts(const struct format *format, struct hparams *hp, struct err *err)
{
    const struct meta *meta = format_meta(format);
    int r = read_int(meta, "expert_count", 0, HPARAMS_MAX_EXPERTS, 0, &hp->experts, err);
    if (r == 0)
        r = read_int(meta, "leading_dense_block_count", 0, hp->layers, hp->experts ? 0 : hp->layers,
                     &hp->dense_layers, err);
    if (r < 0)
        return r;
    if (hp->experts == 0)
        hp->dense_layers = hp->layers;
    if (hp->dense_layers > 0) {
        r = read_int(meta, "feed_forward_length", 1, HPARAMS_MAX_WIDTH, NO_DEFAULT,
                     &hp->dense_width, err);
        if (r < 0)
            return r;
    }
    if (hp->experts == 0)
        return 0;
    r = read_int(meta, "expert_used_count", 1, hp->experts, NO_DEFAULT, &hp->experts_used, err);
    if (r == 0)
        r = read_int(meta, "expert_feed_forward_length", 1, HPARAMS_MAX_WIDTH, NO_DEFAULT,
                     &hp->expert_width, err);
    if (r == 0)
        r = read_int(meta, "expert_shared_count", 0, 64, 0, &hp->experts_shared, err);
    if (r < 0)
        return r;
    hp->shared_width = hp->experts_shared * hp->expert_width;
    if ((int64_t)hp->experts * hp->expert_width > HPARAMS_MAX_ROWS)
        return err_set(err, -EINVAL,
                       "%s: key '" PREFIX ".expert_feed_forward_length' is %d for each of %d "
                       "experts, expected at most %d in all",
                       format_path(format), hp->expert_width, hp->experts, HPARAMS_MAX_ROWS);
    hp->route = (struct mk_route){.n_experts = hp->experts, .n_used = hp->experts_used};
    r = read_gate(format, hp, err);
    if (r < 0)
        return r;
    return read_groups(format, hp, err);
}

static int read_hparams(const struct format *format, struct hparams *ret, struct err *err)
{
    struct hparams hp = {0};
    int r = read_layers(format, &hp, err);
    if (r == 0)
        r = read_heads(format, &hp, err);
    if (r == 0)
        r = read_experts(format, &hp, err);
    if (r == 0)
        r = read_rope(format, &hp, err);
    if (r == 0)
        *ret = hp;
    return r;
}

static bool any_layer_has(const struct format *format, const char *rest)
{
    char name[64];
    for (int layer = 0; layer < HPARAMS_MAX_LAYERS; layer++) {
        snprintf(name, sizeof name, "blk.%d.%s", layer, rest);
        if (format_find(format, name))
            return true;
    }
    return false;
}

static unsigned layout(const struct format *format)
{
    bool split = format_find(format, "blk.0.attn_k_b.weight") ||
                 format_find(format, "blk.0.attn_v_b.weight");
    return (split ? IF_SPLIT : IF_CLASSIC) |
           (any_layer_has(format, "ffn_gate_up_exps.weight") ? IF_MERGED : IF_APART);
}

/* ------------------------------------------------------------------ program */

static void kv_schema(const struct hparams *hp, struct kv_schema *ret)
{
    *ret = (struct kv_schema){
        .n_layers = hp->layers,
        .latent = hp->latent,
        .rope = hp->rope_dims,
    };
}

static void layer(const struct hparams *hp, const struct weights *weights, int index,
                  struct program *program)
{
    block_mla(hp, weights, index, program);
    if (index < hp->dense_layers)
        block_ffn(hp, weights, index, program);
    else
        block_moe(hp, weights, index, program);
}

const struct arch arch_deepseek2 = {
    .name = PREFIX,
    .models = "DeepSeek V2, V2.5, V3, R1, V3.1, Moonlight, Kimi-K2, GLM-4.7-Flash",
    .tensors = tensors,
    .hparams = read_hparams,
    .layout = layout,
    .kv_schema = kv_schema,
    .layer = layer,
};
