/* SPDX-License-Identifier: MIT
 *
 * Products of many rows with strips on AVX-512 VNNI, weights as exact as in products of few.
 *
 * A strip is laid out for all of k, its codes a byte each, and stays in the L2 cache while all rows
 * of x meet it, eight at a time. That is mk_ref_dot() bit for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "mk.h"
#include "strip512.h"
#include "strip_avx512.h"

enum { X_BLOCK = 8 }; /* rows of x whose sums are in registers */

/* A group of a strip. */
struct laid_out {
    __m512i code[MK_DOT_GROUP / 4];
    __m512i scale[16]; /* of each part; K types */
    __m512i less[8]; /* what counts times the sum of x: minimums, or scales of codes that count from
                      * elsewhere; those of two parts in a lane, 16 bits each; K types */
    __m512 d[8], dmin[8]; /* of each block */
};

INLINE __m512i pair(__m512i low, __m512i high) /* their lower 16 bits, in one lane */
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
}

INLINE void lay_out(enum mk_type type, const uint8_t *group, int n, struct laid_out *ret)
{
    const struct counting how = counting(type);
    const int elements = elements_of(type), blocks = n / elements, each = elements / how.part;
    for (int b = 0; b < blocks; b++) {
        struct column col = column(type, group, blocks, b);
        __m512i *dst = ret->code + b * elements / 4;
#pragma GCC unroll 16
        for (int p = 0; p < each; p++)
#pragma GCC unroll 8
            for (int i = 0; i < how.part / 4; i++)
                dst[p * how.part / 4 + i] = code(type, col, p, i);
        ret->d[b] = d_of(type, col);
        if (has_minimum(type))
            ret->dmin[b] = dmin_of(type, col);
#pragma GCC unroll 8
        for (int p = 0; p + 1 < each; p += 2) {
            ret->scale[p] = scale_of(type, col, p);
            ret->scale[p + 1] = scale_of(type, col, p + 1);
            if (has_minimum(type))
                ret->less[p / 2] = pair(minimum_of(type, col, p), minimum_of(type, col, p + 1));
            else
                ret->less[p / 2] = pair(ret->scale[p], ret->scale[p + 1]);
        }
    }
}

/* One part's codes times M rows of x from column c on, added to sum. */
INLINE void meet_part(int part, const __m512i *w, const struct mk_rounded *x, int c, int M,
                      __m512i *sum)
{
#pragma GCC unroll 8
    for (int i = 0; i < part / 4; i++)
        for (int m = 0; m < M; m++)
            sum[m] = _mm512_dpbusd_epi32(sum[m], w[i], broadcast(x[m].q + c + 4 * i));
}

/* Blocks of one part each. */
INLINE void meet_small(enum mk_type type, const struct laid_out *w, const struct mk_rounded *x,
                       int c, int n, int M, __m512 *group)
{
    const struct counting how = counting(type);
    for (int b = 0; b < n / 32; b++) {
        __m512i sum[X_BLOCK];
        for (int m = 0; m < M; m++)
            sum[m] = has_minimum(type) ? _mm512_setzero_si512()
                                       : _mm512_slli_epi32(broadcast(&x[m].less32[c / 32 + b]),
                                                           (unsigned)how.log_offset);
        meet_part(32, w->code + 8 * b, x, c + 32 * b, M, sum);
        for (int m = 0; m < M; m++) {
            group[m] = _mm512_fmadd_ps(w->d[b], _mm512_cvtepi32_ps(sum[m]), group[m]);
            if (has_minimum(type)) /* an added one: taken off minus once */
                group[m] = _mm512_fnmadd_ps(
                    w->dmin[b], _mm512_cvtepi32_ps(broadcast(&x[m].less32[c / 32 + b])), group[m]);
        }
    }
}

/* Minus the sums of parts of a row of x from column c on, two in 32 bits. */
INLINE void pair_sums(int part, const struct mk_rounded *x, int c, int32_t ret[8])
{
    const int32_t *less = part == 16 ? x->less16 + c / 16 : x->less32 + c / 32;
    __m256i low = _mm256_loadu_si256((const void *)less), high = low;
    if (part == 16)
        high = _mm256_loadu_si256((const void *)(less + 8));
    _mm256_storeu_si256((void *)ret, _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8));
}

