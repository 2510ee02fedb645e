/* SPDX-License-Identifier: MIT
 *
 * config.json and generation_config.json as the keys that a GGUF converter would write.
 *
 * A number that a family leaves out has the default of the family's published code. A rule that
 * changes what the numbers mean is refused by name unless it is one that the model knows; whether
 * the numbers fit each other is the model's to judge.
 */
#include "format/hf.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/format.h"
#include "format/json.h"
#include "format/meta.h"
#include "format/safetensors.h"

#define CONFIG     "config.json"
#define GENERATION "generation_config.json"
#define SUPPORTED  "deepseek_v2, deepseek_v3, kimi_k2, glm4_moe_lite"

enum { CONFIG_MAX = 4 << 20, WORD_BYTES = 40, MOST = 1 << 30, UNSET = -1 };

/* ------------------------------------------------------------------ what the file says */

struct rope {
    char type[WORD_BYTES]; /* "" none */
    double theta, factor, original, beta_fast, beta_slow, mscale, mscale_all_dim;
};

struct said {
    char model_type[WORD_BYTES], scoring_func[WORD_BYTES], topk_method[WORD_BYTES],
        hidden_act[WORD_BYTES];
    char quant_method[WORD_BYTES];
    int64_t block[2]; /* of the quantisation */
    double vocab, context, hidden, layers, mtp, heads, q_rank, latent, nope, rope_dims, value;
    double dense, dense_width, experts, used, shared, expert_width, groups, groups_used, freq;
    double eps, scale;
    bool norm, norm_said, tied, bias, interleave;
    struct rope rope;
    int64_t bos, eos, eot;
};

enum field_kind { WHOLE, REAL, WORD, FLAG };

struct field {
    const char *key;
    enum field_kind kind;
    size_t at; /* in the struct that is filled */
};

#define SAID(key, kind, member)                                                                    \
    {                                                                                              \
        key, kind, offsetof(struct said, member)                                                   \
    }
static const struct field fields[] = {
    SAID("model_type", WORD, model_type),
    SAID("scoring_func", WORD, scoring_func),
    SAID("topk_method", WORD, topk_method),
    SAID("hidden_act", WORD, hidden_act),
    SAID("vocab_size", WHOLE, vocab),
    SAID("max_position_embeddings", WHOLE, context),
    SAID("hidden_size", WHOLE, hidden),
    SAID("num_hidden_layers", WHOLE, layers),
    SAID("num_nextn_predict_layers", WHOLE, mtp),
    SAID("num_attention_heads", WHOLE, heads),
    SAID("q_lora_rank", WHOLE, q_rank),
    SAID("kv_lora_rank", WHOLE, latent),
    SAID("qk_nope_head_dim", WHOLE, nope),
    SAID("qk_rope_head_dim", WHOLE, rope_dims),
    SAID("v_head_dim", WHOLE, value),
    SAID("first_k_dense_replace", WHOLE, dense),
    SAID("intermediate_size", WHOLE, dense_width),
    SAID("n_routed_experts", WHOLE, experts),
    SAID("num_experts_per_tok", WHOLE, used),
    SAID("n_shared_experts", WHOLE, shared),
    SAID("moe_intermediate_size", WHOLE, expert_width),
    SAID("n_group", WHOLE, groups),
    SAID("topk_group", WHOLE, groups_used),
    SAID("moe_layer_freq", WHOLE, freq),
    SAID("rms_norm_eps", REAL, eps),
    SAID("routed_scaling_factor", REAL, scale),
    SAID("rope_theta", REAL, rope.theta),
    SAID("norm_topk_prob", FLAG, norm),
    SAID("tie_word_embeddings", FLAG, tied),
    SAID("attention_bias", FLAG, bias),
    SAID("rope_interleave", FLAG, interleave),
};
static const struct field rope_fields[] = {
    SAID("type", WORD, rope.type),
    SAID("rope_type", WORD, rope.type),
    SAID("rope_theta", REAL, rope.theta),
    SAID("factor", REAL, rope.factor),
    SAID("original_max_position_embeddings", WHOLE, rope.original),
    SAID("beta_fast", REAL, rope.beta_fast),
    SAID("beta_slow", REAL, rope.beta_slow),
    SAID("mscale", REAL, rope.mscale),
    SAID("mscale_all_dim", REAL, rope.mscale_all_dim),
};
#undef SAID

