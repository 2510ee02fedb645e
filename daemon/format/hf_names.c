/* SPDX-License-Identifier: MIT
 *
 * See hf_names.h. Sources: the checkpoints of DeepSeek V2 and V3, Moonlight, Kimi-K2 and
 * GLM-4.7-Flash; all of them name their tensors alike.
 */
#include "format/hf_names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *hf, *gguf;
} file_names[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

/* Behind "model.layers.N." and "blk.N."; '#' is the number of an expert. */
static const struct {
    const char *hf, *gguf;
} layer_names[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
    {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
    {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
    {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
    {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
    {"self_attn.kv_b_proj.weight", "attn_kv_b.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate.weight", "ffn_gate_inp.weight"},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"mlp.experts.#.gate_proj.weight", "ffn_gate_exps.weight"},
    {"mlp.experts.#.up_proj.weight", "ffn_up_exps.weight"},
    {"mlp.experts.#.down_proj.weight", "ffn_down_exps.weight"},
    {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"},
    {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
    {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"},
    /* the block that predicts the token after the next */
    {"eh_proj.weight", "nextn.eh_proj.weight"},
    {"enorm.weight", "nextn.enorm.weight"},
    {"hnorm.weight", "nextn.hnorm.weight"},
    {"shared_head.norm.weight", "nextn.shared_head_norm.weight"},
    {"embed_tokens.weight", "nextn.embed_tokens.weight"},
    {"shared_head.head.weight", "nextn.shared_head_head.weight"},
    /* follows from the configuration */
    {"self_attn.rotary_emb.inv_freq", NULL},
};

enum {
    N_FILE = sizeof file_names / sizeof *file_names,
    N_LAYER = sizeof layer_names / sizeof *layer_names
};

/* A number without leading zeros, below `most`; what follows it, or NULL. */
static const char *take_number(const char *text, int most, int *ret)
{
    int n = 0;
    if (*text < '0' || *text > '9' || (text[0] == '0' && text[1] >= '0' && text[1] <= '9'))
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        n = n * 10 + (*text - '0');
        if (n >= most)
            return NULL;
    }
    *ret = n;
    return text;
}

static bool matches(const char *pattern, const char *name, int *expert)
{
    *expert = -1;
    const char *mark = strchr(pattern, '#');
    if (!mark)
        return strcmp(pattern, name) == 0;
    size_t before = (size_t)(mark - pattern);
    if (strncmp(pattern, name, before))
        return false;
    const char *rest = take_number(name + before, HF_MAX_EXPERTS, expert);
    return rest && strcmp(rest, mark + 1) == 0;
}

int hf_name_find(const char *name, struct hf_name *ret)
{
    *ret = (struct hf_name){.layer = -1, .expert = -1};
    for (ret->row = 0; ret->row < N_FILE; ret->row++)
        if (!strcmp(file_names[ret->row].hf, name))
            return 1;
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1))
        return -ENOENT;
    const char *rest = take_number(name + sizeof prefix - 1, HF_MAX_LAYERS, &ret->layer);
    if (!rest || *rest++ != '.')
        return -ENOENT;
    for (ret->row = 0; ret->row < N_LAYER; ret->row++)
        if (matches(layer_names[ret->row].hf, rest, &ret->expert))
            return layer_names[ret->row].gguf != NULL;
    return -ENOENT;
}

void hf_name_gguf(const struct hf_name *name, char *dst, size_t size)
{
    if (name->layer < 0)
        snprintf(dst, size, "%s", file_names[name->row].gguf);
    else
        snprintf(dst, size, "blk.%d.%s", name->layer, layer_names[name->row].gguf);
}

void hf_name_hf(const struct hf_name *name, char *dst, size_t size)
{
    if (name->layer < 0) {
        snprintf(dst, size, "%s", file_names[name->row].hf);
        return;
    }
    const char *pattern = layer_names[name->row].hf, *mark = strchr(pattern, '#');
    if (mark)
        snprintf(dst, size, "model.layers.%d.%.*s%d%s", name->layer, (int)(mark - pattern), pattern,
                 name->expert, mark + 1);
    else
        snprintf(dst, size, "model.layers.%d.%s", name->layer, pattern);
}
