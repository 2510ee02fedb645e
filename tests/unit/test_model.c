/* SPDX-License-Identifier: MIT
 *
 * What opening a model refuses: one thing changed in a good toy, and the words that must name it.
 *
 *     test_model V3.gguf V2.gguf       toys of F32: sigmoid, split, one prediction block | softmax,
 * classic
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../fixture/edit.h"
#include "model/hparams.h"
#include "model/model.h"
#include "place/place.h"

#define A "deepseek2."

static const char *v3_path, *v2_path;

static struct model *opened(struct edit *e)
{
    struct model *model = NULL;
    struct err err = {0};
    if (model_open(edit_write(e), &model, &err) < 0)
        fail_msg("%s", err.text);
    return model;
}

static void refused(struct edit *e, int code, const char *word)
{
    struct model *model = NULL;
    struct err err = {0};
    int r = model_open(edit_write(e), &model, &err);
    if (r == 0)
        fail_msg("accepted, expected words on %s", word);
    if (r != code || err.code != code || !strstr(err.text, word))
        fail_msg("%d (%s), expected %d and '%s'", r, err.text, code, word);
    edit_fini(e);
}

static void toys_open(void **state)
{
    (void)state;
    struct edit e = edit_read(v3_path);
    struct model *model = opened(&e);
    const struct hparams *hp = model_hparams(model);
    assert_int_equal(hp->layers, 3);
    assert_int_equal(hp->mtp_layers, 1);
    assert_true(model_info(model)->has_mtp);
    assert_int_equal(hp->route.gate, MK_GATE_SIGMOID);
    assert_int_equal(hp->route.n_groups, 4);
    assert_int_equal(hp->route.n_groups_used, 2);
    assert_true(hp->route.norm);
    double m = 1 + 0.1 * log(40);
    assert_true(fabs((double)hp->scale - m * m / sqrt(hp->nope + hp->rope_dims)) < 1e-6);
    model_close(model);
    edit_fini(&e);

    e = edit_read(v2_path);
    model = opened(&e);
    hp = model_hparams(model);
    assert_int_equal(hp->route.gate, MK_GATE_SOFTMAX);
    assert_false(hp->route.norm);
    assert_true(hp->route.scale == 16);
    model_close(model);
    edit_fini(&e);
}

/* ------------------------------------------------------------------ numbers */

static void numbers_out_of_range_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
    } cases[] = {
        {A "block_count", 0},
        {A "block_count", 1025},
        {A "block_count", UINT32_MAX},
        {A "nextn_predict_layers", 4},
        {A "embedding_length", 0},
        {A "embedding_length", 1u << 31},
        {A "context_length", 0},
        {A "context_length", UINT32_MAX},
        {A "vocab_size", 0},
        {A "attention.head_count", 0},
        {A "attention.head_count", 4097},
        {A "attention.head_count_kv", 3},
        {A "attention.kv_lora_rank", 0},
        {A "attention.q_lora_rank", UINT32_MAX},
        {A "rope.dimension_count", 0},
        {A "rope.dimension_count", 15},
        {A "attention.key_length_mla", 16},
        {A "attention.key_length", 77},
        {A "attention.value_length", 77},
        {A "attention.value_length_mla", 0},
        {A "expert_count", 4097},
        {A "expert_used_count", 0},
        {A "expert_used_count", 17},
        {A "expert_used_count", 9}, /* two groups of four are kept */
        {A "expert_feed_forward_length", 0},
        {A "expert_shared_count", 65},
        {A "expert_group_count", 3},
        {A "expert_group_used_count", 5},
        {A "expert_group_used_count", 0},
        {A "leading_dense_block_count", 4},
        {A "feed_forward_length", 0},
        {A "rope.scaling.original_context_length", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct edit e = edit_read(v3_path);
        edit_u32(&e, cases[i].key, cases[i].value);
        const char *word = strrchr(cases[i].key, '.') + 1;
        refused(&e, -EINVAL, word);
    }
}

