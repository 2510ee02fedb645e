/* SPDX-License-Identifier: MIT
 *
 * The step of a block of an int8 cache, which all sets must choose alike: mk->narrow in mk.h.
 */
#pragma once

#include <stdint.h>

enum {
    NARROW_ELEMENTS = 32,            /* of a block of Q8_0: */
    NARROW_BYTES = 34,               /* f16 step, then int8 codes */
    NARROW_LEAST = -24,              /* exponent of the smallest step that f16 has */
    NARROW_MOST = 8,                 /* 128 steps of the next would not be a number of f16 */
    NARROW_NAN = 0x7e00,             /* in place of a step */
    NARROW_NO_SIGN = (int)(~0u >> 1) /* of a float's bits */
};

struct narrow {
    uint16_t step; /* as f16 */
    float by;      /* one over it; 0 where the block is NaN */
};

/* Of the largest number's bits without the sign: 64 to 128 steps, where f16 has such a step. As
 * integers those bits are in the order of the numbers, and NaN comes last. */
static inline struct narrow narrow_by(int32_t largest)
{
    int e = (largest >> 23) - 127 - 6;
    if (e > NARROW_MOST)
        return (struct narrow){NARROW_NAN, 0};
    e = e < NARROW_LEAST ? NARROW_LEAST : e;
    union {
        uint32_t bits;
        float by;
    } over = {.bits = (uint32_t)(127 - e) << 23};
    int least_normal = -14;
    return (struct narrow){
        (uint16_t)(e < least_normal ? 1u << (e - NARROW_LEAST) : (uint32_t)(e + 15) << 10),
        over.by};
}
