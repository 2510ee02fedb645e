/* SPDX-License-Identifier: MIT
 *
 * One answer of a generation: what one call of an engine says, gathered until it is sent.
 *
 * Loop thread. A generation has one for each of its answers, and knows the stream; a voice knows of
 * tokens, thinking, text and calls of tools, and of protobuf.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "moed/v1/generate.pb-c.h"
#include "service/receipt.h"
#include "ttrpc.h"

struct ask;
struct chat_reply;
struct generation;
struct vocab;

struct voice {
    struct voice *next;             /* hub->by_call, while the engine has it */
    struct generation *generation;  /* whose it is */
    struct engine_request *request; /* until the engine takes it */
    uint64_t engine_call;           /* 0: not yet */

    int index; /* among those that are told */
    const struct vocab *vocab;
    struct chat_reply *reply; /* NULL: everything is text */
    uint64_t call_id;         /* of reading_call_id() */
    bool logprobs;
    struct receipt receipt;

    /* what waits to be sent */
    struct engine_event estimate; /* if is_estimated */
    bool is_estimated;
    struct ttrpc_buf text, thinking;
    struct ttrpc_buf tokens; /* packed: the prompt's, the answer's, call deltas among them */
    int n_waiting, n_fields; /* tokens in `tokens`, fields of them */
    int first_index;

    void *hash;            /* XXH3_state_t over thinking, then text */
    struct ttrpc_buf said; /* text, kept until thinking can no longer come */
    bool is_done, is_told; /* nothing more comes; its last event is out, or never will be */
    struct engine_event done;

    struct ttrpc_buf held; /* events that are kept until it is known who is told */
    double logprob_sum;    /* of their tokens */
    int n_scored;
};

/* On zeroed memory; takes the request from where it is. After -ENOMEM it wants voice_fini() too.
 */
int voice_init(struct voice *voice, struct generation *generation, const struct models_entry *model,
               const struct ask *ask, struct engine_request **request);
void voice_fini(struct voice *voice);

/* Whether what waits and this would still make an event. */
bool voice_has_room(const struct voice *voice, const struct engine_event *ev);
/* Gathers an event of the engine; nothing of DONE. -ENOMEM: some of it is lost. */
int voice_take(struct voice *voice, const struct engine_event *ev);
int voice_end(struct voice *voice); /* nothing comes behind it. -ENOMEM */

/* Keeps a TOKEN or MORE instead, and takes what was kept, as much as makes an event, and the end
 * with the last of it. -ENOMEM */
int voice_hold(struct voice *voice, const struct engine_event *ev);
int voice_feed(struct voice *voice);
/* Mean log-probability of the tokens that were held; -INFINITY: it did not end well. */
double voice_score(const struct voice *voice);

bool voice_is_waiting(const struct voice *voice);
size_t voice_unsent(const struct voice *voice); /* bytes */
/* How it ended, by the engine's word and what it says. */
Moed__V1__Finish voice_finish(const struct voice *voice);
/* Puts what waits into an event, which borrows it until voice_sent(); `tokens` is to be packed
 * behind it. */
void voice_fill(struct voice *voice, Moed__V1__GenerateEvent *ev, Moed__V1__Estimate *estimate);
/* And what only the last one has. */
void voice_fill_end(struct voice *voice, Moed__V1__GenerateEvent *ev, Moed__V1__Receipt *receipt);
void voice_sent(struct voice *voice);
