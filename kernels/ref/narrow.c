/* SPDX-License-Identifier: MIT
 *
 * The truth of the int8 cache: which codes a latent becomes, and what is read from them.
 *
 * Plain C. Pure; any thread.
 */
#include "narrow.h"

#include <math.h>
#include <string.h>

#include "mk.h"

static void narrow(void *dst, const float *src, int n)
{
    uint8_t *block = dst;
    for (; n > 0; n -= NARROW_ELEMENTS, src += NARROW_ELEMENTS, block += NARROW_BYTES) {
        int32_t largest = 0, bits[NARROW_ELEMENTS];
        memcpy(bits, src, sizeof(bits));
        for (int i = 0; i < NARROW_ELEMENTS; i++) {
            int32_t size = bits[i] & NARROW_NO_SIGN;
            largest = size > largest ? size : largest;
        }
        struct narrow to = narrow_by(largest);
        memcpy(block, &to.step, sizeof(to.step));
        for (int i = 0; i < NARROW_ELEMENTS; i++) {
            int code = to.by > 0 ? (int)nearbyintf(src[i] * to.by) : 0;
            block[2 + i] = (uint8_t)(int8_t)(code > 127 ? 127 : code);
        }
    }
}

static void widen(void *dst, const void *src, const void *ahead, int latent, int rope, int n)
{
    (void)ahead;
    const uint8_t *row = src;
    uint8_t *to = dst;
    size_t codes = mk_row_bytes(MK_Q8_0, (size_t)latent), key = (size_t)rope * 2;
    for (; n > 0; n--, row += codes + key) {
        float block[NARROW_ELEMENTS];
        for (size_t b = 0; b < codes; b += NARROW_BYTES) {
            mk_ref_unpack(MK_Q8_0, row + b, block, NARROW_ELEMENTS);
            for (int i = 0; i < NARROW_ELEMENTS; i++, to += 2)
                memcpy(to, (const uint8_t *)&block[i] + 2, 2); /* the lower half is zero */
        }
        memcpy(to, row + codes, key);
        to += key;
    }
}

void mk_ref_narrow(struct mk *mk)
{
    mk->narrow = narrow;
    mk->widen = widen;
}