static int read_whole(struct json *json, const char *key, double *ret)
{
    uint64_t u;
    int r = json_u64(json, &u);
    if (r < 0)
        return r;
    if (u > MOST)
        return json_fail(json, -EINVAL, "key '%s' is %" PRIu64 ", expected at most %d", key, u,
                         MOST);
    *ret = (double)u;
    return 0;
}

static int read_word(struct json *json, const char *key, char *ret)
{
    struct json_text text;
    int r = json_string(json, &text);
    if (r < 0)
        return r;
    if (text.bytes >= WORD_BYTES)
        return json_fail(json, -EINVAL, "key '%s' is a text of %zu bytes, expected at most %d", key,
                         text.bytes, WORD_BYTES - 1);
    memcpy(ret, text.at, text.bytes + 1);
    return 0;
}

/* The value of a key into its field; null is like no key. */
static int read_field(struct json *json, const struct field *field, struct said *said)
{
    static const char *const expected[] = {"a whole number", "a number", "a text", "true or false"};
    char *at = (char *)said + field->at;
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r < 0)
        return r;
    if (kind == JSON_NULL)
        return json_null(json);
    enum json_kind wanted = field->kind == WORD   ? JSON_STRING
                            : field->kind == FLAG ? JSON_BOOL
                                                  : JSON_NUMBER;
    if (kind != wanted)
        return json_fail(json, -EINVAL, "key '%s' has a value of another kind, expected %s",
                         field->key, expected[field->kind]);
    if (field->at == offsetof(struct said, norm))
        said->norm_said = true;
    switch (field->kind) {
    case WHOLE:
        return read_whole(json, field->key, (double *)(void *)at);
    case REAL:
        return json_double(json, (double *)(void *)at);
    case WORD:
        return read_word(json, field->key, at);
    case FLAG:
        break;
    }
    return json_bool(json, (bool *)at);
}

static int read_known(struct json *json, const struct field *field, size_t n, const char *key,
                      struct said *said)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(field[i].key, key))
            return read_field(json, &field[i], said);
    return json_skip(json);
}

static int read_rope(struct json *json, struct said *said)
{
    struct json_text key;
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r == 0 && kind == JSON_NULL)
        return json_null(json);
    if (r == 0)
        r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0)
        r = read_known(json, rope_fields, sizeof rope_fields / sizeof *rope_fields, key.at, said);
    return r;
}

static int read_block(struct json *json, struct said *said)
{
    int n = 0;
    int r = json_array(json);
    while (r == 0 && (r = json_item(json)) > 0) {
        if (n == 2)
            return json_fail(json, -EINVAL, "weight_block_size has more than two numbers");
        r = json_i64(json, &said->block[n++]);
    }
    return r;
}

static int read_quantization(struct json *json, struct said *said)
{
    struct json_text key;
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r == 0 && kind == JSON_NULL)
        return json_null(json);
    if (r == 0)
        r = json_object(json);
    snprintf(said->quant_method, sizeof said->quant_method, "unnamed");
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        if (json_is(&key, "quant_method"))
            r = read_word(json, "quant_method", said->quant_method);
        else if (json_is(&key, "weight_block_size"))
            r = read_block(json, said);
        else
            r = json_skip(json);
    }
    return r;
}

/* One id or a list of them; the second of a list ends a turn. */
static int read_ids(struct json *json, int64_t *first, int64_t *second)
{
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r < 0 || kind == JSON_NULL)
        return r < 0 ? r : json_null(json);
    uint64_t id;
    int n = 0;
    if (kind != JSON_ARRAY) {
        r = json_u64(json, &id);
        if (r == 0 && id > MOST)
            return json_fail(json, -EINVAL, "found %" PRIu64 ", expected a token id", id);
        if (r == 0)
            *first = (int64_t)id;
        return r;
    }
    r = json_array(json);
    while (r == 0 && (r = json_item(json)) > 0) {
        r = json_u64(json, &id);
        if (r == 0 && id > MOST)
            return json_fail(json, -EINVAL, "found %" PRIu64 ", expected a token id", id);
        if (r == 0 && n < 2)
            *(n++ == 0 ? first : second) = (int64_t)id;
    }
    return r;
}

