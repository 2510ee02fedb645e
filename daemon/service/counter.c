/* SPDX-License-Identifier: MIT
 *
 * Names and help of the counters.
 */
#include "service/counter.h"

const struct counter_text counter_table[N_COUNTERS] = {
#define COUNTER(id, name, unit, help) [COUNTER_##id] = {name, unit, help},
#include "service/counters.def"
#undef COUNTER
};
