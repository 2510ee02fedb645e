/* SPDX-License-Identifier: MIT
 *
 * What serving a model takes, known before any of it is asked for.
 *
 * Any thread, while nobody loads that model. What must be there: the weights, the scratch of a
 * step, and a latent cache for one talk of BUDGET_TOKENS, or the cache that the configuration
 * demands.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "engine/engine.h"

struct model;
struct place;

enum { BUDGET_TOKENS = 8192 };

struct budget { /* bytes */
    uint64_t weights, scratch;
    uint64_t cache;     /* that must be there */
    uint64_t cache_1k;  /* for each 1,000 tokens */
    uint64_t required;  /* the sum of the first three */
    uint64_t available; /* now */
    uint64_t set_aside; /* huge pages that weights will be in, counted in `available`; 0: none */
    uint64_t tokens;    /* of context that fit into what is left beside weights and scratch */
    char limit[256];    /* what sets `available`: "MemAvailable", "cgroup /…" */
    const char *place;
    const char *cache_format; /* number format of latents, as in a receipt */
    int step_rows;
};

/* On an open place, whose scratch is asked for and not touched. -ENOTSUP: no weights in the file.
 */
int budget_make(const struct model *model, struct place *place, const struct engine_config *config,
                struct budget *ret, struct err *err);
/* -ENOMEM with the sum and a way out, if it does not fit. */
int budget_check(const struct budget *budget, struct err *err);
void budget_print(const struct budget *budget, FILE *out);
void budget_print_json(const struct budget *budget, FILE *out);
