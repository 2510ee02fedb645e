/* SPDX-License-Identifier: MIT
 *
 * A bounded queue between two threads: one writes, one reads, records travel by value.
 *
 * No lock and no allocation after ring_new(). A popped record belongs to the popper.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"

struct ring;

/* capacity is rounded up to a power of two; -ENOMEM. */
int ring_new(size_t capacity, size_t record_bytes, struct ring **ret);
void ring_free(struct ring *ring);
OWN_DEFINE(ring, ring_free);

bool ring_push(struct ring *ring, const void *record); /* false: full */
bool ring_pop(struct ring *ring, void *record);        /* false: empty */