static void floats_out_of_range_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        float value;
    } cases[] = {
        {A "attention.layer_norm_rms_epsilon", 0},
        {A "attention.layer_norm_rms_epsilon", -1},
        {A "attention.layer_norm_rms_epsilon", NAN},
        {A "rope.freq_base", 0},
        {A "rope.freq_base", 1}, /* its logarithm divides */
        {A "rope.freq_base", INFINITY},
        {A "rope.scaling.factor", 0},
        {A "rope.scaling.factor", NAN},
        {A "rope.scaling.yarn_log_multiplier", -1},
        {A "rope.scaling.yarn_beta_fast", 0.5f}, /* below the slow one */
        {A "rope.scaling.yarn_beta_slow", 0},
        {A "expert_weights_scale", -1},
        {A "expert_weights_scale", INFINITY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct edit e = edit_read(v3_path);
        edit_f32(&e, cases[i].key, cases[i].value);
        refused(&e, -EINVAL, strrchr(cases[i].key, '.') + 1);
    }
}

static void needed_keys_are_missed(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "general.architecture",
        A "block_count",
        A "embedding_length",
        A "context_length",
        A "attention.head_count",
        A "attention.kv_lora_rank",
        A "attention.value_length_mla",
        A "attention.layer_norm_rms_epsilon",
        A "rope.dimension_count",
        A "rope.scaling.factor",
        A "rope.scaling.original_context_length",
        A "expert_used_count",
        A "expert_feed_forward_length",
        A "expert_group_used_count",
        A "feed_forward_length",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct edit e = edit_read(v3_path);
        edit_drop(&e, keys[i]);
        refused(&e, -EINVAL, keys[i]);
    }
}

/* Each number is possible, their product is not. */
static void products_are_bounded(void **state)
{
    (void)state;
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "attention.head_count", 4096);
    edit_u32(&e, A "attention.head_count_kv", 1);
    edit_u32(&e, A "attention.key_length_mla", 1 << 20);
    edit_drop(&e, A "attention.key_length");
    refused(&e, -EINVAL, "head_count");
    e = edit_read(v3_path);
    edit_u32(&e, A "expert_count", 4096);
    edit_u32(&e, A "expert_feed_forward_length", 1 << 20);
    refused(&e, -EINVAL, "expert_feed_forward_length");
}

/* Optional keys are not passed over because their type is a surprise. */
static void wrong_types_are_named(void **state)
{
    (void)state;
    static const char *const keys[] = {
        A "attention.scale",
        A "attention.sliding_window",
        A "rope.scaling.attn_factor",
        A "attention.indexer.head_count",
        A "vocab_size",
        A "attention.q_lora_rank",
        A "expert_gating_func",
        A "expert_weights_norm",
        A "expert_weights_scale",
        A "rope.freq_base",
        A "nextn_predict_layers",
        A "expert_group_count",
        A "rope.scaling.factor",
        A "rope.scaling.yarn_beta_slow",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct edit e = edit_read(v3_path);
        edit_str(&e, keys[i], "1");
        refused(&e, -EINVAL, keys[i]);
    }
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "rope.scaling.type", 1);
    refused(&e, -EINVAL, "rope.scaling.type");
    e = edit_read(v3_path);
    edit_f32(&e, A "attention.scale", NAN);
    refused(&e, -EINVAL, "attention.scale");
}

static void other_arithmetic_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        float value;
    } cases[] = {
        {A "attention.scale", 0.5f},
        {A "attention.temperature_scale", 0.1f},
        {A "attention.clamp_kqv", 8},
        {A "final_logit_softcapping", 30},
        {A "logit_scale", 2},
        {A "rope.scale_linear", 4},
        {A "rope.scaling.attn_factor", 2},
        {A "rope.scaling.yarn_ext_factor", 0.5f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct edit e = edit_read(v3_path);
        edit_f32(&e, cases[i].key, cases[i].value);
        refused(&e, -ENOTSUP, cases[i].key);
    }
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "attention.sliding_window", 4096);
    refused(&e, -ENOTSUP, "attention.sliding_window");
    e = edit_read(v3_path);
    edit_u32(&e, A "expert_gating_func", 3);
    refused(&e, -ENOTSUP, "expert_gating_func");
    e = edit_read(v3_path);
    edit_str(&e, A "rope.scaling.type", "linear");
    refused(&e, -ENOTSUP, "rope.scaling.type");
    e = edit_read(v3_path); /* a factor for which others know a meaning without a type */
    edit_drop(&e, A "rope.scaling.type");
    refused(&e, -ENOTSUP, "rope.scaling.factor");
    e = edit_read(v3_path);
    edit_str(&e, "general.architecture", "deepseek32");
    refused(&e, -ENOTSUP, "V3.2");
    e = edit_read(v3_path);
    edit_str(&e, "general.architecture", "llama");
    refused(&e, -ENOTSUP, "llama");
}

