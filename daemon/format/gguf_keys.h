/* SPDX-License-Identifier: MIT
 *
 * The keys of a GGUF file as struct meta. Belongs to the thread that opens the file.
 */
#pragma once

#include <stdint.h>

struct meta;
struct reader;

/* Reads n keys and their values, n ≤ META_MAX_KEYS, and seals them. -EINVAL, -ENOMEM … with words;
 * the reader then stands after the last value. */
int gguf_keys_read(struct reader *reader, uint64_t n, struct meta **ret);
