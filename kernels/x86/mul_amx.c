/* SPDX-License-Identifier: MIT
 *
 * Products of many rows with strips on AMX: int8 tiles.
 *
 * A few strips are unpacked for all of k, as tiles that stay in the L2 cache. Then group by group,
 * whose tiles stay in the L1 cache, they meet all rows of x. Integers are summed over a group of
 * 256, then floats over groups in order: mk_ref_mul() bit for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "amx.h"
#include "mk.h"
#include "panel512.h"
#include "strip_avx512.h"

enum {
    BYTES = 64, /* numbers of the inner dimension in a tile */
    X_TILES = 3,
    W_TILES = 2,               /* tiles of x and of weights at once: six of sums */
    PANEL = MK_MM_PANEL,       /* weight rows that are unpacked together */
    TILE_BYTES = ROWS * BYTES, /* of any tile */
};

struct area {       /* how mm->tmp is cut */
    int32_t *sums;  /* [2][X_TILES][W_TILES] tiles: of 16 rows of x and a strip; twice, in turn */
    float *acc;     /* [rows][PANEL] */
    float *x_step;  /* [groups][rows] */
    float *w_step;  /* [PANEL / ROWS][groups][ROWS] */
    uint8_t *panel; /* [PANEL / ROWS][k / 64] tiles of 16 times 4 columns of a strip */
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
    ret->acc = mm->tmp + 2 * X_TILES * W_TILES * ROWS * ROWS;
    ret->w_step = ret->acc + (size_t)ret->rows * PANEL;
    ret->x_step = ret->w_step + (size_t)PANEL * (size_t)ret->groups;
    ret->panel = (uint8_t *)(ret->x_step + (size_t)ret->groups * (size_t)ret->rows);
    ret->x = ret->panel + PANEL * padded;
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

/* What is multiplied at once: group `group` of `a` tiles of rows of x from row i on, and of `b`
 * strips of the panel. */
struct block {
    int group, i, a, strip, b;
};

/* Tiles 0 … 5 are the sums, [X_TILES][W_TILES]. */
INLINE void multiply_tiles(const struct area *area, struct block at, int a, int b)
{
    const int each = MK_DOT_GROUP / BYTES;
    size_t next = (size_t)area->steps * TILE_BYTES;
    const uint8_t *x = area->x + (size_t)(at.i / ROWS) * next;
    const uint8_t *w = area->panel + (size_t)at.strip * next;
    int end = (at.group + 1) * each < area->steps ? (at.group + 1) * each : area->steps;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int s = at.group * each; s < end; s++) {
        size_t step = (size_t)s * TILE_BYTES;
        _tile_loadd(7, w + step, LINE);
        _tile_loadd(6, x + step, LINE);
        _tile_dpbssd(0, 6, 7);
        if (a > 1) {
            _tile_loadd(6, x + next + step, LINE);
            _tile_dpbssd(2, 6, 7);
        }
        if (a > 2) {
            _tile_loadd(6, x + 2 * next + step, LINE);
            _tile_dpbssd(4, 6, 7);
        }
        if (b > 1) { /* the last tile of x is still there */
            _tile_loadd(7, w + next + step, LINE);
            if (a > 2) {
                _tile_dpbssd(5, 6, 7);
                _tile_loadd(6, x + next + step, LINE);
            }
            if (a > 1) {
                _tile_dpbssd(3, 6, 7);
                _tile_loadd(6, x + step, LINE);
            }
            _tile_dpbssd(1, 6, 7);
        }
    }
}

static void multiply_block(const struct area *area, struct block at)
{
    switch (at.a * 2 + at.b) {
    case 3 * 2 + 2:
        multiply_tiles(area, at, 3, 2);
        break;
    case 3 * 2 + 1:
        multiply_tiles(area, at, 3, 1);
        break;
    case 2 * 2 + 2:
        multiply_tiles(area, at, 2, 2);
        break;
    case 2 * 2 + 1:
        multiply_tiles(area, at, 2, 1);
        break;
    case 1 * 2 + 2:
        multiply_tiles(area, at, 1, 2);
        break;
    default:
        multiply_tiles(area, at, 1, 1);
    }
}

static void store_block(int32_t *sums)
{
    _tile_stored(0, sums, LINE);
    _tile_stored(1, sums + ROWS * ROWS, LINE);
    _tile_stored(2, sums + 2 * ROWS * ROWS, LINE);
    _tile_stored(3, sums + 3 * ROWS * ROWS, LINE);
    _tile_stored(4, sums + 4 * ROWS * ROWS, LINE);
    _tile_stored(5, sums + 5 * ROWS * ROWS, LINE);
}

/* What a block's integers add to the rows' sums; the first group writes them. */
static void add_block(const struct area *area, struct block at, const int32_t *sums)
{
    const float *x_step = area->x_step + (size_t)at.group * (size_t)area->rows + at.i;
    for (int s = 0; s < at.b; s++) {
        __m512 w_step = _mm512_loadu_ps(area->w_step +
                                        (size_t)((at.strip + s) * area->groups + at.group) * ROWS);
        for (int r = 0; r < at.a * ROWS; r++) {
            const int32_t *from = sums + (r / ROWS * W_TILES + s) * ROWS * ROWS + r % ROWS * ROWS;
            float *acc = area->acc + (at.i + r) * PANEL + (at.strip + s) * ROWS;
            __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(from));
            sum = _mm512_mul_ps(sum, _mm512_set1_ps(x_step[r]));
            __m512 before = at.group ? _mm512_load_ps(acc) : _mm512_setzero_ps();
            _mm512_store_ps(acc, _mm512_fmadd_ps(sum, w_step, before));
        }
    }
}

/* Tiles of x that are taken next of `left`: no lone one at the end, if that can be. */
static int next_tiles(int left)
{
    return left == X_TILES + 1 ? 2 : left < X_TILES ? left : X_TILES;
}

/* All rows of x times `strips` strips. While tiles multiply, the sums of the block before become
 * floats. */
static void multiply_panel(const struct area *area, int strips)
{
    struct block at = {0}, before = {0};
    int32_t *sums = area->sums, *sums_before = sums + X_TILES * W_TILES * ROWS * ROWS;
    for (at.group = 0; at.group < area->groups; at.group++)
        for (at.i = 0; at.i < area->rows; at.i += at.a * ROWS) {
            at.a = next_tiles((area->rows - at.i) / ROWS);
            for (at.strip = 0; at.strip < strips; at.strip += W_TILES) {
                at.b = strips - at.strip < W_TILES ? strips - at.strip : W_TILES;
                multiply_block(area, at);
                if (before.a)
                    add_block(area, before, sums_before);
                store_block(sums);
                int32_t *swapped = sums;
                sums = sums_before;
                sums_before = swapped;
                before = at;
            }
        }
    add_block(area, before, sums_before);
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
    for (int j = mm->n0 / STRIP_ROWS * STRIP_ROWS; j < mm->n1; j += PANEL) {
        int end = mm->n1 - j < PANEL ? mm->n1 : j + PANEL;
        int strips = (end - j + STRIP_ROWS - 1) / STRIP_ROWS;
        for (int strip = 0; strip < strips; strip++)
            unpack_strip(type, mm, &area, j + strip * STRIP_ROWS, strip);
        multiply_panel(&area, strips);
        for (int i = 0; i < mm->m; i++)
            for (int strip = 0; strip < strips; strip++)
                put(mm, i, j + strip * STRIP_ROWS,
                    _mm512_load_ps(area.acc + i * PANEL + strip * ROWS));
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
