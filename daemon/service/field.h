/* SPDX-License-Identifier: MIT
 *
 * Numbers in requests: the range and meaning of each, from fields.def. Pure; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum field_kind { FIELD_INT, FIELD_REAL, FIELD_COUNT, FIELD_BYTES, FIELD_ANY };

enum field_id {
#define FIELD(id, name, kind, least, most, missing, what) FIELD_##id,
#include "service/fields.def"
#undef FIELD
    N_FIELDS
};

struct field {
    const char *name;
    enum field_kind kind;
    double least, most, missing;
    const char *what;
};
extern const struct field field_table[N_FIELDS];

/* 0 becomes what a missing field means. -EINVAL names field, value and range. */
int field_int(enum field_id id, int64_t value, int64_t *ret, struct err *err);
int field_real(enum field_id id, double value, float *ret, struct err *err);
/* A count or a length: here zero is a value like any other. */
int field_size(enum field_id id, size_t value, struct err *err);
