/* SPDX-License-Identifier: MIT
 *
 * Made-up prompts of given lengths: words of an ordinary text in random order, as token ids, so
 * that the model's experts have ordinary work and a length is met exactly.
 */
#pragma once

#include "moectl/dice.h"
#include "moectl/option.h"

struct prompts {
    int32_t *pool; /* tokens of the text, heap */
    size_t n_pool;
    int32_t first; /* of every prompt: BOS, where the model has one */
    uint64_t seed;
    struct range length; /* tokens */
    double shared;       /* the share of each that is the same in all */
};

/* Asks the daemon for the tokens; the rest is taken from the options. An exit code; a failure has
 * been reported. */
int prompts_open(const struct options *o, struct moed *moed, struct prompts *ret);
void prompts_fini(struct prompts *prompts);
/* Makes prompt `number`, which depends on seed, lengths and share alone; says how many tokens it
 * has. -ENOMEM */
int prompts_add(const struct prompts *prompts, uint64_t number, struct moed_request *request);
