/* SPDX-License-Identifier: MIT
 *
 * Products of many rows with strips on AMX: int8 tiles.
 *
 * Two strips are unpacked for all of k, as tiles that stay in the L2 cache, and then meet all rows
 * of x. Integers are summed over a group of 256, then floats over groups in order: mk_ref_mul() bit
 * for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "amx.h"
#include "mk.h"
#include "panel512.h"
#include "strip_avx512.h"

enum {
    BYTES = 64,                /* numbers of the inner dimension in a tile */
    BLOCK = 2 * ROWS,          /* rows of x, and of weights, at once */
    TILE_BYTES = ROWS * BYTES, /* of any tile */
};

struct area {       /* how mm->tmp is cut */
    int32_t *sums;  /* [2][2] tiles: of 16 rows of x and a strip */
    float *acc;     /* [BLOCK][BLOCK] */
    float *x_step;  /* [groups][rows] */
    float *w_step;  /* [2][groups][ROWS] */
    uint8_t *panel; /* [2][k / 64] tiles of 16 times 4 columns of a strip */
    uint8_t *x;     /* [rows / 16][k / 64] tiles of 16 rows */
    uint8_t *row;   /* one rounded row */
    int steps;      /* tiles along k */
    int groups, rows;
};

static void lay_out(const struct mk_mm *mm, struct area *ret)
{
    size_t padded = (size_t)MK_ROUNDED_K(mm->k);
    ret->rows = (mm->m + ROWS - 1) / ROWS * ROWS;
    ret->steps = (int)padded / BYTES;
    ret->groups = (mm->k + MK_DOT_GROUP - 1) / MK_DOT_GROUP;
    ret->sums = (int32_t *)mm->tmp;
    ret->acc = mm->tmp + 4 * ROWS * ROWS;
    ret->w_step = ret->acc + BLOCK * BLOCK;
    ret->x_step = ret->w_step + (size_t)2 * (size_t)ret->groups * ROWS;
    ret->panel = (uint8_t *)(ret->x_step + (size_t)ret->groups * (size_t)ret->rows);
    ret->x = ret->panel + BLOCK * padded;
    ret->row = ret->x + (size_t)ret->rows * padded;
}

/* ------------------------------------------------------------------ rows of x */

static void pack_x(const struct mk_mm *mm, const struct area *area)
{
    size_t bytes = mk_rounded_bytes(mm->k);
    for (int i = 0; i < area->rows; i++) {
        uint8_t *dst = area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE_BYTES +
                       (size_t)(i % ROWS) * BYTES;
        if (i >= mm->m) { /* nobody looks at what comes of it */
            for (int s = 0; s < area->steps; s++, dst += TILE_BYTES)
                _mm512_store_si512(dst, _mm512_setzero_si512());
            for (int g = 0; g < area->groups; g++)
                area->x_step[(size_t)g * (size_t)area->rows + (size_t)i] = 0;
            continue;
        }
        size_t from = (size_t)(mm->xrow ? mm->xrow[i] : i);
        const void *rounded = area->row;
        if (mm->rounded)
            rounded = (const uint8_t *)mm->rounded + from * bytes;
        else
            mk_avx512_round(area->row, mm->x + from * (size_t)mm->ldx, mm->k);
        struct mk_rounded row = mk_rounded_row(rounded, mm->k);
        for (int s = 0; s < area->steps; s++, dst += TILE_BYTES)
            _mm512_store_si512(dst, _mm512_loadu_si512(row.q + s * BYTES));
        for (int g = 0; g < area->groups; g++)
            area->x_step[(size_t)g * (size_t)area->rows + (size_t)i] = row.step[g];
    }
}

/* ------------------------------------------------------------------ sums */

/* Group g of `b` tiles of rows of x times `a` strips, into area->sums. */
INLINE void multiply_group(const struct area *area, const uint8_t *x, const uint8_t *w, int g,
                           int b, int a)
{
    const int each = MK_DOT_GROUP / BYTES;
    size_t next = (size_t)area->steps * TILE_BYTES;
    int end = (g + 1) * each < area->steps ? (g + 1) * each : area->steps;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = g * each; s < end; s++) {
        size_t at = (size_t)s * TILE_BYTES;
        _tile_loadd(4, x + at, LINE);
        _tile_loadd(6, w + at, LINE);
        _tile_dpbssd(0, 4, 6);
        if (a > 1) {
            _tile_loadd(7, w + next + at, LINE);
            _tile_dpbssd(1, 4, 7);
        }
        if (b > 1) {
            _tile_loadd(5, x + next + at, LINE);
            _tile_dpbssd(2, 5, 6);
        }
        if (a > 1 && b > 1)
            _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, area->sums, LINE);
    if (a > 1)
        _tile_stored(1, area->sums + ROWS * ROWS, LINE);
    if (b > 1)
        _tile_stored(2, area->sums + 2 * ROWS * ROWS, LINE);
    if (a > 1 && b > 1)
        _tile_stored(3, area->sums + 3 * ROWS * ROWS, LINE);
}

