/* SPDX-License-Identifier: MIT
 *
 * Multiplication of many rows on AMX, in bf16 with float32 sums.
 *
 * A panel of weights is unpacked once, as tiles that stay in the L2 cache, and then meets all rows
 * of x, which were packed once before. Both are rounded to bf16, to nearest even. A result is the
 * sum over pairs of k in order, so it depends on its own row and column alone. Few rows, rows of
 * float32 weights and all packing are AVX-512's. Pure; any thread.
 */
#include <immintrin.h>

#include "amx.h"
#include "mk.h"
#include "strip512.h"
#include "strip_avx512.h"

enum { BLOCK = 2 * ROWS }; /* rows of x, and of weights, at once */

struct area {        /* how mm->tmp is cut */
    float *sums;     /* [2][2] tiles: of 16 rows of x and 16 of weights */
    float *line;     /* [ROWS] unpacked rows of a file */
    uint16_t *panel; /* [panel rows / 16][steps] tiles: 16 pairs of k, of 16 weight rows each */
    uint16_t *x;     /* [⌈m / 16⌉][steps] tiles: 16 rows of 32 */
    int steps, panel_rows;
};

static void lay_out(const struct mk_mm *mm, struct area *ret)
{
    size_t steps = ((size_t)mm->k + STEP - 1) / STEP;
    ret->steps = (int)steps;
    ret->panel_rows = mk_mm_panel_rows(mm->k);
    ret->sums = mm->tmp;
    ret->line = ret->sums + 4 * ROWS * ROWS;
    ret->panel = (uint16_t *)(ret->line + ROWS * steps * STEP);
    ret->x = ret->panel + (size_t)ret->panel_rows * steps * STEP;
}

static void pack_x(const struct mk_mm *mm, const struct area *area)
{
    for (int i = 0; i < (mm->m + ROWS - 1) / ROWS * ROWS; i++) {
        const float *row = mm->x; /* a missing row is any: nobody looks at what comes of it */
        if (i < mm->m)
            row += (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
        uint16_t *dst =
            area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE + (size_t)(i % ROWS) * STEP;
        for (int s = 0; s < area->steps; s++, dst += TILE)
            _mm512_store_si512(dst, load_step(row, s * STEP, mm->k));
    }
}

/* ------------------------------------------------------------------ weights */

/* Bytes `at` and `at` + 1 of codes as weights: pairs of 16 rows. */
INLINE __m512i pairs(__m512i codes, int at, __m512 scale, __m512 minimum)
{
    const __m512i in_turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512 a = _mm512_cvtepi32_ps(bits(codes, 8 * at, 255));
    __m512 b = _mm512_cvtepi32_ps(bits(codes, 8 * at + 8, 255));
    a = _mm512_fmsub_ps(a, scale, minimum);
    b = _mm512_fmsub_ps(b, scale, minimum);
    return _mm512_permutexvar_epi16(in_turn, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

/* Columns [0, n) of a group of a strip. */
INLINE void unpack_group(enum mk_type type, const uint8_t *group, int n, uint16_t *dst)
{
    const struct counting how = counting(type);
    const int blocks = n / elements_of(type), each = elements_of(type) / how.part;
    for (int b = 0; b < blocks; b++) {
        struct column col = column(type, group, blocks, b);
        __m512 d = d_of(type, col), dmin = _mm512_setzero_ps();
        if (has_minimum(type))
            dmin = dmin_of(type, col);
#pragma GCC unroll 16
        for (int p = 0; p < each; p++) {
            __m512 scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale_of(type, col, p))), minimum;
            if (has_minimum(type))
                minimum = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(minimum_of(type, col, p)));
            else
                minimum = _mm512_mul_ps(scale, _mm512_set1_ps((float)(1 << how.log_offset)));
#pragma GCC unroll 8
            for (int i = 0; i < how.part / 4; i++, dst += 2 * STEP) {
                __m512i codes = code(type, col, p, i);
                _mm512_store_si512(dst, pairs(codes, 0, scale, minimum));
                _mm512_store_si512(dst + STEP, pairs(codes, 2, scale, minimum));
            }
        }
    }
}

INLINE void unpack_strip(enum mk_type type, const struct mk_mm *mm, const struct area *area, int j,
                         uint16_t *dst)
{
    const uint8_t *w = (const uint8_t *)mm->w + (size_t)j * mk_row_bytes(type, (size_t)mm->k);
    (void)area;
    for (int g = 0; g < mm->k; g += MK_DOT_GROUP) {
        int n = mm->k - g < MK_DOT_GROUP ? mm->k - g : MK_DOT_GROUP;
        size_t bytes = STRIP_ROWS * mk_row_bytes(type, (size_t)n);
        for (size_t line = 0; line < bytes; line += 64)
            _mm_prefetch((const char *)w + 4096 + line, _MM_HINT_T0);
        unpack_group(type, w, n, dst + g * ROWS);
        w += bytes;
    }
}

