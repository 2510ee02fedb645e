/* SPDX-License-Identifier: MIT
 *
 * What products with strips share, few rows or many: where results go. All inlined but mk_avx512_*.
 */
#pragma once

#include <immintrin.h>
#include <string.h>

#include "mk.h"
#include "zmm.h"

void mk_avx512_round(void *dst, const float *x, int k);

INLINE __m512i broadcast(const void *p)
{
    int v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

/* A strip's sums from column j on to row i of y, as far as the tile has them. */
INLINE void put(const struct mk_mm *mm, int i, int j, __m512 v)
{
    __mmask16 mask = (__mmask16)(first(mm->n1 - j) & ~first(mm->n0 - j));
    float *y = mm->y + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + j;
    if (mm->add)
        v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
    _mm512_mask_storeu_ps(y, mask, v);
}
