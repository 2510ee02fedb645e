/* SPDX-License-Identifier: MIT
 *
 * The inside of struct format: what the reader of a container fills in.
 *
 * A reader calls format_expect_tensors() once, format_add_tensor() for each, and leaves `meta`
 * sealed and `kind` written; format_open() then sorts, and refuses what is ambiguous. Filled by the
 * thread that opens the file; immutable afterwards, so any thread may ask and read.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "base/tensor.h"

/* Names end before this many bytes, the NUL included; the tensors of the largest model known with
 * one tensor an expert are some 70 000. */
enum { FORMAT_NAME_BYTES = 64, FORMAT_MAX_TENSORS = 131072 };

struct meta;
struct format_reader;

struct format {
    char *path;
    char label[160]; /* the path as error messages name it: its end, if it is long */
    char kind[24];
    const struct format_reader *reader;
    int fd;
    uint64_t file_bytes;
    struct timespec changed; /* when the contents last changed, as fstat said at open */
    struct meta *meta;
    struct tensor *tensor;
    char (*name)[FORMAT_NAME_BYTES];
    uint32_t *by_name;
    uint32_t n_tensors, room;
    uint64_t data;      /* where tensor data starts in the file */
    uint64_t alignment; /* the longest gap that counts as padding is one byte less */
};

/* Room for exactly n tensors, n ≤ FORMAT_MAX_TENSORS. -ENOMEM with words. */
int format_expect_tensors(struct format *format, uint64_t n, struct err *err);

/* The name of the next tensor: 1 to 63 bytes of UTF-8 without control bytes. -EINVAL with words. */
int format_check_name(const struct format *format, const char *name, size_t bytes, struct err *err);

/**
 * The next tensor. Checks its name, dims, the block of its type and the size they make; where the
 * data lies is checked at the end, when all is known.
 *
 *   offset  from `data`, not yet checked
 *   fails   -EINVAL with words on the name or a size
 */
int format_add_tensor(struct format *format, const char *name, size_t name_bytes, enum mk_type type,
                      const uint64_t *dims, int n_dims, uint64_t offset, struct err *err);

extern const struct format_reader format_gguf;
