/* SPDX-License-Identifier: MIT
 *
 * Which experts a model's rows went to: in all, and lately, where what was chosen USAGE_HALF_S ago
 * counts half.
 *
 * The place counts; the engine's thread ticks and never waits for anybody; any thread may read.
 */
#pragma once

#include <stdint.h>

#include "base/own.h"

struct forward_experts;
struct usage;

enum { USAGE_HALF_S = 600 };

/* The counts must outlive it; *ret is NULL where there are no experts. -ENOMEM. */
int usage_new(const struct forward_experts *experts, uint64_t now_ns, struct usage **ret);
void usage_free(struct usage *usage);
OWN_DEFINE(usage, usage_free);

/* A step begins. */
void usage_tick(struct usage *usage, uint64_t now_ns);

/* Layers [*first, *first + *layers) have so many experts each. */
void usage_shape(const struct usage *usage, int *first, int *layers, int *experts);
/* Rows that went to each expert, total and recent [layers][experts]. */
void usage_read(struct usage *usage, uint64_t now_ns, uint64_t *total, float *recent);
