/* SPDX-License-Identifier: MIT
 *
 * Multiplication of many rows on AMX, in bf16 with float32 sums.
 *
 * A panel of weight rows is unpacked once, as tiles that stay in the L2 cache, and then meets all
 * rows of x, which were packed once before. Both are rounded to bf16, to nearest even. A result is
 * the sum over steps of 32 in order, so it depends on its own row and column alone. Few rows, rows
 * of float32 weights and all packing are AVX-512's. Pure; any thread.
 */
#include <immintrin.h>

#include "amx.h"
#include "mk.h"

struct area {        /* how mm->tmp is cut */
    uint16_t *x;     /* [⌈m / 16⌉][steps] tiles of pairs: 16 pairs of k, of 16 rows each */
    uint16_t *panel; /* [panel rows / 16][steps] tiles: 16 rows of 32 */
    float *line;     /* one unpacked row */
    float *sums;     /* [2][2] tiles of sums: [16 weight rows][16 rows of x] */
    int steps, panel_rows;
};

static void lay_out(const struct mk_mm *mm, struct area *ret)
{
    size_t steps = ((size_t)mm->k + STEP - 1) / STEP;
    ret->steps = (int)steps;
    ret->panel_rows = mk_mm_panel_rows(mm->k);
    ret->sums = mm->tmp;
    ret->line = ret->sums + 4 * ROWS * ROWS;
    ret->panel = (uint16_t *)(ret->line + steps * STEP);
    ret->x = ret->panel + (size_t)ret->panel_rows / ROWS * steps * TILE;
}

/* ------------------------------------------------------------------ rows of x */

static void pack_x(const struct mk_mm *mm, const struct area *area)
{
    for (int i = 0; i < mm->m; i += ROWS) {
        const float *row[ROWS];
        int rows = mm->m - i < ROWS ? mm->m - i : ROWS;
        for (int r = 0; r < rows; r++)
            row[r] = mm->x + (size_t)(mm->xrow ? mm->xrow[i + r] : i + r) * (size_t)mm->ldx;
        uint16_t *dst = area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE;
        pack_columns(row, rows, mm->k, area->steps, dst);
    }
}

/* ------------------------------------------------------------------ weights */

static void unpack_panel(const struct mk_mm *mm, const struct mk_mat *mat, const struct area *area,
                         int j, int rows)
{
    size_t row_bytes = mk_row_bytes(mat->type, (size_t)mm->k);
    for (int r = 0; r < rows; r++) {
        const char *ahead = (const char *)mm->w + (size_t)(j + r + 1) * row_bytes;
        if (j + r + 1 < mm->n)
            for (size_t b = 0; b < row_bytes; b += 64)
                _mm_prefetch(ahead + b, _MM_HINT_T0);
        mat->row(area->line, mm->w, mm->n, mm->k, j + r);
        uint16_t *dst = area->panel + (size_t)(r / ROWS) * (size_t)area->steps * TILE +
                        (size_t)(r % ROWS) * STEP;
        for (int s = 0; s < area->steps; s++, dst += TILE)
            _mm512_store_si512(dst, load_step(area->line, s * STEP, mm->k));
    }
}

/* ------------------------------------------------------------------ sums */