/* 16 rows of a file from row j on; missing ones are zero. */
INLINE void unpack_rows(enum mk_type type, const struct mk_mm *mm, const struct area *area, int j,
                        uint16_t *dst)
{
    const float *row[ROWS];
    int rows = mm->n - j < ROWS ? mm->n - j : ROWS;
    for (int r = 0; r < rows; r++) {
        float *line = area->line + (size_t)r * (size_t)area->steps * STEP;
        mk_avx512_rows[type].row(line, mm->w, mm->n, mm->k, j + r);
        row[r] = line;
    }
    pack_columns(row, rows, mm->k, area->steps, dst);
}

/* ------------------------------------------------------------------ sums */

/* `a` tiles of rows of x times `b` of weight rows, into area->sums. */
INLINE void multiply_tiles(const struct area *area, const uint16_t *x, const uint16_t *w, int a,
                           int b)
{
    size_t next = (size_t)area->steps * TILE; /* from a block of 16 rows to the next */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++, w += TILE, x += TILE) {
        load_tile(4, x);
        load_tile(6, w);
        multiply_bf16(0, 4, 6);
        if (b > 1) {
            load_tile(7, w + next);
            multiply_bf16(1, 4, 7);
        }
        if (a > 1) {
            load_tile(5, x + next);
            multiply_bf16(2, 5, 6);
        }
        if (a > 1 && b > 1)
            multiply_bf16(3, 5, 7);
    }
    _tile_stored(0, area->sums, LINE);
    if (b > 1)
        _tile_stored(1, area->sums + ROWS * ROWS, LINE);
    if (a > 1)
        _tile_stored(2, area->sums + 2 * ROWS * ROWS, LINE);
    if (a > 1 && b > 1)
        _tile_stored(3, area->sums + 3 * ROWS * ROWS, LINE);
}

/* Rows [i, …) of x, up to BLOCK, times `b` tiles of the panel at w, which are columns from j on. */
static void block(const struct mk_mm *mm, const struct area *area, const uint16_t *w, int i, int j,
                  int b)
{
    int rows = mm->m - i < BLOCK ? mm->m - i : BLOCK, a = rows > ROWS ? 2 : 1;
    const uint16_t *x = area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE;
    if (a == 2 && b == 2)
        multiply_tiles(area, x, w, 2, 2);
    else if (a == 2)
        multiply_tiles(area, x, w, 2, 1);
    else if (b == 2)
        multiply_tiles(area, x, w, 1, 2);
    else
        multiply_tiles(area, x, w, 1, 1);
    for (int t = 0; t < b; t++)
        for (int r = 0; r < rows; r++)
            put(mm, i + r, j + t * ROWS,
                _mm512_load_ps(area->sums + (r / ROWS * 2 + t) * ROWS * ROWS + r % ROWS * ROWS));
}

INLINE void gemm(const struct mk_mm *mm, enum mk_type type)
{
    struct area area;
    lay_out(mm, &area);
    pack_x(mm, &area);
    open_tiles();
    for (int j = mm->n0 / ROWS * ROWS; j < mm->n1; j += area.panel_rows) {
        int end = mm->n1 - j < area.panel_rows ? mm->n1 : j + area.panel_rows;
        for (int r = j; r < end; r += ROWS) {
            uint16_t *dst = area.panel + (size_t)(r - j) * (size_t)area.steps * STEP;
            if (strip_has(type))
                unpack_strip(type, mm, &area, r, dst);
            else
                unpack_rows(type, mm, &area, r, dst);
        }
        for (int i = 0; i < mm->m; i += BLOCK)
            for (int r = j; r < end; r += BLOCK)
                block(mm, &area, area.panel + (size_t)(r - j) * (size_t)area.steps * STEP, i, r,
                      end - r > ROWS ? 2 : 1);
    }
    _tile_release();
}

/* ------------------------------------------------------------------ the table */

#define FUNCTION(id, name, gguf, elements, bytes)                                                  \
    static void gemm_##id(const struct mk_mm *mm)                                                  \
    {                                                                                              \
        gemm(mm, MK_##id);                                                                         \
    }
MK_TYPE_MAP(FUNCTION)
#undef FUNCTION

#define ROW(id, name, gguf, elements, bytes) gemm_##id,
static void (*const many[MK_TYPE_COUNT])(const struct mk_mm *mm) = {MK_TYPE_MAP(ROW)};
#undef ROW

/* All but the multiplication of many rows stays AVX-512's; and norms and routers, which are
 * float32: rounding them would change who is chosen. */
void mk_amx_mat(struct mk *mk)
{
    for (int t = 0; t < MK_TYPE_COUNT; t++) {
        if (t == MK_F32)
            continue;
        mk->mat[t].isa = "amx";
        mk->mat[t].gemm = mk->mat[t].gemm_coarse = many[t];
        mk->mat[t].many = mk->mat[t].coarse = MK_HALVES;
        if (mk_amx_mul[t]) {
            mk->mat[t].gemm_coarse = mk_amx_mul[t];
            mk->mat[t].coarse = MK_BYTES;
        }
    }
}
