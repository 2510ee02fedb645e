/* SPDX-License-Identifier: MIT
 *
 * How sets walk over rows of the int8 cache that they widen: mk->widen in mk.h. A block is each
 * one's own. All inlined: nothing here is a symbol.
 */
#pragma once

#include <immintrin.h>
#include <string.h>

#include "inline.h"
#include "mk.h"
#include "narrow.h"

/* A row's lines of cache, from where the row before it ended. */
INLINE void fetch_row(const char **line, int latent, int rope)
{
    if (!*line)
        return;
    const char *end = *line + mk_cache_row_bytes(MK_Q8_0, latent, rope);
    for (const char *at = *line; at < end; at += 64)
        _mm_prefetch(at, _MM_HINT_T0);
    *line = end;
}

INLINE void widen_rows(void *dst, const void *src, const void *ahead, int latent, int rope, int n,
                       void (*widen_block)(uint8_t *to, const uint8_t *block))
{
    const uint8_t *from = src;
    uint8_t *to = dst;
    const char *line = ahead;
    size_t key = mk_row_bytes(MK_BF16, (size_t)rope);
    for (; n > 0; n--, from += key, to += key) {
        fetch_row(&line, latent, rope);
        for (int c = 0; c < latent; c += NARROW_ELEMENTS, from += NARROW_BYTES) {
            widen_block(to, from);
            to += 2 * NARROW_ELEMENTS;
        }
        memcpy(to, from, key);
    }
}
