/* SPDX-License-Identifier: MIT
 *
 * The header of one safetensors file: names, types, shapes and places of its tensors, and nothing
 * about what they mean (hf.h). Belongs to the thread that opens the model.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/part.h"

enum { ST_MAX_DIMS = 8, ST_MAX_TENSORS = 262144 };

/*  X(name, bits an element) */
#define ST_DTYPE_MAP(X)                                                                            \
    X(F64, 64)                                                                                     \
    X(F32, 32)                                                                                     \
    X(F16, 16)                                                                                     \
    X(BF16, 16)                                                                                    \
    X(F8_E4M3, 8)                                                                                  \
    X(F8_E5M2, 8)                                                                                  \
    X(F8_E8M0, 8)                                                                                  \
    X(F4, 4)                                                                                       \
    X(I64, 64)                                                                                     \
    X(I32, 32)                                                                                     \
    X(I16, 16)                                                                                     \
    X(I8, 8)                                                                                       \
    X(U64, 64)                                                                                     \
    X(U32, 32)                                                                                     \
    X(U16, 16)                                                                                     \
    X(U8, 8)                                                                                       \
    X(BOOL, 8)

enum st_dtype {
#define ST_DTYPE_ENUM(name, bits) ST_##name,
    ST_DTYPE_MAP(ST_DTYPE_ENUM)
#undef ST_DTYPE_ENUM
        ST_DTYPE_COUNT
};
extern const char *const st_dtype_name[ST_DTYPE_COUNT];

struct st_tensor {
    const char *name;       /* borrowed from the header's text */
    uint64_t dims[2];       /* outermost first; of more than two only the first */
    uint64_t offset, bytes; /* in the file */
    uint16_t part;
    uint8_t dtype, n_dims;
};

struct st_list { /* the tensors of all files of a model */
    struct st_tensor *tensor;
    size_t n, room;
};

/**
 * Reads the header and appends its tensors: sizes agree with shapes, the data is covered without
 * overlap or hole, no name is there twice in the file.
 *
 *   text    receives the header's text, which the names point into; the caller frees it
 *   fails   -EINVAL, -EIO, -ENOMEM with words naming file, tensor, found, expected
 */
int safetensors_read(const struct part *part, uint16_t index, struct st_list *list, char **text,
                     struct err *err);
bool safetensors_sniff(const void *head, size_t bytes);
