/* SPDX-License-Identifier: MIT
 *
 * What a tensor is before anybody computes with it: a name, a type, a shape, a place in a file.
 *
 * Immutable once its file is open; any thread.
 */
#pragma once

#include <stdint.h>

#include "type.h"

enum { TENSOR_MAX_DIMS = 4 };

struct tensor {
    const char *name; /* owned by the file it came from */
    enum mk_type type;
    int n_dims;
    uint64_t dims[TENSOR_MAX_DIMS]; /* dims[0] is contiguous; unused ones are 1 */
    uint64_t bytes;                 /* of all the data; checked to lie in the file */
    uint64_t offset;                /* where the data starts, in its part of the file */
    int part;                       /* which part of a split file */
};
