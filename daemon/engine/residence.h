/* SPDX-License-Identifier: MIT
 *
 * One model's stay in memory: a thread loads it, a scrub looks after its weights while it is here,
 * a thread takes it out again.
 *
 * The loop's, but for what the threads do; they report through `changed`, called on them.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/models.h"
#include "model/digest.h"
#include "place/place.h"

struct engine;
struct model;
struct scrub;
struct vault;

struct residence_host {  /* the same for all models */
    struct vault *vault; /* NULL: none */
    uint64_t scrub_ns;   /* 0: nobody looks at kept weights */
    char *const *shared; /* [n_shared] files of preambles */
    int n_shared;
    void (*changed)(void *arg);
    void *arg;
};

enum residence_state { RESIDENCE_NONE, RESIDENCE_COMING, RESIDENCE_HERE, RESIDENCE_GOING };

struct residence { /* zeroed: none */
    enum residence_state state;
    const struct residence_host *host;
    struct model *model; /* borrowed from the beginning to the end */
    struct place *place;
    struct engine *engine; /* HERE; what the loop asks */
    struct scrub *scrub;   /* NULL: nobody looks at its weights */

    struct models_config config; /* its strings: */
    char place_name[40], isa[40], cores[40], cache[40];

    /* The threads'; the loop reads the first three meanwhile, the others when it has heard the end.
     */
    atomic_uint_fast64_t bytes_done, bytes_all;
    atomic_bool is_broken; /* what is kept of it was dropped */
    bool is_kept;          /* its weights are in the vault */
    int result;
    struct err error;
    struct place_words words;
    char ident[MODEL_IDENT_CHARS];
    int64_t started_ns, ended_ns; /* of the loading */

    pthread_t thread;
    bool runs;
    atomic_bool finished, give_up, has_progress;
    int64_t told_ns;
};

/* Start loading; NONE before. `config` is copied. -EAGAIN, with words: there is no thread. */
int residence_begin(struct residence *r, const struct residence_host *host, struct model *model,
                    const struct models_config *config, struct err *err);
/* Start taking it out: what the engine keeps is saved, what the vault has of it dropped. HERE
 * before, and nobody uses the engine any more. */
void residence_end(struct residence *r);

enum residence_news {
    RESIDENCE_QUIET,
    RESIDENCE_PROGRESS,
    RESIDENCE_ARRIVED, /* HERE from now on */
    RESIDENCE_FAILED,  /* NONE; error says why */
    RESIDENCE_LEFT,    /* NONE */
};
/* What the threads have reported since. */
enum residence_news residence_poll(struct residence *r);

/* Has residence_fini() of one that is here save what its engine keeps, until then at most. */
void residence_save(struct residence *r, uint64_t until_ns);
/* Ends whatever goes on, now; what the vault has stays there for the next process. */
void residence_fini(struct residence *r);