/* `a` tiles of weight rows times `b` tiles of rows of x, into area->sums. */
INLINE void multiply_tiles(const struct area *area, const uint16_t *w, const uint16_t *x, int a,
                           int b)
{
    size_t next = (size_t)area->steps * TILE; /* from a block of 16 rows to the next */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++, w += TILE, x += TILE) {
        _tile_loadd(4, w, LINE);
        _tile_loadd(6, x, LINE);
        _tile_dpbf16ps(0, 4, 6);
        if (b > 1) {
            _tile_loadd(7, x + next, LINE);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (a > 1) {
            _tile_loadd(5, w + next, LINE);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (a > 1 && b > 1)
            _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, area->sums, LINE);
    if (b > 1)
        _tile_stored(1, area->sums + ROWS * ROWS, LINE);
    if (a > 1)
        _tile_stored(2, area->sums + 2 * ROWS * ROWS, LINE);
    if (a > 1 && b > 1)
        _tile_stored(3, area->sums + 3 * ROWS * ROWS, LINE);
}

/* A tile of sums to rows [i, i + m) and columns [j, j + n) of y. */
static void put(const struct mk_mm *mm, const float *sums, int i, int m, int j, int n)
{
    __m512i v[ROWS];
    for (int r = 0; r < ROWS; r++)
        v[r] = _mm512_load_si512(sums + r * ROWS);
    transpose(v);
    for (int r = 0; r < m; r++) {
        float *y = mm->y + (size_t)(mm->yrow ? mm->yrow[i + r] : i + r) * (size_t)mm->ldy + j;
        __m512 sum = (__m512)v[r];
        if (mm->add)
            sum = _mm512_add_ps(_mm512_maskz_loadu_ps(first(n), y), sum);
        _mm512_mask_storeu_ps(y, first(n), sum);
    }
}

static int tiles(int rows)
{
    return rows > ROWS ? 2 : 1;
}

static int most(int n, int limit)
{
    return n < limit ? n : limit;
}

/* Weight rows [j + r, …) of the panel, up to 32, times rows [i, …) of x, up to 32. */
static void block(const struct mk_mm *mm, const struct area *area, int j, int r, int rows, int i)
{
    int a = tiles(rows), b = tiles(mm->m - i);
    const uint16_t *w = area->panel + (size_t)(r / ROWS) * (size_t)area->steps * TILE;
    const uint16_t *x = area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE;
    if (a == 2 && b == 2)
        multiply_tiles(area, w, x, 2, 2);
    else if (a == 2)
        multiply_tiles(area, w, x, 2, 1);
    else if (b == 2)
        multiply_tiles(area, w, x, 1, 2);
    else
        multiply_tiles(area, w, x, 1, 1);
    for (int ta = 0; ta < a; ta++)
        for (int tb = 0; tb < b; tb++)
            put(mm, area->sums + (2 * ta + tb) * ROWS * ROWS, i + tb * ROWS,
                most(mm->m - i - tb * ROWS, ROWS), j + r + ta * ROWS, most(rows - ta * ROWS, ROWS));
}

static void gemm(const struct mk_mm *mm, const struct mk_mat *mat)
{
    struct area area;
    lay_out(mm, &area);
    pack_x(mm, &area);
    open_tiles();
    for (int j = mm->n0; j < mm->n1; j += area.panel_rows) {
        int rows = most(mm->n1 - j, area.panel_rows);
        unpack_panel(mm, mat, &area, j, rows);
        for (int i = 0; i < mm->m; i += 2 * ROWS)
            for (int r = 0; r < rows; r += 2 * ROWS)
                block(mm, &area, j, r, most(rows - r, 2 * ROWS), i);
    }
    _tile_release();
}

/* ------------------------------------------------------------------ the table */

/* All but the multiplication of many rows is AVX-512's. */
#define FUNCTIONS(id, name, gguf, elements, bytes)                                                 \
    static size_t pack_size_##id(int n, int k)                                                     \
    {                                                                                              \
        return mk_avx512_mats[MK_##id].pack_size(n, k);                                            \
    }                                                                                              \
    static void pack_##id(void *dst, const void *src, int n, int k)                                \
    {                                                                                              \
        mk_avx512_mats[MK_##id].pack(dst, src, n, k);                                              \
    }                                                                                              \
    static void gemv_##id(const struct mk_mm *mm)                                                  \
    {                                                                                              \
        mk_avx512_mats[MK_##id].gemv(mm);                                                          \
    }                                                                                              \
    static void gemm_##id(const struct mk_mm *mm)                                                  \
    {                                                                                              \
        gemm(mm, &mk_avx512_mats[MK_##id]);                                                        \
    }                                                                                              \
    static void row_##id(float *dst, const void *w, int n, int k, int j)                           \
    {                                                                                              \
        mk_avx512_mats[MK_##id].row(dst, w, n, k, j);                                              \
    }
MK_TYPE_MAP(FUNCTIONS)
#undef FUNCTIONS

#define MAT(id, name, gguf, elements, bytes)                                                       \
    {"amx", MK_##id, gguf, pack_size_##id, pack_##id, gemv_##id, gemm_##id, row_##id},
static const struct mk_mat mat[MK_TYPE_COUNT] = {MK_TYPE_MAP(MAT)};
#undef MAT

void mk_amx_mat(struct mk *mk)
{
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        if (t != MK_F32) /* norms, routers: rounding them would change who is chosen */
            mk->mat[t] = &mat[t];
}
