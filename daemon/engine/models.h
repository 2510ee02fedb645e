/* SPDX-License-Identifier: MIT
 *
 * The models this daemon knows: which are configured or found, which are loaded, and the engine of
 * each.
 *
 * A model is named by its file, and then open from the start; or it lies in a folder, and then its
 * file is opened when somebody asks for it, and may be shut again. Indices stay what they are.
 *
 * Owned by the loop thread; loading, listing folders and opening what is found run on threads of
 * their own, which report through `changed` (called on them, an engine's thread or the loop: wake
 * the loop and call models_update() there).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "engine/engine.h"
#include "model/digest.h"

struct model;
struct models;
struct place_words;
struct porter;
struct vault;

enum models_state {
    MODELS_UNLOADED,
    MODELS_LOADING,
    MODELS_READY,
    MODELS_TEXT,   /* a vocabulary only: tokenises, never generates */
    MODELS_FAILED, /* loading failed: see error */
    MODELS_UNLOADING,
};
const char *models_state_name(enum models_state state); /* "unloaded", "loading" … */

/* It is what it is until that is over. */
static inline bool models_is_in_memory(enum models_state state)
{
    return state == MODELS_LOADING || state == MODELS_READY || state == MODELS_UNLOADING;
}

struct models_config {
    const char *place; /* "cpu", "ref" */
    const char *isa;   /* NULL: the best */
    int threads;       /* 0: as many as the place wants */
    int nodes;         /* 0: those of the machine */
    const char *cores; /* NULL: the place chooses */
    const char *cache; /* "int8"; NULL or "float": as the place likes */
    struct engine_config engine;
    uint64_t idle_ms;        /* how long it stays without work; 0: for ever */
    const char *keep_folder; /* of a store of what the engines keep; NULL: none */
    uint64_t keep_bytes;     /* at most so much lies there */
    struct vault *vault;     /* where weights outlive the process, and may be already; NULL: none;
                                must outlive the models */
    char *const *shared; /* [n_shared] files of system prompts that all users share, read at each
                            load; must outlive the models */
    int n_shared;
    uint64_t scrub_ns; /* how often kept weights are compared with their checksums; 0: never */
    /* Asked at each load for what counts for this model instead, on the loop thread; but for what
     * is kept, which is one for all. The strings are copied. NULL: the above. */
    int (*special)(void *arg, const char *model, struct models_config *ret, struct err *err);
    void *special_arg;
};

struct models_entry { /* read on the loop thread; pointers live while the entry is in this state */
    const char *name;
    const char *path;
    enum models_state state;
    const struct model *model;     /* NULL: of a folder, and not open now */
    const struct model_info *info; /* NULL: of a folder, and never looked into */
    uint64_t file_bytes;   /* known of a folder's files too; 0: a checkpoint not looked into */
    bool in_folder;        /* found by its name */
    bool gone;             /* found once, and not any more: nobody is told of it */
    bool opening;          /* models_open() goes on */
    bool stale;            /* the file is another one: shut it when nobody uses it */
    bool resting;          /* models_rest() took it out, and nobody has loaded it since */
    struct engine *engine; /* MODELS_READY, else NULL */
    uint64_t bytes_done, bytes_all; /* MODELS_LOADING; models_update() brings them up to date */
    double load_seconds;            /* MODELS_LOADING: when bytes_done were; MODELS_READY: in all */
    bool adopted;                   /* MODELS_READY: its weights were in the vault */
    uint64_t kept_bytes;            /* MODELS_READY: of its weights, in the vault */
    uint64_t idle_ms;    /* MODELS_READY: how long it should stay without work; 0: ever */
    struct err error;    /* MODELS_FAILED */
    uint32_t generation; /* grows at every change of state */
};

/* A folder that cannot be used is complained about, and then there is no store. */
int models_new(const struct models_config *config, void (*changed)(void *arg), void *arg,
               struct models **ret, struct err *err);
/* Closes the engines, waits for the loader. */
void models_free(struct models *models);
OWN_DEFINE(models, models_free);

/* Opens and checks a file and lists it under its name; -EEXIST: the name is taken. */
int models_add(struct models *models, const char *path, struct err *err);
/* Models are looked for in this folder too, when models_scan() asks; it need not be there. Of two
 * models of one name the one of the file named, or of the folder added first, counts. */
int models_add_folder(struct models *models, const char *path, struct err *err);
/* Once all files are named, before the first is loaded: what the vault has of others is dropped. */
void models_sweep_vault(struct models *models);
/* Who has the vault, for people; "": there is none. */
const char *models_vault(const struct models *models);
/* Who has what the engines keep on the disk; NULL: nobody. He outlives the engines. */
struct porter *models_porter(const struct models *models);
/* With those that are gone. */
int models_count(const struct models *models);
struct models_entry *models_at(struct models *models, int i);
/* By name; NULL or "" gives the first one. NULL if there is none. */
struct models_entry *models_find(struct models *models, const char *name);

/* List the folders once more; a ticket. Without folders there is nothing to wait for. */
unsigned models_scan(struct models *models);
/* Whether a listing that began after the ticket was drawn is through. */
bool models_is_scanned(const struct models *models, unsigned ticket);
/* Open what was found, one after the other: `opening` until then, after that it has a model or is
 * FAILED. -EINVAL for what is no file. */
int models_open(struct models *models, struct models_entry *entry, struct err *err);
/* Close the file of a found model that is not in memory and that nobody uses. */
void models_shut(struct models_entry *entry);

/* Start loading; at once true of what is loading or ready. -ENOTSUP for a text-only model, -EBADF
 * for one that is not open, -EBUSY while it is being unloaded. */
int models_load(struct models *models, struct models_entry *entry, struct err *err);
/* Start unloading: what is kept of talks is saved, weights are freed, here and in the vault; a
 * thread does it. Call only when no stream uses entry->engine any more. -EBUSY while loading. */
int models_unload(struct models *models, struct models_entry *entry, struct err *err);
/* The same because nobody has work for it: who has some from then on may load it. */
int models_rest(struct models *models, struct models_entry *entry, struct err *err);
/* Has all engines hand over to the store what it does not have yet, until then at most, monotonic;
 * and whether that, or what a model being unloaded left, goes on. */
void models_flush(struct models *models, uint64_t until_ns);
bool models_is_flushing(const struct models *models);
/* Has kept weights looked at, now and without pauses; of how many models. */
int models_verify(struct models *models);
/* What a loaded model's place is made of; all "" for another. */
void models_describe(const struct models_entry *entry, struct place_words *ret);
/* What came of looking at its kept weights; all 0 where nobody does. */
struct scrub_stat;
void models_scrubbed(const struct models_entry *entry, struct scrub_stat *ret);
/* What computes the answers of a model that is ready. */
struct models_receipt {
    char place[16], isa[16], cache[16], attention[64];
    char model[MODEL_IDENT_CHARS];
};
void models_receipt(const struct models_entry *entry, struct models_receipt *ret);
/* Takes what the loaders and the finder reported; true if something changed. A loader reports a few
 * times a second. On the loop thread. */
bool models_update(struct models *models);
