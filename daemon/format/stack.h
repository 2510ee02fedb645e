/* SPDX-License-Identifier: MIT
 *
 * Reading tensors that are put together from several of the file's: the experts of a layer, one
 * after the other, and FP8 matrices with the scales that lie in a tensor of their own.
 *
 * Any thread; the format is immutable.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

struct format;

enum stack_scale {
    STACK_PLAIN,     /* the bytes as they are */
    STACK_SCALE_F32, /* e4m3 with one scale for 128 rows of 128 columns: [⌈n/128⌉][k/128] float32 */
    STACK_SCALE_E8M0, /* the same as exponents, a byte each */
};

/* format_read() of such a tensor; the range is checked. -EINVAL for a scale that is no number. */
int stack_read(const struct format *format, const struct tensor *tensor, uint64_t offset, void *dst,
               size_t bytes, struct err *err);