static void neutral_numbers_change_nothing(void **state)
{
    (void)state;
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "attention.scale", 0);
    edit_f32(&e, A "attention.sliding_window", 0);
    edit_f32(&e, A "rope.scaling.attn_factor", 1);
    edit_u32(&e, A "moe_every_n_layers", 1);
    edit_drop(&e, A "attention.key_length");
    edit_drop(&e, A "attention.head_count_kv");
    edit_drop(&e, A "vocab_size");
    edit_drop(&e, A "expert_gating_func"); /* the bias tells */
    edit_drop(&e, A "expert_weights_norm");
    struct model *model = opened(&e);
    assert_int_equal(model_hparams(model)->route.gate, MK_GATE_SIGMOID);
    assert_true(model_hparams(model)->route.norm);
    assert_false(model_hparams(model)->warn_no_mscale);
    model_close(model);
    edit_fini(&e);

    e = edit_read(v3_path);
    edit_drop(&e, A "rope.scaling.yarn_log_multiplier");
    model = opened(&e);
    assert_true(model_hparams(model)->warn_no_mscale);
    model_close(model);
    edit_fini(&e);
}

/* Only a file that says nothing gets the groups of its release. */
static void groups_are_not_guessed(void **state)
{
    (void)state;
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "expert_group_count", 8);
    edit_drop(&e, A "expert_group_used_count");
    refused(&e, -EINVAL, "expert_group_used_count");
    e = edit_read(v3_path);
    edit_drop(&e, A "expert_group_count");
    edit_drop(&e, A "expert_group_used_count");
    struct model *model = opened(&e);
    assert_int_equal(model_hparams(model)->route.n_groups, 1);
    model_close(model);
    edit_fini(&e);
}

/* ------------------------------------------------------------------ tensors */

static void tensors_are_missed_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *name, *hidden;
    } cases[] = {
        {"blk.1.attn_norm.weight", "blk.1.xttn_norm.weight"},
        {"blk.0.attn_q_a.weight", "blk.0.xttn_q_a.weight"},
        {"blk.2.ffn_up_exps.weight", "blk.2.xfn_up_exps.weight"},
        {"blk.1.ffn_down_shexp.weight", "blk.1.xfn_down_shexp.weight"},
        {"output_norm.weight", "xutput_norm.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct edit e = edit_read(v3_path); /* the strange name is found first */
        edit_rename(&e, cases[i].name, cases[i].hidden);
        refused(&e, -ENOTSUP, cases[i].hidden);
    }
    struct edit e = edit_read(v3_path);
    edit_rename(&e, "blk.1.attn_v_b.weight", "blk.9.attn_v_b.weight");
    refused(&e, -EINVAL, "blk.9.attn_v_b.weight");
    e = edit_read(v3_path);
    edit_rename(&e, "blk.2.exp_probs_b.bias", "blk.0.exp_probs_b.bias"); /* layer 0 is dense */
    refused(&e, -ENOTSUP, "blk.0.exp_probs_b.bias");
    e = edit_read(v3_path);
    edit_u32(&e, A "block_count", 5);
    refused(&e, -ENOTSUP, "nextn");
    e = edit_read(v3_path);
    edit_u32(&e, A "block_count", 3);
    refused(&e, -EINVAL, "nextn_predict_layers");
}

static void shapes_are_compared(void **state)
{
    (void)state;
    static const char *const names[] = {
        "token_embd.weight",     "blk.0.ffn_gate.weight",      "blk.1.ffn_gate_inp.weight",
        "blk.1.attn_k_b.weight", "blk.2.ffn_down_exps.weight", "blk.3.nextn.eh_proj.weight",
        "blk.0.attn_q_a.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct edit e = edit_read(v3_path);
        edit_turn(&e, names[i]);
        refused(&e, -EINVAL, names[i]);
    }
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "vocab_size", 385);
    refused(&e, -EINVAL, "token_embd.weight");
}

/* A prediction block is one, or it is dropped as a whole; nothing of it is needed. */
static void a_block_that_predicts_nothing(void **state)
{
    (void)state;
    struct edit e = edit_read(v3_path);
    edit_drop(&e, A "nextn_predict_layers");
    refused(&e, -ENOTSUP, "blk.3.nextn");
    e = edit_read(v3_path);
    edit_u32(&e, A "nextn_predict_layers", 2); /* block 2 is a layer */
    refused(&e, -EINVAL, "nextn_predict_layers");
}

