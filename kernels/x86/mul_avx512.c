/* SPDX-License-Identifier: MIT
 *
 * Products of many rows with strips on AVX-512 VNNI.
 *
 * Two strips are unpacked for all of k, as unsigned bytes that stay in the L2 cache, and then meet
 * all rows of x, eight at a time. The arithmetic is that of AMX: mk_ref_mul() bit for bit. Pure;
 * any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "mk.h"
#include "panel512.h"
#include "strip_avx512.h"

enum {
    STRIPS = 2,  /* unpacked together */
    X_BLOCK = 8, /* rows of x whose sums are in registers */
};

struct area {       /* how mm->tmp is cut */
    float *acc;     /* [X_BLOCK][STRIPS][16] */
    float *w_step;  /* [STRIPS][groups][16] */
    uint8_t *panel; /* [STRIPS][k / 4] times 4 columns of a strip */
    uint8_t *rows;  /* [m] rounded rows, where the caller has none */
    int groups;
};

static void lay_out(const struct mk_mm *mm, struct area *ret)
{
    ret->groups = (mm->k + MK_DOT_GROUP - 1) / MK_DOT_GROUP;
    ret->acc = mm->tmp;
    ret->w_step = ret->acc + X_BLOCK * STRIPS * STRIP_ROWS;
    ret->panel = (uint8_t *)(ret->w_step + STRIPS * ret->groups * STRIP_ROWS);
    ret->rows = ret->panel + (size_t)STRIPS * STRIP_ROWS * (size_t)MK_ROUNDED_K(mm->k);
}

INLINE void unpack_strip(enum mk_type type, const struct mk_mm *mm, const struct area *area, int j,
                         int at)
{
    const uint8_t *w = (const uint8_t *)mm->w + (size_t)j * mk_row_bytes(type, (size_t)mm->k);
    uint8_t *dst = area->panel + (size_t)at * STRIP_ROWS * (size_t)MK_ROUNDED_K(mm->k);
    float *step = area->w_step + at * area->groups * STRIP_ROWS;
    for (int g = 0; g < mm->k; g += MK_DOT_GROUP, step += STRIP_ROWS) {
        int n = mm->k - g < MK_DOT_GROUP ? mm->k - g : MK_DOT_GROUP;
        _mm512_storeu_ps(step, unpack_group(type, w, n, 128, dst + (size_t)g * STRIP_ROWS));
        w += STRIP_ROWS * mk_row_bytes(type, (size_t)n);
    }
}

/* Columns [c, c + n) of M rows of x and of the strips: 128 too much in each weight is taken off
 * before. */
INLINE void multiply_group(const struct area *area, const struct mk_rounded *x, size_t padded,
                           int c, int n, int M)
{
    __m512i sum[X_BLOCK][STRIPS];
    for (int m = 0; m < M; m++) {
        int less = 0;
        for (int i = c / 32; i < (c + n) / 32; i++)
            less += x[m].less32[i];
        for (int s = 0; s < STRIPS; s++)
            sum[m][s] = _mm512_set1_epi32(128 * less);
    }
    const uint8_t *w = area->panel + (size_t)c * STRIP_ROWS;
    for (int i = 0; i < n; i += 4, w += 64) {
        __m512i v[STRIPS];
        for (int s = 0; s < STRIPS; s++)
            v[s] = _mm512_loadu_si512(w + (size_t)s * STRIP_ROWS * padded);
        for (int m = 0; m < M; m++) {
            __m512i four = broadcast(x[m].q + c + i);
            for (int s = 0; s < STRIPS; s++)
                sum[m][s] = _mm512_dpbusd_epi32(sum[m][s], v[s], four);
        }
    }
    for (int m = 0; m < M; m++)
        for (int s = 0; s < STRIPS; s++) {
            float *acc = area->acc + (m * STRIPS + s) * STRIP_ROWS;
            int g = c / MK_DOT_GROUP;
            __m512 step = _mm512_loadu_ps(area->w_step + (s * area->groups + g) * STRIP_ROWS);
            __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[m][s]), _mm512_set1_ps(x[m].step[g]));
            _mm512_storeu_ps(
                acc, _mm512_fmadd_ps(v, step, g ? _mm512_loadu_ps(acc) : _mm512_setzero_ps()));
        }
}

/* M rows of x from row i on, times the panel. */
INLINE void multiply_rows(const struct mk_mm *mm, const struct area *area, int i, int j, int M)
{
    struct mk_rounded x[X_BLOCK];
    size_t bytes = mk_rounded_bytes(mm->k);
    for (int m = 0; m < M; m++) {
        size_t row = (size_t)(mm->xrow ? mm->xrow[i + m] : i + m);
        x[m] = mm->rounded ? mk_rounded_row((const uint8_t *)mm->rounded + row * bytes, mm->k)
                           : mk_rounded_row(area->rows + (size_t)(i + m) * bytes, mm->k);
    }
    for (int c = 0; c < mm->k; c += MK_DOT_GROUP)
        multiply_group(area, x, (size_t)MK_ROUNDED_K(mm->k), c,
                       mm->k - c < MK_DOT_GROUP ? mm->k - c : MK_DOT_GROUP, M);
    for (int m = 0; m < M; m++)
        for (int s = 0; s < STRIPS && j + s * STRIP_ROWS < mm->n1; s++)
            put(mm, i + m, j + s * STRIP_ROWS,
                _mm512_loadu_ps(area->acc + (m * STRIPS + s) * STRIP_ROWS));
}

INLINE void multiply(const struct mk_mm *mm, enum mk_type type)
{
    struct area area;
    lay_out(mm, &area);
    for (int i = 0; i < mm->m && !mm->rounded; i++)
        mk_avx512_round(area.rows + (size_t)i * mk_rounded_bytes(mm->k),
                        mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx, mm->k);
    for (int j = mm->n0 / STRIP_ROWS * STRIP_ROWS; j < mm->n1; j += STRIPS * STRIP_ROWS) {
        for (int s = 0; s < STRIPS && j + s * STRIP_ROWS < mm->n1; s++)
            unpack_strip(type, mm, &area, j + s * STRIP_ROWS, s);
        int i = 0;
        for (; i + X_BLOCK <= mm->m; i += X_BLOCK)
            multiply_rows(mm, &area, i, j, X_BLOCK);
        for (; i + 4 <= mm->m; i += 4)
            multiply_rows(mm, &area, i, j, 4);
        for (; i < mm->m; i++)
            multiply_rows(mm, &area, i, j, 1);
    }
}

/* ------------------------------------------------------------------ the table */

#define FUNCTION(id)                                                                               \
    static void multiply_##id(const struct mk_mm *mm)                                              \
    {                                                                                              \
        multiply(mm, MK_##id);                                                                     \
    }
STRIP_COARSE_TYPES(FUNCTION)
#undef FUNCTION

#define ROW(id) [MK_##id] = multiply_##id,
void (*const mk_avx512_mul[MK_TYPE_COUNT])(const struct mk_mm *mm) = {STRIP_COARSE_TYPES(ROW)};
#undef ROW
