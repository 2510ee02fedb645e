/* SPDX-License-Identifier: MIT
 *
 * Choosing the next token: a chain of stages over the candidates, repeatable by its seed.
 *
 * Owned by one sequence, on the engine's thread. Ties go to the lower id, so greedy is a function
 * of the logits alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sample_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY bans */
};

struct sample_params {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    float
        repetition_penalty;  /* 1: off; divides positive logits of seen tokens, multiplies others */
    float presence_penalty;  /* 0: off; subtracted once from tokens already generated */
    float frequency_penalty; /* 0: off; subtracted once for each time it was generated */
    uint64_t seed;           /* same seed, same text */
    struct sample_bias *bias; /* heap, or NULL */
    int n_bias;
};
/* Neutral values: temperature 1, everything else off. */
void sample_params_init(struct sample_params *params);
