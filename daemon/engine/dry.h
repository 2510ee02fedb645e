/* SPDX-License-Identifier: MIT
 *
 * DRY: a token that would go on with a repetition loses score, the more the longer it has been one.
 *
 * Owned by one sequence, on the engine's thread; once made it allocates nothing. As its inventor,
 * p-e-w, published it with text-generation-webui: where the last n tokens stood before, too, the
 * token that followed there loses multiplier · base^(n - allowed_length), for n of at least
 * allowed_length. A match neither holds nor crosses a token in which a breaker ends; n counts
 * to 50.
 */
#pragma once

#include <stdint.h>

struct vocab;

struct dry_params {
    float multiplier; /* 0: off */
    float base;
    int allowed_length;
    int range;       /* last tokens that are looked at, 0: all, prompt included */
    char **breakers; /* heap, n_breakers strings on the heap; an empty one breaks nothing */
    int n_breakers;
};

enum { DRY_USUAL_BREAKERS = 4 };
extern const char *const dry_usual_breakers[DRY_USUAL_BREAKERS];

struct dry { /* zeroed is off */
    const struct dry_params *params;
    const struct vocab *vocab;
    int32_t *token;  /* [room] */
    uint8_t *breaks; /* [room] a breaker ends in it */
    int n, room;
    uint8_t *match; /* [rows] after dry_match: how long a match each token would go on with */
    int rows;
    char *text; /* what breakers are looked for in: the end of the text, then a token's */
    int n_text, longest_breaker;
};

/* For at most `room` tokens with ids below `rows`. -ENOMEM */
int dry_init(struct dry *dry, const struct dry_params *params, const struct vocab *vocab, int rows,
             int room);
void dry_fini(struct dry *dry);
void dry_push(struct dry *dry, int32_t id);
/* Looks for repetitions of the last tokens; dry_penalty() tells then, until the next token. */
void dry_match(struct dry *dry);
/* What to subtract from a token's logit. */
float dry_penalty(const struct dry *dry, int32_t id);
