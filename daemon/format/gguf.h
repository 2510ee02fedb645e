/* SPDX-License-Identifier: MIT
 *
 * One GGUF file as a part of a model: what gguf.c reads and gguf_split.c puts together. Belongs to
 * the thread that opens the file.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct format;
struct meta;
struct part;
struct reader;

struct gguf_head {
    uint32_t version;
    uint64_t n_tensors;
    struct meta *meta; /* the caller's */
};

/* Up to the end of the keys, where `in` then stands; words as format_open() has them. */
int gguf_head_read(const struct part *part, struct reader *in, struct gguf_head *ret,
                   struct err *err);
/* The tensors that follow, into the format, and where the part's data starts. */
int gguf_tensors_read(struct reader *in, const struct gguf_head *head, struct format *format,
                      int index);

/* format->part[0] is any of several parts, and format->meta are its keys: finds and reads all. */
int gguf_split_open(struct format *format, struct err *err);
