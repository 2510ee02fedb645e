/* SPDX-License-Identifier: MIT
 *
 * The inside of struct format: what the reader of a container fills in.
 *
 * A reader calls format_expect_tensors() for each part, format_add_tensor() for each tensor, and
 * leaves `meta` sealed and `kind` written; format_open() then sorts, and refuses what is ambiguous.
 * Filled by the thread that opens the file; immutable afterwards, so any thread may ask and read.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"
#include "format/part.h"

/* Names end before this many bytes, the NUL included; the tensors of the largest model known with
 * one tensor an expert are some 70 000. */
enum { FORMAT_NAME_BYTES = 64, FORMAT_MAX_TENSORS = 131072 };

struct meta;
struct format_reader;

/* Where a matrix lies whose tensor is put together from several: see stack.h. */
struct source {
    uint64_t offset, scale_offset;
    uint16_t part, scale_part;
};

struct stack { /* of one tensor: sources [first, first + n), alike but for their places */
    uint32_t first, n;
    uint8_t scale; /* enum stack_scale */
};

struct format {
    char *path; /* as the user named it */
    int folder; /* what format_open_at() was given, or the checkpoint in it; -1: go by the path */
    char kind[32];
    const struct format_reader *reader;
    struct part *part; /* in their order; until the reader says otherwise the named file alone */
    int n_parts;
    struct meta *meta;
    struct tensor *tensor; /* part by part */
    char (*name)[FORMAT_NAME_BYTES];
    uint32_t *by_name;
    uint32_t n_tensors, room;
    struct stack *stack; /* one a tensor, or NULL: each lies in its part as it is */
    struct source *source;
};

/* The folder that holds the model's files, as a descriptor of its own; `inside` is a path in it. */
int format_folder(const struct format *format, const char *inside, int *ret, struct err *err);

/* Room for n tensors more, FORMAT_MAX_TENSORS in all. -EINVAL, -ENOMEM with words. */
int format_expect_tensors(struct format *format, int part, uint64_t n, struct err *err);

/* The name of the next tensor: 1 to 63 bytes of UTF-8 without control bytes. -EINVAL with words. */
int format_check_name(const struct format *format, int part, const char *name, size_t bytes,
                      struct err *err);

/**
 * The next tensor. Checks its name, dims, the block of its type and the size they make; where the
 * data lies is checked at the end, when all is known.
 *
 *   offset  from the part's `data`, not yet checked
 *   fails   -EINVAL with words on the name or a size
 */
int format_add_tensor(struct format *format, int part, const char *name, size_t name_bytes,
                      enum mk_type type, const uint64_t *dims, int n_dims, uint64_t offset,
                      struct err *err);

extern const struct format_reader format_gguf;
extern const struct format_reader format_safetensors;
