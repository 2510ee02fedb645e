/* SPDX-License-Identifier: MIT
 *
 * The mean of rows, summed one by one in their order, so that it does not matter how many of them a
 * step had. One owner.
 */
#pragma once

#include <stdbool.h>

struct mean { /* zeroed: of nothing */
    double *sum;
    int dims, n;
};

int mean_init(struct mean *mean, int dims); /* -ENOMEM */
void mean_fini(struct mean *mean);
void mean_add(struct mean *mean, const float *row);
float mean_at(const struct mean *mean, int i);
bool mean_is_finite(const struct mean *mean);
