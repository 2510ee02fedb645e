/* SPDX-License-Identifier: MIT
 *
 * Values counted in buckets of fixed bounds: how they are spread, in little memory.
 *
 * One thread adds, any reads; nobody waits. A reader may see a value in its bucket and not yet in
 * the sum.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 48 };

struct histogram_scale {
    int n; /* bounds; there is one bucket more, for what is above the last */
    double bound[HISTOGRAM_BOUNDS];
};
extern const struct histogram_scale histogram_times;  /* seconds: six bounds a decade from 10 µs */
extern const struct histogram_scale histogram_shares; /* 0, then twenty equal parts up to 1 */

struct histogram {
    const struct histogram_scale *scale;
    atomic_uint_fast64_t count[HISTOGRAM_BOUNDS + 1];
    _Atomic double sum;
};

void histogram_init(struct histogram *histogram, const struct histogram_scale *scale);
/* Into the first bucket whose bound is not below it. */
void histogram_add(struct histogram *histogram, double value);

struct histogram_reading {
    uint64_t count[HISTOGRAM_BOUNDS + 1];
    double sum;
};
void histogram_read(const struct histogram *histogram, struct histogram_reading *ret);
