/* SPDX-License-Identifier: MIT
 *
 * Checksums of packed weights, one for each matrix that lies by itself: for each expert of a layer,
 * and on each node of memory for what that node has of it.
 *
 * Made by the loader when the weights are in; then immutable and free to any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

struct plan;
struct spread;

struct sums_at {
    const char *data;
    size_t bytes;
    int item, matrix;     /* of the plan; the matrix by its number in the item */
    int node, first, end; /* rows of it that lie here */
};

struct sums {
    struct sums_at *at;
    uint64_t *sum; /* XXH3 */
    int n;
};

/* What there is to sum, in the plan's order, all sums zero. -ENOMEM. */
int sums_list(const struct plan *plan, const struct spread *spread, struct sums *ret);
/* By the caller and as many threads beside it as make `threads`. */
void sums_make(struct sums *sums, int threads);
bool sums_hold(const struct sums *sums, int i);
void sums_fini(struct sums *sums);
