/* SPDX-License-Identifier: MIT
 *
 * How requests fare, as histograms, from meters.def. Those count that have come to a first token.
 *
 * The engine's thread measures, any may read.
 */
#pragma once

#include <stdint.h>

#include "base/histogram.h"

struct seq;

enum meter_id {
#define METER(id, name, unit, scale, help) METER_##id,
#include "engine/meters.def"
#undef METER
    N_METERS
};

struct meter_text {
    const char *name, *unit, *help;
};
extern const struct meter_text meter_table[N_METERS];

struct meters {
    struct histogram histogram[N_METERS];
};
void meters_init(struct meters *meters);
/* A sequence has one more token. Sets its times of the first token and of the last. */
void meters_token(struct meters *meters, struct seq *seq, uint64_t now_ns);
