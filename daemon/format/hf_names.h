/* SPDX-License-Identifier: MIT
 *
 * Tensor names of Hugging Face checkpoints as names of the GGUF converters, which the model knows.
 * Pure; any thread.
 */
#pragma once

#include <stddef.h>

struct hf_name {
    int row;    /* which name, of the table here */
    int layer;  /* -1: of the file */
    int expert; /* its matrix in the stack, -1: not in one */
};

enum { HF_MAX_LAYERS = 10000, HF_MAX_EXPERTS = 65536 };

/* 1 the name is known, 0 nobody needs the tensor, -ENOENT it is unknown. */
int hf_name_find(const char *name, struct hf_name *ret);

/* "blk.3.ffn_gate_exps.weight"; "model.layers.3.mlp.experts.7.gate_proj.weight" */
void hf_name_gguf(const struct hf_name *name, char *dst, size_t size);
void hf_name_hf(const struct hf_name *name, char *dst, size_t size);
