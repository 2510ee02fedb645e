/* SPDX-License-Identifier: MIT
 *
 * Choosing the next token: a chain of stages over the candidates, repeatable by its seed.
 *
 * Owned by one sequence, on the engine's thread. Ties go to the lower id, so greedy is a function
 * of the logits alone. The chain, always in this order: bias, penalties, DRY, banned strings |
 * top-nσ, temperature, top-k, top-p, min-p, mirostat 2, the draw. What stands behind the bar is
 * passed over when the temperature is 0: then the best is taken. Each filter keeps at least the
 * best of what reaches it. A new stage is its functions and a line in stage_table[].
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/dry.h"

struct ban;

struct sample_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY bans */
};

struct sample_params {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: off */
    float top_p;       /* 1: off; of what top-k left, renormalised */
    float min_p;       /* 0: off; relative to the best candidate (Nguyen et al., 2407.01082) */
    /* 0: off; so many standard deviations of all logits from the best (Tang et al., 2411.07641) */
    float top_n_sigma;
    /* Mirostat 2 (Basu et al., 2007.14966): 0: off; the surprise, in bits a token, that is steered
     * to by leaving out what is more surprising than a bound, and how fast the bound learns. */
    float mirostat_tau, mirostat_eta;
    float
        repetition_penalty;  /* 1: off; divides positive logits of seen tokens, multiplies others */
    float presence_penalty;  /* 0: off; subtracted once from tokens already generated */
    float frequency_penalty; /* 0: off; subtracted once for each time it was generated */
    struct dry_params dry;
    struct ban *ban;          /* owned; NULL: no string is banned */
    uint64_t seed;            /* same seed, same text */
    struct sample_bias *bias; /* heap, or NULL */
    int n_bias;
};
/* Neutral values: temperature 1, everything else off. */
void sample_params_init(struct sample_params *params);
void sample_params_fini(struct sample_params *params);

enum { SAMPLE_CHAIN_BYTES = 512 };
/* The stages that such a request goes through, in order, as the names of its fields and their
 * values: "temperature=0.8 top_k=40 draw", and "greedy" at the end instead of "draw". */
void sample_chain(const struct sample_params *params, char ret[SAMPLE_CHAIN_BYTES]);

struct candidate {
    int32_t id;
    float score; /* logit, then tempered logit */
};

/* Scratch for one draw, shared by all sequences of an engine. */
struct candidates {
    struct candidate *at; /* [room] */
    int n, room;
    float *weight; /* [room] exp(score - best), for the draw */
};
int candidates_init(struct candidates *c, int vocab); /* -ENOMEM */
void candidates_fini(struct candidates *c);

/* What a sequence remembers of its own tokens. */
struct sampler {
    const struct sample_params *params;
    uint16_t *generated; /* [n_logits] times, NULL when no penalty asks for it */
    uint8_t *seen;       /* [n_logits] in prompt or answer */
    int n_logits;
    uint64_t n_drawn;
    double max_surprise; /* mirostat's bound, in bits */
    double log_sum;      /* of what reached mirostat with the last draw */
    struct dry dry;
};
/* For `logits` a draw and at most `limit` tokens; the vocabulary is for DRY alone. -ENOMEM */
int sampler_init(struct sampler *s, const struct sample_params *params, int logits,
                 const struct vocab *vocab, int limit);
void sampler_fini(struct sampler *s);
void sampler_saw_prompt(struct sampler *s, const int32_t *ids, int n);
void sampler_accept(struct sampler *s, int32_t id);

/**
 * Choose a token.
 *
 *   logits   [n_logits] finite; ids with `banned` set are never chosen
 *   returns  the id; -1 if nothing is left to choose from
 */
int32_t sampler_draw(struct sampler *s, const float *logits, const uint8_t *banned,
                     struct candidates *c);

/* log(Σ exp(logits)), summed in double in order of id; NaN if a logit is not finite. */
double sample_log_sum(const float *logits, int n);
/* The `want` most probable ids, best first, ties to the lower id; returns how many. */
int sample_top(const float *logits, int n, int want, int32_t *ids);
