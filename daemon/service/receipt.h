/* SPDX-License-Identifier: MIT
 *
 * What computes an answer, as its receipt tells it; and whether an answer with another receipt can
 * be computed again here. Loop thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "engine/models.h"
#include "moed/v1/generate.pb-c.h"
#include "ttrpc.h"

struct receipt {
    struct models_receipt place;
    char sampler[SAMPLE_CHAIN_BYTES];
    uint64_t seed;          /* 0: nothing is drawn */
    struct ttrpc_buf known; /* int32_t: rows read, rows written, and so on, of the cached tokens */
    int32_t *made;          /* the same of the prompt's rows, if the request said so; heap */
    int n_made;
};

/* Of a model that is ready. -ENOMEM */
int receipt_init(struct receipt *ret, const struct models_entry *entry,
                 const struct engine_request *request);
void receipt_fini(struct receipt *receipt);

/* More of `known`. -ENOMEM */
int receipt_know(struct receipt *receipt, const struct engine_event *known);
/* Fills a message that borrows from it. */
void receipt_tell(const struct receipt *receipt, Moed__V1__Receipt *ret);
/* Whether what the message has is the same here; -ENOTSUP: the words name all that is not. */
int receipt_meets(const struct receipt *receipt, const Moed__V1__Receipt *wanted, struct err *err);