/* A block of 256. */
INLINE void meet_large(enum mk_type type, const struct laid_out *w, const struct mk_rounded *x,
                       int c, int M, __m512 *group)
{
    const struct counting how = counting(type);
    const int parts = MK_DOT_GROUP / how.part;
    __m512i sum[X_BLOCK];
    for (int m = 0; m < M; m++)
        sum[m] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int p = 0; p < parts; p++) {
        __m512i part[X_BLOCK];
        for (int m = 0; m < M; m++)
            part[m] = _mm512_setzero_si512();
        meet_part(how.part, w->code + p * how.part / 4, x, c + p * how.part, M, part);
        for (int m = 0; m < M; m++)
            sum[m] = _mm512_add_epi32(sum[m], _mm512_mullo_epi32(w->scale[p], part[m]));
    }
    for (int m = 0; m < M; m++) {
        int32_t sums[8];
        __m512i less = _mm512_setzero_si512();
        pair_sums(how.part, &x[m], c, sums);
        for (int p = 0; p < parts / 2; p++)
            less = _mm512_add_epi32(less, _mm512_madd_epi16(w->less[p], broadcast(&sums[p])));
        if (!has_minimum(type))
            sum[m] = _mm512_add_epi32(sum[m], _mm512_slli_epi32(less, (unsigned)how.log_offset));
        group[m] = _mm512_fmadd_ps(w->d[0], _mm512_cvtepi32_ps(sum[m]), group[m]);
        if (has_minimum(type))
            group[m] = _mm512_fmadd_ps(w->dmin[0], _mm512_cvtepi32_ps(less), group[m]);
    }
}

/* M rows of x from row i on, times the strip of column j. */
INLINE void meet_rows(const struct mk_mm *mm, enum mk_type type, const struct laid_out *w,
                      const uint8_t *rows, int i, int j, int M)
{
    struct mk_rounded x[X_BLOCK];
    __m512 sum[X_BLOCK];
    const size_t bytes = mk_rounded_bytes(mm->k);
    for (int m = 0; m < M; m++) {
        size_t at = (size_t)(mm->rounded && mm->xrow ? mm->xrow[i + m] : i + m);
        const uint8_t *from = mm->rounded ? mm->rounded : rows;
        x[m] = mk_rounded_row(from + at * bytes, mm->k);
        sum[m] = _mm512_setzero_ps();
    }
    for (int c = 0; c < mm->k; c += MK_DOT_GROUP, w++) {
        int n = mm->k - c < MK_DOT_GROUP ? mm->k - c : MK_DOT_GROUP;
        __m512 group[X_BLOCK];
        for (int m = 0; m < M; m++)
            group[m] = _mm512_setzero_ps();
        if (elements_of(type) == MK_DOT_GROUP)
            meet_large(type, w, x, c, M, group);
        else
            meet_small(type, w, x, c, n, M, group);
        for (int m = 0; m < M; m++)
            sum[m] = _mm512_fmadd_ps(_mm512_set1_ps(x[m].step[c / MK_DOT_GROUP]), group[m], sum[m]);
    }
    for (int m = 0; m < M; m++)
        put(mm, i + m, j, sum[m]);
}

INLINE void multiply(const struct mk_mm *mm, enum mk_type type)
{
    struct laid_out *panel = (void *)mm->tmp;
    uint8_t *rows = (uint8_t *)(panel + (mm->k + MK_DOT_GROUP - 1) / MK_DOT_GROUP);
    for (int i = 0; i < mm->m && !mm->rounded; i++)
        mk_avx512_round(rows + (size_t)i * mk_rounded_bytes(mm->k),
                        mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx, mm->k);
    for (int j = mm->n0 / STRIP_ROWS * STRIP_ROWS; j < mm->n1; j += STRIP_ROWS) {
        const uint8_t *w = (const uint8_t *)mm->w + (size_t)j * mk_row_bytes(type, (size_t)mm->k);
        for (int c = 0; c < mm->k; c += MK_DOT_GROUP) {
            int n = mm->k - c < MK_DOT_GROUP ? mm->k - c : MK_DOT_GROUP;
            lay_out(type, w, n, panel + c / MK_DOT_GROUP);
            w += STRIP_ROWS * mk_row_bytes(type, (size_t)n);
        }
        int i = 0;
        for (; i + X_BLOCK <= mm->m; i += X_BLOCK)
            meet_rows(mm, type, panel, rows, i, j, X_BLOCK);
        for (; i < mm->m; i++)
            meet_rows(mm, type, panel, rows, i, j, 1);
    }
}

/* ------------------------------------------------------------------ the table */

#define FUNCTION(id)                                                                               \
    static void multiply_##id(const struct mk_mm *mm)                                              \
    {                                                                                              \
        multiply(mm, MK_##id);                                                                     \
    }
STRIP_TYPES(FUNCTION)
#undef FUNCTION

#define ROW(id) [MK_##id] = multiply_##id,
void (*const mk_avx512_many[MK_TYPE_COUNT])(const struct mk_mm *mm) = {STRIP_TYPES(ROW)};
#undef ROW
