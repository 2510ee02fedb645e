/* SPDX-License-Identifier: MIT
 *
 * A model: what a file says, checked; its vocabulary and chat family; its weights on a place.
 *
 * model_open() reads and checks everything but the weights; model_load() brings the weights in.
 * A file with a vocabulary and no tensors opens as a text-only model. Everything but the weights
 * is immutable after open and free to any thread; model_forward() belongs to the engine's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/own.h"
#include "model/hparams.h"

struct vocab;
struct chat_family;
struct format;
struct place;

struct model_info {   /* for show and list; borrowed from the model */
    const char *name; /* file name without .gguf and split suffix */
    const char *path;
    const char *family;    /* "deepseek2" */
    const char *chat;      /* chat family, or NULL */
    const char *file_type; /* "Q4_K_M", or "" */
    const char *kind;      /* "GGUF v3" */
    uint64_t file_bytes;
    uint64_t weight_bytes; /* resident when loaded */
    uint64_t parameters;
    uint32_t context; /* tokens */
    uint32_t vocab;
    bool text_only;
    bool has_mtp;
};

struct model;

/* -EINVAL, -ENOTSUP, -ENOENT …: the words name file, field, found and expected. */
int model_open(const char *path, struct model **ret, struct err *err);
/* The same by the last name of `path` in an open folder, and nowhere else: format_open_at(). */
int model_open_at(int folder, const char *path, struct model **ret, struct err *err);
void model_close(struct model *model);
OWN_DEFINE(model, model_close);

const struct model_info *model_info(const struct model *model);
const struct hparams *model_hparams(const struct model *model); /* NULL: text only */
const struct vocab *model_vocab(const struct model *model);
const struct chat_family *model_chat(const struct model *model); /* NULL: no chat */
const struct format *model_format(const struct model *model);
/* The name a file is known by: its base name without ".gguf" and "-00001-of-00002". */
void model_name(const char *path, char *dst, size_t size);
/* What --check prints for a good file. */
void model_print(const struct model *model, FILE *out);

/**
 * Read, pack and bind the weights on a place; the model keeps the place until unload.
 *
 *   progress  called now and then with bytes done and in all; returns false to give up (-ECANCELED)
 *   thread    loader
 */
int model_load(struct model *model, struct place *place,
               bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
               struct err *err);
void model_unload(struct model *model);
bool model_is_loaded(const struct model *model);

/* ---- forward: forward.h */
