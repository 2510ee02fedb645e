/* SPDX-License-Identifier: MIT */
#include "model/hparams.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "format/format.h"

int hparams_int(const struct meta *meta, const char *prefix, const char *key, int least, int most,
                int fallback, int *ret, struct err *err)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", prefix, key);
    uint32_t value;
    int r = meta_u32(meta, full, &value, err);
    if (r == -ENOENT && fallback != NO_DEFAULT) {
        *ret = fallback;
        return 0;
    }
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "%s: key '%s' is missing, expected a number from %d to %d",
                       meta_path(meta), full, least, most);
    if (r < 0)
        return r;
    if (value > (uint32_t)most || (int)value < least)
        return err_set(err, -EINVAL, "%s: key '%s' is %u, expected %d to %d", meta_path(meta), full,
                       value, least, most);
    *ret = (int)value;
    return 0;
}

int hparams_float(const struct meta *meta, const char *prefix, const char *key, double least,
                  double most, const double *fallback, double *ret, struct err *err)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", prefix, key);
    float value;
    int r = meta_f32(meta, full, &value, err);
    if (r == -ENOENT && fallback) {
        *ret = *fallback;
        return 0;
    }
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "%s: key '%s' is missing, expected a number from %g to %g",
                       meta_path(meta), full, least, most);
    if (r < 0)
        return r;
    if (!(value >= least && value <= most)) /* a NaN is refused here as well */
        return err_set(err, -EINVAL, "%s: key '%s' is %g, expected %g to %g", meta_path(meta), full,
                       (double)value, least, most);
    *ret = value;
    return 0;
}
