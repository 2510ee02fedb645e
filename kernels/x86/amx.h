/* SPDX-License-Identifier: MIT
 *
 * Tiles of bf16: 16 rows of 64 bytes. As the left factor a tile is 16 rows of 32 numbers; as the
 * right one, 16 pairs of numbers of 16 columns. All inlined.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "zmm.h"

enum {
    ROWS = 16,          /* of a tile */
    STEP = 32,          /* numbers of the inner dimension in a tile */
    TILE = ROWS * STEP, /* bf16 numbers of a tile */
    LINE = 2 * STEP,    /* bytes of a row of a tile */
};

/* All eight registers whole. The user of tiles ends with _tile_release(). Constant, since gcc 12
 * believes that only the first 8 bytes are read and may drop what was stored behind them. */
INLINE void open_tiles(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config = {
        .palette = 1,
        .bytes = {LINE, LINE, LINE, LINE, LINE, LINE, LINE, LINE},
        .rows = {ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS},
    };
    _tile_loadconfig(&config);
}

/* Between two operations on tiles. Where the other thread of a core uses tiles too, as neighbours
 * of a virtual machine do, both then take a third less time; where it does not, this costs nothing.
 */
INLINE void breathe(void)
{
    __asm__ volatile(".rept 8\n\tnop\n\t.endr");
}

/* A tile whose 16 lines lie `line` bytes apart, or one after the other. */
#define load_lines(tile, from, line)                                                               \
    do {                                                                                           \
        _tile_loadd(tile, from, line);                                                             \
        breathe();                                                                                 \
    } while (0)
#define load_tile(tile, from) load_lines(tile, from, LINE)

/* sums += left · right, of int8 or of bf16. */
#define multiply_int8(sums, left, right)                                                           \
    do {                                                                                           \
        _tile_dpbssd(sums, left, right);                                                           \
        breathe();                                                                                 \
    } while (0)
#define multiply_bf16(sums, left, right)                                                           \
    do {                                                                                           \
        _tile_dpbf16ps(sums, left, right);                                                         \
        breathe();                                                                                 \
    } while (0)

/* Elements [c, c + 32) of a row of which k exist, rounded to nearest even; the rest is zero. */
INLINE __m512i load_step(const float *x, int c, int k)
{
    __m512 low = _mm512_maskz_loadu_ps(first(k - c), x + c);
    __m512 high = _mm512_maskz_loadu_ps(first(k - c - 16), x + c + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* Up to 16 rows of k numbers as `steps` right factors one after the other, each row a column;
 * missing rows are zero. */
INLINE void pack_columns(const float *const *row, int rows, int k, int steps, uint16_t *dst)
{
    for (int s = 0; s < steps; s++, dst += TILE) {
        __m512i v[ROWS];
        for (int r = 0; r < ROWS; r++)
            v[r] = r < rows ? load_step(row[r], s * STEP, k) : _mm512_setzero_si512();
        transpose(v);
        for (int r = 0; r < ROWS; r++)
            _mm512_store_si512(dst + r * STEP, v[r]);
    }
}