static int read_file(struct hf_text *file, struct said *said, bool generation, struct err *err)
{
    struct json json;
    struct json_text key;
    json_init(&json, file->label, file->at, file->bytes, err);
    int r = json_object(&json);
    while (r == 0 && (r = json_key(&json, &key)) > 0) {
        int64_t more = UNSET;
        if (json_is(&key, "eos_token_id"))
            r = read_ids(&json, &said->eos, &said->eot);
        else if (json_is(&key, "bos_token_id"))
            r = read_ids(&json, &said->bos, &more);
        else if (generation)
            r = json_skip(&json);
        else if (json_is(&key, "rope_scaling") || json_is(&key, "rope_parameters"))
            r = read_rope(&json, said);
        else if (json_is(&key, "quantization_config"))
            r = read_quantization(&json, said);
        else
            r = read_known(&json, fields, sizeof fields / sizeof *fields, key.at, said);
    }
    if (r == 0)
        r = json_end(&json);
    json_fini(&json);
    return r;
}

/* ------------------------------------------------------------------ what it may say */

static const struct {
    const char *model_type, *reason;
} refused[] = {
    {"deepseek_v32", "its attention chooses tokens by an index, which moed does not compute"},
    {"deepseek_v4", "its compressed attention and hyper-connections are not computed by moed"},
    {"glm_moe_dsa", "its attention chooses tokens by an index, which moed does not compute"},
    {"kimi_k25", "it is a model of text and images"},
    {"deepseek", "its attention has no latents"},
};

static int check_family(const char *label, const struct said *said, struct err *err)
{
    static const char *const known[] = {"deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(said->model_type, known[i]))
            return 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(said->model_type, refused[i].model_type))
            return err_set(err, -ENOTSUP, "'%s', key 'model_type': found '%s': %s; supported: %s",
                           label, said->model_type, refused[i].reason, SUPPORTED);
    return err_set(err, -ENOTSUP, "'%s', key 'model_type': found '%s', expected one of %s", label,
                   said->model_type, SUPPORTED);
}

static int check_rules(const char *label, const struct said *said, struct err *err)
{
    if (said->hidden_act[0] && strcmp(said->hidden_act, "silu"))
        return err_set(err, -ENOTSUP, "'%s', key 'hidden_act': found '%s', expected 'silu'", label,
                       said->hidden_act);
    if (said->bias)
        return err_set(err, -ENOTSUP, "'%s', key 'attention_bias': found true, expected false",
                       label);
    if (!said->interleave)
        return err_set(err, -ENOTSUP, "'%s', key 'rope_interleave': found false, expected true",
                       label);
    if (said->freq != 1)
        return err_set(err, -ENOTSUP, "'%s', key 'moe_layer_freq': found %g, expected 1", label,
                       said->freq);
    if (said->quant_method[0] && strcmp(said->quant_method, "fp8"))
        return err_set(err, -ENOTSUP,
                       "'%s', key 'quant_method': found '%s', expected 'fp8' or no "
                       "quantization_config",
                       label, said->quant_method);
    if (said->quant_method[0] && (said->block[0] != 128 || said->block[1] != 128))
        return err_set(err, -ENOTSUP,
                       "'%s', key 'weight_block_size': found %" PRId64 " x %" PRId64
                       ", expected 128 x 128",
                       label, said->block[0], said->block[1]);
    return 0;
}

/* ------------------------------------------------------------------ keys */

struct writer {
    const char *label;
    struct meta *meta;
    struct err *err;
    int r; /* the first failure */
};

static void done(struct writer *w, int r)
{
    if (r < 0 && w->r == 0)
        w->r = err_set(w->err, r, "'%s': no memory for its keys", w->label);
}

/* A number that must be there, and 0 where that has a meaning. */
static void put_u32(struct writer *w, const char *key, const char *hf, double value)
{
    if (w->r == 0 && value < 0)
        w->r =
            err_set(w->err, -EINVAL, "'%s', key '%s': found none, expected a number", w->label, hf);
    if (w->r == 0)
        done(w, meta_put_u32(w->meta, key, (uint32_t)value));
}

static void put_f32(struct writer *w, const char *key, double value)
{
    if (w->r == 0)
        done(w, meta_put_f32(w->meta, key, value));
}

