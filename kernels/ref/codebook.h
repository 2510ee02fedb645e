/* SPDX-License-Identifier: MIT
 *
 * The codebooks of the IQ formats: what a short index says about 8 or 4 weights.
 *
 * An entry holds one level an element, the first in the lowest bits: 2 bits each for the IQ1 and
 * IQ2 formats (8 elements), 3 bits each for the IQ3 formats (4 elements). The lists of levels give
 * the number that each stands for. Constants; any thread.
 */
#pragma once

#include <stdint.h>

extern const uint16_t codebook_iq1_s[2048]; /* IQ1_S and IQ1_M */
extern const uint16_t codebook_iq2_xxs[256];
extern const uint16_t codebook_iq2_xs[512];
extern const uint16_t codebook_iq2_s[1024];
extern const uint16_t codebook_iq3_xxs[256];
extern const uint16_t codebook_iq3_s[512];

static const float codebook_iq1_level[] = {-1, 0, 1};
static const float codebook_iq2_level[] = {8, 25, 43};
static const float codebook_iq3_xxs_level[] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float codebook_iq3_s_level[] = {1, 3, 5, 7, 9, 11, 13, 15};

/* The signs of 8 elements from 7 bits: a set bit is a minus, and their number is always even. */
static inline uint32_t codebook_signs(uint32_t index)
{
    return index | (uint32_t)__builtin_parity(index) << 7;
}
