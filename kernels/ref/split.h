/* SPDX-License-Identifier: MIT
 *
 * A block of integer codes taken apart: weight = d · scale · (code - offset) - dmin · minimum,
 * with one scale and minimum for each part of 16 or 32 weights.
 */
#pragma once

#include "mk.h"

struct split {
    float d, dmin;
    int elements, part; /* of the block, and of a part of it */
    int offset;
    int lowest, highest; /* what code - offset can be */
    int scale[16], minimum[16];
    int code[256];
};

/* false: the format has no such codes. */
bool ref_split(enum mk_type type, const uint8_t *block, struct split *ret);