/* What a group's integers add to the rows' sums; the first writes them. */
INLINE void add_group(const struct area *area, const float *x_step, int g, int b, int a)
{
    for (int strip = 0; strip < a; strip++) {
        __m512 w_step = _mm512_loadu_ps(area->w_step + (size_t)(strip * area->groups + g) * ROWS);
        for (int r = 0; r < b * ROWS; r++) {
            const int32_t *sums =
                area->sums + (r / ROWS * 2 + strip) * ROWS * ROWS + r % ROWS * ROWS;
            float *acc = area->acc + r * BLOCK + strip * ROWS;
            __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
            sum = _mm512_mul_ps(sum, _mm512_set1_ps(x_step[r]));
            sum = _mm512_fmadd_ps(sum, w_step, g ? _mm512_load_ps(acc) : _mm512_setzero_ps());
            _mm512_store_ps(acc, sum);
        }
    }
}

INLINE void multiply_block(const struct area *area, int i, int b, int a)
{
    const uint8_t *x = area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE_BYTES;
    for (int g = 0; g < area->groups; g++) {
        multiply_group(area, x, area->panel, g, b, a);
        add_group(area, area->x_step + (size_t)g * (size_t)area->rows + (size_t)i, g, b, a);
    }
}

/* Rows of x from row i on, up to BLOCK, times the strips of the panel, `a` of them. */
static void block(const struct mk_mm *mm, const struct area *area, int i, int j, int a)
{
    int rows = mm->m - i < BLOCK ? mm->m - i : BLOCK;
    if (rows > ROWS && a > 1)
        multiply_block(area, i, 2, 2);
    else if (rows > ROWS)
        multiply_block(area, i, 2, 1);
    else if (a > 1)
        multiply_block(area, i, 1, 2);
    else
        multiply_block(area, i, 1, 1);
    for (int strip = 0; strip < a; strip++)
        for (int r = 0; r < rows; r++)
            put(mm, i + r, j + strip * STRIP_ROWS,
                _mm512_load_ps(area->acc + r * BLOCK + strip * ROWS));
}

/* ------------------------------------------------------------------ weights */

INLINE void unpack_strip(enum mk_type type, const struct mk_mm *mm, const struct area *area, int j,
                         int at)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k), padded = (size_t)MK_ROUNDED_K(mm->k);
    const uint8_t *w = (const uint8_t *)mm->w + (size_t)j * row_bytes;
    uint8_t *dst = area->panel + (size_t)at * STRIP_ROWS * padded;
    float *step = area->w_step + (size_t)at * (size_t)area->groups * ROWS;
    for (int g = 0; g < mm->k; g += MK_DOT_GROUP, step += ROWS) {
        int n = mm->k - g < MK_DOT_GROUP ? mm->k - g : MK_DOT_GROUP;
        size_t bytes = STRIP_ROWS * mk_row_bytes(type, (size_t)n);
        for (size_t line = 0; line < bytes; line += 64)
            _mm_prefetch((const char *)w + 4096 + line, _MM_HINT_T0);
        _mm512_storeu_ps(step, unpack_group(type, w, n, 0, dst + (size_t)g * STRIP_ROWS));
        w += bytes;
    }
    memset(dst + (size_t)mm->k * STRIP_ROWS, 0, (padded - (size_t)mm->k) * STRIP_ROWS);
}

INLINE void multiply(const struct mk_mm *mm, enum mk_type type)
{
    struct area area;
    lay_out(mm, &area);
    pack_x(mm, &area);
    open_tiles();
    for (int j = mm->n0 / STRIP_ROWS * STRIP_ROWS; j < mm->n1; j += 2 * STRIP_ROWS) {
        int a = mm->n1 - j > STRIP_ROWS ? 2 : 1;
        for (int strip = 0; strip < a; strip++)
            unpack_strip(type, mm, &area, j + strip * STRIP_ROWS, strip);
        for (int i = 0; i < mm->m; i += BLOCK)
            block(mm, &area, i, j, a);
    }
    _tile_release();
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
void (*const mk_amx_mul[MK_TYPE_COUNT])(const struct mk_mm *mm) = {STRIP_COARSE_TYPES(ROW)};
#undef ROW
