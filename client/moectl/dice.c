/* SPDX-License-Identifier: MIT
 *
 * SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): a counter
 * that is stirred, hence any roll can be had without those before.
 */
#include "moectl/dice.h"

#define STEP UINT64_C(0x9e3779b97f4a7c15)

static uint64_t stir(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

struct dice dice_of(uint64_t seed, uint64_t stream)
{
    return (struct dice){.state = stir(stir(seed + STEP) ^ stream)};
}

uint64_t dice_at(const struct dice *dice, uint64_t number)
{
    return stir(dice->state + (number + 1) * STEP);
}

uint64_t dice_roll(struct dice *dice)
{
    uint64_t roll = dice_at(dice, 0);
    dice->state += STEP;
    return roll;
}

int dice_range(struct dice *dice, struct range range)
{
    uint64_t n = (uint64_t)(range.most - range.least) + 1;
    return range.least + (int)(dice_roll(dice) % n);
}

double dice_unit(struct dice *dice)
{
    return (double)((dice_roll(dice) >> 11) + 1) / (double)(UINT64_C(1) << 53);
}
