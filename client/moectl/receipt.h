/* SPDX-License-Identifier: MIT
 *
 * Receipts as JSON and back.
 */
#pragma once

#include <jansson.h>

#include "moed/moed.h"

/* {"model", "version", "place", "isa", "cache", "attention", "sampler", "seed", "cached_rows"}, and
 * "made_rows" where there are some. The seed is a string, for few readers of JSON have integers of
 * 64 bits; null where nothing was drawn. */
json_t *receipt_json(const struct moed_receipt *receipt);

struct receipt { /* read from JSON, which its strings borrow */
    struct moed_receipt receipt;
    int32_t *rows; /* heap */
};
/* False: it is not what receipt_json() writes. */
bool receipt_read(const json_t *object, struct receipt *ret);
void receipt_fini(struct receipt *receipt);
/* {"isa": [was, is] …}: what two receipts say otherwise about who computed it, and how. */
json_t *receipt_difference(const json_t *was, const json_t *is);
