/* SPDX-License-Identifier: MIT
 *
 * What the targets of vocabularies have in common: an input is one file, or two with the last NUL
 * between, in a folder of their own. What opens must be whole, and take every text back out as it
 * went in.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Files are written by these names; `named` is the one that is opened. */
void vocabulary_try(const uint8_t *data, size_t bytes, const char *first, const char *second,
                    const char *named);
