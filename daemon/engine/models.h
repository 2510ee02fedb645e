/* SPDX-License-Identifier: MIT
 *
 * The models this daemon knows: which are configured, which are loaded, and the engine of each.
 *
 * Owned by the loop thread; loading runs on the loader thread, which reports through `changed`
 * (called on the loader's or an engine's thread: wake the loop and call models_update() there).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "engine/engine.h"

struct model;
struct models;

enum models_state {
    MODELS_UNLOADED,
    MODELS_LOADING,
    MODELS_READY,
    MODELS_TEXT,   /* a vocabulary only: tokenises, never generates */
    MODELS_FAILED, /* loading failed: see error */
};
const char *models_state_name(enum models_state state); /* "unloaded", "loading" … */

struct models_config {
    const char *place; /* "cpu", "ref" */
    const char *isa;   /* NULL: the best */
    int threads;       /* 0: one a core */
    struct engine_config engine;
};

struct models_entry { /* read on the loop thread; pointers live while the entry is in this state */
    const char *name;
    const char *path;
    enum models_state state;
    const struct model *model;      /* open in every state but FAILED at open */
    struct engine *engine;          /* MODELS_READY, else NULL */
    uint64_t bytes_done, bytes_all; /* MODELS_LOADING */
    double load_seconds;            /* MODELS_READY */
    struct err error;               /* MODELS_FAILED */
    uint32_t generation;            /* grows at every change of state */
};

int models_new(const struct models_config *config, void (*changed)(void *arg), void *arg,
               struct models **ret, struct err *err);
/* Closes the engines, waits for the loader. */
void models_free(struct models *models);
OWN_DEFINE(models, models_free);

/* Opens and checks a file and lists it under its name; -EEXIST: the name is taken. */
int models_add(struct models *models, const char *path, struct err *err);
int models_count(const struct models *models);
struct models_entry *models_at(struct models *models, int i);
/* By name; NULL or "" gives the first one. NULL if there is none. */
struct models_entry *models_find(struct models *models, const char *name);
/* Start loading; at once true of what is loading or ready. -ENOTSUP for a text-only model. */
int models_load(struct models *models, struct models_entry *entry, struct err *err);
/* Ends its calls (they get ENGINE_CANCELLED only if polled before), frees the weights.
 * Call only when no stream uses entry->engine any more. -EBUSY while loading. */
int models_unload(struct models *models, struct models_entry *entry, struct err *err);
/* Takes what the loader reported; true if an entry changed. On the loop thread. */
bool models_update(struct models *models);