static void put_router(struct writer *w, const struct said *s)
{
    bool v2 = !strcmp(s->model_type, "deepseek_v2");
    const char *gate = s->scoring_func[0] ? s->scoring_func : v2 ? "softmax" : "sigmoid";
    const char *method = s->topk_method[0] ? s->topk_method : v2 ? "greedy" : "noaux_tc";
    bool sigmoid = !strcmp(gate, "sigmoid");
    if (w->r < 0)
        return;
    if (!sigmoid && strcmp(gate, "softmax")) {
        w->r = err_set(w->err, -ENOTSUP,
                       "'%s', key 'scoring_func': found '%s', expected 'softmax' "
                       "or 'sigmoid'",
                       w->label, gate);
        return;
    }
    bool grouped = strcmp(method, "greedy") != 0;
    if (strcmp(method, "greedy") && strcmp(method, "group_limited_greedy") &&
        strcmp(method, "noaux_tc")) {
        w->r = err_set(w->err, -ENOTSUP,
                       "'%s', key 'topk_method': found '%s', expected 'greedy', "
                       "'group_limited_greedy' or 'noaux_tc'",
                       w->label, method);
        return;
    }
    if (sigmoid != !strcmp(method, "noaux_tc")) {
        w->r = err_set(w->err, -ENOTSUP,
                       "'%s', key 'topk_method': found '%s' with scoring_func "
                       "'%s', which no model of these families has",
                       w->label, method, gate);
        return;
    }
    if (s->scale < 0 && w->r == 0) {
        w->r = err_set(w->err, -EINVAL,
                       "'%s', key 'routed_scaling_factor': found none, expected "
                       "a number",
                       w->label);
        return;
    }
    put_u32(w, "deepseek2.expert_used_count", "num_experts_per_tok", s->used);
    put_u32(w, "deepseek2.expert_feed_forward_length", "moe_intermediate_size", s->expert_width);
    put_u32(w, "deepseek2.expert_shared_count", "n_shared_experts", s->shared < 0 ? 0 : s->shared);
    put_u32(w, "deepseek2.expert_gating_func", "scoring_func", sigmoid ? 2 : 1);
    put_f32(w, "deepseek2.expert_weights_scale", s->scale);
    if (w->r == 0)
        done(w,
             meta_put_bool(w->meta, "deepseek2.expert_weights_norm", s->norm_said ? s->norm : !v2));
    put_u32(w, "deepseek2.expert_group_count", "n_group", grouped && s->groups > 0 ? s->groups : 1);
    put_u32(w, "deepseek2.expert_group_used_count", "topk_group",
            grouped && s->groups > 0 ? s->groups_used : 1);
}

static void put_rope(struct writer *w, const struct said *s)
{
    const struct rope *rope = &s->rope;
    put_f32(w, "deepseek2.rope.freq_base", rope->theta < 0 ? 10000 : rope->theta);
    if (w->r < 0 || !rope->type[0] || !strcmp(rope->type, "default"))
        return;
    if (strcmp(rope->type, "yarn")) {
        w->r = err_set(w->err, -ENOTSUP,
                       "'%s', key 'rope_scaling.type': found '%s', expected "
                       "'yarn' or no rope_scaling",
                       w->label, rope->type);
        return;
    }
    /* The published code scales the rotated parts by the ratio of what these two make. */
    double mscale = rope->mscale < 0 ? 1 : rope->mscale;
    double all = rope->mscale_all_dim < 0 ? 0 : rope->mscale_all_dim;
    if (mscale != all) {
        w->r = err_set(w->err, -ENOTSUP,
                       "'%s', key 'rope_scaling.mscale': found %g, expected %g as "
                       "mscale_all_dim",
                       w->label, mscale, all);
        return;
    }
    if (rope->factor < 0) {
        w->r = err_set(w->err, -EINVAL,
                       "'%s', key 'rope_scaling.factor': found none, expected a "
                       "number",
                       w->label);
        return;
    }
    done(w, meta_put_str(w->meta, "deepseek2.rope.scaling.type", "yarn", 4));
    put_f32(w, "deepseek2.rope.scaling.factor", rope->factor);
    put_u32(w, "deepseek2.rope.scaling.original_context_length",
            "rope_scaling.original_max_position_embeddings", rope->original);
    put_f32(w, "deepseek2.rope.scaling.yarn_beta_fast", rope->beta_fast < 0 ? 32 : rope->beta_fast);
    put_f32(w, "deepseek2.rope.scaling.yarn_beta_slow", rope->beta_slow < 0 ? 1 : rope->beta_slow);
    put_f32(w, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1 * all);
}

