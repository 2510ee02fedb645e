/* SPDX-License-Identifier: MIT
 *
 * The service's counters, from counters.def. One writer, the loop thread.
 */
#pragma once

enum counter_id {
#define COUNTER(id, name, unit, help) COUNTER_##id,
#include "service/counters.def"
#undef COUNTER
    N_COUNTERS
};

struct counter_text {
    const char *name, *unit, *help;
};
extern const struct counter_text counter_table[N_COUNTERS];
