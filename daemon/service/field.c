/* SPDX-License-Identifier: MIT
 *
 * The checks that fields.def asks for.
 */
#include "service/field.h"

#include <errno.h>
#include <inttypes.h>

const struct field field_table[N_FIELDS] = {
#define FIELD(id, name, kind, least, most, missing, what)                                          \
    [FIELD_##id] = {name, FIELD_##kind, least, most, missing, what},
#include "service/fields.def"
#undef FIELD
};

int field_int(enum field_id id, int64_t value, int64_t *ret, struct err *err)
{
    const struct field *f = &field_table[id];
    if (value == 0) {
        *ret = (int64_t)f->missing;
        return 0;
    }
    if (value < (int64_t)f->least || value > (int64_t)f->most)
        return err_set(err, -EINVAL, "%s is %" PRId64 ", expected %.0f to %.0f (%s)", f->name,
                       value, f->least, f->most, f->what);
    *ret = value;
    return 0;
}

int field_real(enum field_id id, double value, float *ret, struct err *err)
{
    const struct field *f = &field_table[id];
    if (value == 0) {
        *ret = (float)f->missing;
        return 0;
    }
    /* The bounds as floats: a client's 0.001f is not below 0.001. NaN fails every comparison. */
    if (!(value >= (double)(float)f->least && value <= (double)(float)f->most))
        return err_set(err, -EINVAL, "%s is %g, expected %g to %g (%s)", f->name, value, f->least,
                       f->most, f->what);
    *ret = (float)value;
    return 0;
}

int field_size(enum field_id id, size_t value, struct err *err)
{
    const struct field *f = &field_table[id];
    if (value < (size_t)f->least || value > (size_t)f->most)
        return err_set(err, -EINVAL, "%s %s %zu, expected %.0f to %.0f (%s)", f->name,
                       f->kind == FIELD_COUNT ? "is there as often as" : "has a length of", value,
                       f->least, f->most, f->what);
    return 0;
}