static void softmax_has_no_bias(void **state)
{
    (void)state;
    struct edit e = edit_read(v3_path);
    edit_u32(&e, A "expert_gating_func", 1);
    refused(&e, -EINVAL, "exp_probs_b");
}

static void old_files_have_no_second_lengths(void **state)
{
    (void)state;
    struct edit e = edit_read(v2_path);
    edit_drop(&e, A "attention.key_length");
    refused(&e, -EINVAL, "attention.key_length");
    e = edit_read(v2_path);
    edit_u32(&e, A "attention.value_length", 16);
    refused(&e, -EINVAL, "attn_");
    e = edit_read(v2_path);
    edit_u32(&e, A "attention.q_lora_rank", 0);
    refused(&e, -ENOTSUP, "attn_q_a");
}

/* ------------------------------------------------------------------ loading */

static bool give_up(void *arg, uint64_t done, uint64_t all)
{
    assert_true(done <= all);
    return --*(int *)arg > 0;
}

static bool count(void *arg, uint64_t done, uint64_t all)
{
    uint64_t *seen = arg;
    assert_true(done >= seen[0] && done <= all);
    seen[0] = done;
    seen[1] = all;
    return true;
}

static void loading_ends_when_it_is_given_up(void **state)
{
    (void)state;
    struct model *model;
    struct place *place;
    struct err err;
    struct place_spec spec = {.kind = "null"};
    assert_int_equal(place_open(&spec, &place, &err), 0);
    assert_int_equal(model_open(v2_path, &model, &err), 0);
    for (int after = 1; after < 60; after += 7) {
        int left = after;
        assert_int_equal(model_load(model, place, give_up, &left, &err), -ECANCELED);
        assert_false(model_is_loaded(model));
    }
    uint64_t seen[2] = {0};
    assert_int_equal(model_load(model, place, count, seen, &err), 0);
    assert_int_equal(seen[0], seen[1]);
    assert_int_equal(model_load(model, place, NULL, NULL, &err), -EEXIST);
    model_unload(model);
    model_unload(model);
    assert_int_equal(model_load(model, place, NULL, NULL, &err), 0);
    model_close(model);
    place_close(place);
}

static void names_come_from_paths(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"/a/b/model-Q4_K_M.gguf", "model-Q4_K_M"},
        {"model.GGUF", "model"},
        {"x/deep-00001-of-00009.gguf", "deep"},
        {"x/deep-0001-of-00009.gguf", "deep-0001-of-00009"},
        {".gguf", ".gguf"},
        {"-00001-of-00009.gguf", "-00001-of-00009"},
        {"plain", "plain"},
        {"/m/DeepSeek-V3", "DeepSeek-V3"},
        {"/m/DeepSeek-V3//", "DeepSeek-V3"},
        {"/m/DeepSeek-V3/config.json", "DeepSeek-V3"},
        {"V3/model.safetensors.index.json", "V3"},
        {"V3/model-00001-of-00163.safetensors", "V3"},
        {"V3/other.safetensors", "other"},
        {"model.safetensors", "model"},
        {"config.json", "config.json"},
        {"/", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        model_name(cases[i][0], name, sizeof name);
        assert_string_equal(name, cases[i][1]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    v3_path = argv[1];
    v2_path = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(toys_open),
        cmocka_unit_test(numbers_out_of_range_are_named),
        cmocka_unit_test(floats_out_of_range_are_named),
        cmocka_unit_test(needed_keys_are_missed),
        cmocka_unit_test(products_are_bounded),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(other_arithmetic_is_refused),
        cmocka_unit_test(neutral_numbers_change_nothing),
        cmocka_unit_test(groups_are_not_guessed),
        cmocka_unit_test(tensors_are_missed_by_name),
        cmocka_unit_test(shapes_are_compared),
        cmocka_unit_test(a_block_that_predicts_nothing),
        cmocka_unit_test(softmax_has_no_bias),
        cmocka_unit_test(old_files_have_no_second_lengths),
        cmocka_unit_test(loading_ends_when_it_is_given_up),
        cmocka_unit_test(names_come_from_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