static void put_all(struct writer *w, const struct said *s)
{
    double key = s->nope < 0 || s->rope_dims < 0 ? UNSET : s->nope + s->rope_dims;
    done(w, meta_put_str(w->meta, "general.architecture", "deepseek2", 9));
    put_u32(w, "deepseek2.vocab_size", "vocab_size", s->vocab);
    put_u32(w, "deepseek2.context_length", "max_position_embeddings", s->context);
    put_u32(w, "deepseek2.embedding_length", "hidden_size", s->hidden);
    if (s->dense_width >= 0)
        put_u32(w, "deepseek2.feed_forward_length", "intermediate_size", s->dense_width);
    put_u32(w, "deepseek2.attention.head_count", "num_attention_heads", s->heads);
    put_u32(w, "deepseek2.attention.head_count_kv", "num_attention_heads", s->heads);
    put_u32(w, "deepseek2.attention.key_length",
            s->nope < 0 ? "qk_nope_head_dim" : "qk_rope_head_dim", key);
    put_u32(w, "deepseek2.attention.value_length", "v_head_dim", s->value);
    put_u32(w, "deepseek2.attention.kv_lora_rank", "kv_lora_rank", s->latent);
    if (s->q_rank > 0)
        put_u32(w, "deepseek2.attention.q_lora_rank", "q_lora_rank", s->q_rank);
    put_u32(w, "deepseek2.rope.dimension_count", "qk_rope_head_dim", s->rope_dims);
    put_f32(w, "deepseek2.attention.layer_norm_rms_epsilon", s->eps < 0 ? 1e-6 : s->eps);
    if (s->experts > 0) {
        put_u32(w, "deepseek2.expert_count", "n_routed_experts", s->experts);
        put_u32(w, "deepseek2.leading_dense_block_count", "first_k_dense_replace",
                s->dense < 0 ? 0 : s->dense);
        put_router(w, s);
    }
    put_rope(w, s);
}

int hf_config_read(const struct hf_folder *folder, struct meta *meta, struct hf_config *ret,
                   struct err *err)
{
    struct said said = {
        .vocab = UNSET,
        .context = UNSET,
        .hidden = UNSET,
        .layers = UNSET,
        .mtp = UNSET,
        .heads = UNSET,
        .q_rank = UNSET,
        .latent = UNSET,
        .nope = UNSET,
        .rope_dims = UNSET,
        .value = UNSET,
        .dense = UNSET,
        .dense_width = UNSET,
        .experts = UNSET,
        .used = UNSET,
        .shared = UNSET,
        .expert_width = UNSET,
        .groups = UNSET,
        .groups_used = UNSET,
        .freq = 1,
        .eps = UNSET,
        .scale = UNSET,
        .interleave = true,
        .bos = UNSET,
        .eos = UNSET,
        .eot = UNSET,
        .rope = {.theta = UNSET,
                 .factor = UNSET,
                 .original = UNSET,
                 .beta_fast = UNSET,
                 .beta_slow = UNSET,
                 .mscale = UNSET,
                 .mscale_all_dim = UNSET},
    };
    struct hf_text file;
    int r = hf_read(folder, CONFIG, CONFIG_MAX, &file, err);
    if (r < 0)
        return r;
    struct hf_config config = {0};
    memcpy(config.label, file.label, sizeof config.label);
    r = read_file(&file, &said, false, err);
    hf_text_fini(&file);
    if (r == 0)
        r = check_family(config.label, &said, err);
    if (r == 0)
        r = check_rules(config.label, &said, err);
    struct writer w = {.label = config.label, .meta = meta, .err = err, .r = r};
    if (r == 0)
        put_all(&w, &said);
    if (w.r == 0 && said.layers < 1)
        w.r = err_set(err, -EINVAL, "'%s', key 'num_hidden_layers': found %s, expected at least 1",
                      config.label, said.layers < 0 ? "none" : "0");
    if (w.r < 0)
        return w.r;

    struct err none;
    r = hf_read(folder, GENERATION, CONFIG_MAX, &file, &none);
    if (r == 0) {
        r = read_file(&file, &said, true, err);
        hf_text_fini(&file);
    } else if (r == -ENOENT) {
        r = 0;
    } else if (err) {
        *err = none;
    }
    config.layers = (int)said.layers;
    config.mtp_layers = said.mtp < 0 ? 0 : (int)said.mtp;
    config.experts = said.experts < 0 ? 0 : (int)said.experts;
    config.vocab = said.vocab < 0 ? 0 : (int)said.vocab;
    config.tied = said.tied;
    config.scaled = said.quant_method[0] != '\0';
    config.bos = said.bos;
    config.eos = said.eos;
    config.eot = said.eot;
    if (r == 0)
        *ret = config;
    return r;
}
