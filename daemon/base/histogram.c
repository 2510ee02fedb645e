/* SPDX-License-Identifier: MIT */
#include "base/histogram.h"

const struct histogram_scale histogram_times = {
    .n = 48,
    .bound = {1e-5, 1.5e-5, 2e-5, 3e-5, 5e-5, 7e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 5e-4, 7e-4,
              1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2, 3e-2, 5e-2, 7e-2,
              0.1,  0.15,   0.2,  0.3,  0.5,  0.7,  1,    1.5,    2,    3,    5,    7,
              10,   15,     20,   30,   50,   70,   100,  150,    200,  300,  500,  700},
};
const struct histogram_scale histogram_shares = {
    .n = 21,
    .bound = {0,    0.05, 0.1,  0.15, 0.2,  0.25, 0.3,  0.35, 0.4,  0.45, 0.5,
              0.55, 0.6,  0.65, 0.7,  0.75, 0.8,  0.85, 0.9,  0.95, 1},
};

void histogram_init(struct histogram *h, const struct histogram_scale *scale)
{
    h->scale = scale;
    for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
        atomic_init(&h->count[i], 0);
    atomic_init(&h->sum, 0);
}

static int find_bucket(const struct histogram_scale *scale, double value)
{
    int first = 0, end = scale->n;
    while (first < end) {
        int middle = (first + end) / 2;
        if (value <= scale->bound[middle])
            end = middle;
        else
            first = middle + 1;
    }
    return first;
}

/* There is one writer: no locked instruction is needed. */
void histogram_add(struct histogram *h, double value)
{
    atomic_uint_fast64_t *count = &h->count[find_bucket(h->scale, value)];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&h->sum, atomic_load_explicit(&h->sum, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

void histogram_read(const struct histogram *h, struct histogram_reading *ret)
{
    for (int i = 0; i <= h->scale->n; i++)
        ret->count[i] = atomic_load_explicit(&h->count[i], memory_order_relaxed);
    ret->sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
}
