/* SPDX-License-Identifier: MIT */
#include "engine/mean.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int mean_init(struct mean *mean, int dims)
{
    *mean = (struct mean){.sum = calloc((size_t)dims, sizeof *mean->sum), .dims = dims};
    return mean->sum ? 0 : -ENOMEM;
}

void mean_fini(struct mean *mean)
{
    free(mean->sum);
    *mean = (struct mean){0};
}

void mean_add(struct mean *mean, const float *row)
{
    for (int i = 0; i < mean->dims; i++)
        mean->sum[i] += (double)row[i];
    mean->n++;
}

float mean_at(const struct mean *mean, int i)
{
    return (float)(mean->sum[i] / mean->n);
}

bool mean_is_finite(const struct mean *mean)
{
    for (int i = 0; i < mean->dims; i++)
        if (!isfinite(mean_at(mean, i)))
            return false;
    return true;
}
