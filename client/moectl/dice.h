/* SPDX-License-Identifier: MIT
 *
 * Random numbers that repeat: the n-th of a stream depends on seed, stream and n alone.
 */
#pragma once

#include <stdint.h>

struct range { /* both ends included */
    int least, most;
};

struct dice {
    uint64_t state;
};

struct dice dice_of(uint64_t seed, uint64_t stream);
uint64_t dice_roll(struct dice *dice);
/* The roll with that number, without those before. */
uint64_t dice_at(const struct dice *dice, uint64_t number);
int dice_range(struct dice *dice, struct range range);
/* Above 0, at most 1. */
double dice_unit(struct dice *dice);
