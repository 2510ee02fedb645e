/* SPDX-License-Identifier: MIT
 *
 * Every number of a model, read from its file once and checked, or refused by name.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "place/op.h"

struct meta;

struct hparams {
    int layers;       /* that run in the main pass */
    int mtp_layers;   /* kept aside behind them */
    int dense_layers; /* leading ones with a plain FFN */
    int hidden, vocab, context;
    float eps;

    int heads;
    int nope, rope_dims, value; /* of a head: key without position, rotated key, value */
    int latent, q_rank;         /* q_rank 0: queries come straight from the hidden row */
    float scale;                /* of the softmax, YaRN's share included */
    struct mk_rope rope;

    int dense_width, expert_width, shared_width;
    int experts, experts_used, experts_shared; /* 0 experts: every layer is dense */
    struct mk_route route;                     /* bias is a layer's, not here */
    bool warn_no_mscale; /* YaRN without its attention factor: unusual, said once */
};

enum {
    HPARAMS_MAX_LAYERS = 1024,
    HPARAMS_MAX_WIDTH = 1 << 20,
    HPARAMS_MAX_HEADS = 4096,
    HPARAMS_MAX_EXPERTS = 4096,
    HPARAMS_MAX_VOCAB = 1 << 24,
    HPARAMS_MAX_CONTEXT = 1 << 26,
    HPARAMS_MAX_ROWS = 1 << 28, /* of all heads or experts together: places add them up as ints */
};

/* Bounded readers for architectures. A missing key gives `fallback`, unless it is NO_DEFAULT: then
 * it is an error naming the key. Values outside [least, most] are refused with both bounds. */
enum { NO_DEFAULT = -1 };
int hparams_int(const struct meta *meta, const char *prefix, const char *key, int least, int most,
                int fallback, int *ret, struct err *err);
int hparams_float(const struct meta *meta, const char *prefix, const char *key, double least,
                  double most, const double *fallback, double *ret, struct err *err);
