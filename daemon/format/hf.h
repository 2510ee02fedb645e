/* SPDX-License-Identifier: MIT
 *
 * A Hugging Face checkpoint: a folder with config.json, a tokenizer and safetensors, seen as the
 * GGUF file that a converter would make of it.
 *
 * hf.c finds the files and puts the tensors together; hf_config.c and hf_tokenizer.c turn the JSON
 * beside them into keys. All belong to the thread that opens the model.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct meta;

enum { HF_MAX_KEYS = 96 }; /* room of the meta that the functions here fill */

struct hf_folder {
    int fd;
    const char *beside; /* a path in the folder */
};

struct hf_text { /* a whole file */
    char label[160];
    char *at;
    size_t bytes;
};
void hf_text_fini(struct hf_text *text);

/* Reads a file of at most `most` bytes. -ENOENT with words, if it is not there. */
int hf_read(const struct hf_folder *folder, const char *name, size_t most, struct hf_text *ret,
            struct err *err);

struct hf_config { /* what else depends on than keys */
    char label[160];
    int layers;            /* without the prediction blocks */
    int mtp_layers;        /* as the configuration says; the tensors may be left out */
    int experts;           /* 0: none */
    int vocab;             /* rows of the embedding */
    bool tied;             /* the output is the embedding */
    bool scaled;           /* FP8 with scales is announced */
    int64_t bos, eos, eot; /* -1: not said */
};

/* config.json and, if there, generation_config.json: the keys of the model into `meta`, all but
 * block_count and nextn_predict_layers. -ENOTSUP for a family or a rule that is not known. */
int hf_config_read(const struct hf_folder *folder, struct meta *meta, struct hf_config *ret,
                   struct err *err);

/* tokenizer.json, or else tiktoken.model, and tokenizer_config.json: the keys of the tokenizer. */
int hf_tokenizer_read(const struct hf_folder *folder, const struct hf_config *config,
                      struct meta *meta, struct err *err);
