/* SPDX-License-Identifier: MIT
 *
 * One sequence: its tokens, how far the cache holds them, how it is sampled and told.
 *
 * Owned by the engine's thread from admission to its last event.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "base/own.h"
#include "engine/engine.h"
#include "engine/mean.h"
#include "engine/sample.h"
#include "engine/sched.h"
#include "engine/think.h"
#include "kv/view.h"
#include "text/detok.h"

struct seq {
    uint64_t call;
    struct engine_request *request; /* owned */
    int32_t *token;                 /* [limit] prompt, then answer */
    int n_tokens;
    int n_cached;              /* tokens whose latents are in the cache */
    int n_known;               /* of them, when its turn came */
    int n_hoped;               /* when it came */
    bool is_recalled, is_away; /* n_known is known; the porter looks for more */
    bool is_over;              /* its end was told while it was away, or busy */
    struct {                   /* of CARE_PARK */
        bool is_done;          /* the porter is through: */
        int code;              /* 0, or negative errno with words */
        uint64_t bytes;        /* on the disk */
        struct err err;
    } park;
    int limit;         /* tokens in all, prompt included */
    uint32_t *answers; /* a word a page of the prompt, as struct page has it: how its rows must be
                          made; NULL: as those of prompts, or as they are known */
    struct mean mean;  /* of an embedding */
    struct view view;
    struct detok detok;
    struct sampler sampler;
    struct think think;
    bool is_estimated;
    uint64_t started_ns, first_token_ns, last_token_ns;
    uint64_t told_ns; /* how far its prompt is */
    struct sched_task task;
    TAILQ_ENTRY(seq) beside;
};

/* Makes a sequence of a request (which it owns from then on, whatever happens). */
int seq_new(uint64_t call, struct engine_request *request, const struct vocab *vocab, int limit,
            int logits, struct seq **ret);
void seq_free(struct seq *seq, struct page_pool *pool);

/* The answer goes on with a token. */
void seq_accept(struct seq *seq, int32_t id, const struct vocab *vocab);
int seq_n_generated(const struct seq *seq);
/* Tokens that wait to be put through the model; 1 while decoding. */
int seq_n_waiting(const struct seq *seq);
bool seq_is_decoding(const struct seq *seq);
/* Whether its next row is made by the arithmetic of answers, and how many of the first n that
 * wait are made alike. */
bool seq_is_writing(const struct seq *seq);
int seq_n_alike(const struct seq *seq, int n);
bool seq_is_full(const struct seq *seq);
