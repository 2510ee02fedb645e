/* SPDX-License-Identifier: MIT
 *
 * Multiplication against exact sums: shapes with odd tails, rows picked by index, adding, worst
 * values, guarded edges, and the promise that a row's bits don't depend on anything beside it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { GUARD_X, GUARD_W, GUARD_Y, GUARD_TMP, GUARD_ROW, GUARD_SOURCE };

static const float untouched = -12345.678f; /* what a result holds where nobody may write */

/* One multiplication, all of it, and the memory behind it. */
struct problem {
    const struct mk_mat *mat;
    struct mk_mm mm;
    int rows; /* of y */
    float *w; /* [n][k], as the reference unpacks them; heap */
};

static size_t y_size(const struct problem *p)
{
    return (size_t)(p->rows - 1) * (size_t)p->mm.ldy + (size_t)p->mm.n;
}

static void clear_y(struct check *check, const struct problem *p, float *y)
{
    size_t n = y_size(p);
    for (size_t i = 0; i < n; i++)
        y[i] = p->mm.add ? (float)(i % 7) : untouched;
    (void)check;
}

/* ------------------------------------------------------------------ against the exact sum */

static void compare(struct check *check, const struct problem *p, const float *y, const char *what,
                    struct tolerance tolerance)
{
    const struct mk_mm *mm = &p->mm;
    float *before = malloc(y_size(p) * sizeof(float));
    double *sum = calloc(y_size(p), sizeof(double)), *slack = calloc(y_size(p), sizeof(double));
    bool *written = calloc(y_size(p), sizeof(bool));
    clear_y(check, p, before);
    int groups = (mm->k + MK_DOT_GROUP - 1) / MK_DOT_GROUP;
    double *coarse = calloc((size_t)mm->m * (size_t)groups, sizeof *coarse);
    for (int i = 0; i < mm->m; i++)
        for (int c = 0; c < mm->k; c++) { /* half a step of the group's largest, and a bit */
            const float *x = mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
            double *largest = &coarse[i * groups + c / MK_DOT_GROUP];
            *largest = fmax(*largest, fabs((double)x[c]) / 253.9);
        }
    for (int i = 0; i < mm->m; i++)
        for (int j = mm->n0; j < mm->n1; j++) {
            const float *x = mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
            const float *w = p->w + (size_t)j * (size_t)mm->k;
            size_t at = (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + (size_t)j;
            double exact = 0, size = 0, flushed = 0, rounded = 0;
            for (int c = 0; c < mm->k; c++) {
                exact += (double)w[c] * x[c];
                size += fabs((double)w[c] * x[c]);
                flushed += fabsf(w[c]) + fabsf(x[c]) + 1;
                if (tolerance.rounds_x)
                    rounded += fabs((double)w[c]) * coarse[i * groups + c / MK_DOT_GROUP];
            }
            written[at] = true;
            sum[at] += exact;
            /* the products' own rounding ends at the subnormals; adding rounds once more */
            slack[at] += tolerance.relative * (size + rounded) + rounded +
                         tolerance.flushed * flushed + mm->k * 0x1p-149;
            if (mm->add)
                slack[at] += 0x1p-23 * (fabs(sum[at]) + slack[at] + fabs(before[at]));
        }
    for (size_t at = 0; at < y_size(p); at++) {
        double expected = written[at] ? sum[at] + (mm->add ? before[at] : 0) : before[at];
        double off = fabs(y[at] - expected);
        if (!(written[at] ? off <= slack[at] : y[at] == before[at]))
            check_fail(check, "%s: y[%zu][%zu] is %.9g, expected %.9g ± %.3g%s", what,
                       at / (size_t)mm->ldy, at % (size_t)mm->ldy, y[at], expected, slack[at],
                       written[at] ? "" : " (outside the tile)");
    }
    free(coarse);
    free(before);
    free(sum);
    free(slack);
    free(written);
}

/* gemv of a type whose x is rounded to int8 has the bits of the plain function. */
static void compare_bits(struct check *check, const struct problem *p, const float *before)
{
    const struct mk_mm *mm = &p->mm;
    size_t row_bytes = mk_row_bytes(p->mat->type, (size_t)mm->k);
    float *expected = malloc(y_size(p) * sizeof(float));
    memcpy(expected, before, y_size(p) * sizeof(float));
    for (int i = 0; i < mm->m; i++)
        for (int j = mm->n0; j < mm->n1; j++) {
            const float *x = mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
            float *y = expected + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + j, dot;
            mk_ref_dot(p->mat->type, (const uint8_t *)mm->w + (size_t)j * row_bytes, x, mm->k,
                       &dot);
            *y = mm->add ? *y + dot : dot;
        }
    for (size_t at = 0; at < y_size(p); at++)
        if (memcmp(&mm->y[at], &expected[at], sizeof(float)) &&
            !(isnan(mm->y[at]) && isnan(expected[at])))
            check_fail(check, "gemv: y[%zu][%zu] is %a, the plain function says %a",
                       at / (size_t)mm->ldy, at % (size_t)mm->ldy, (double)mm->y[at],
                       (double)expected[at]);
    free(expected);
}

/* ------------------------------------------------------------------ the same bits everywhere */

static void same_bits(struct check *check, const struct problem *p, const float *all,
                      const struct mk_mm *part, bool by_gemm)
{
    (by_gemm ? p->mat->gemm : p->mat->gemv)(part);
    for (int i = 0; i < part->m; i++)
        for (int j = part->n0; j < part->n1; j++) {
            size_t at = (size_t)(part->yrow ? part->yrow[i] : i) * (size_t)part->ldy + (size_t)j;
            size_t row = (size_t)(part->yrow - p->mm.yrow) + (size_t)i;
            float whole = all[(size_t)p->mm.yrow[row] * (size_t)p->mm.ldy + (size_t)j];
            if (memcmp(&part->y[at], &whole, sizeof(float)))
                check_fail(
                    check,
                    "%s of rows %zu+%d, columns %d-%d: row %zu column %d has other bits: %a, %a",
                    by_gemm ? "gemm" : "gemv", row - (size_t)i, part->m, part->n0, part->n1 - 1,
                    row, j, (double)part->y[at], (double)whole);
        }
}

/* Random tiles of the problem by gemv or gemm, against what that gave for the whole. */
static void check_invariance(struct check *check, struct problem *p, int32_t *yrow, float *y,
                             bool by_gemm)
{
    struct mk_mm whole = p->mm;
    for (int i = 0; i < p->mm.m; i++)
        yrow[i] = i; /* every row its own place, so that each can be looked at */
    p->mm.yrow = yrow;
    p->mm.add = false;
    p->mm.n0 = 0;
    p->mm.n1 = p->mm.n;
    (by_gemm ? p->mat->gemm : p->mat->gemv)(&p->mm);
    float *all = malloc(y_size(p) * sizeof(float));
    memcpy(all, y, y_size(p) * sizeof(float));

    for (int round = 0; round < 6; round++) {
        struct mk_mm part = p->mm;
        int from = random_below(check, p->mm.m);
        part.m = 1 + random_below(check, round < 2 ? 1 : p->mm.m - from);
        part.n0 = random_below(check, p->mm.n + 1);
        part.n1 = part.n0 + random_below(check, p->mm.n - part.n0 + 1);
        part.yrow = yrow + from;
        if (part.xrow)
            part.xrow += from;
        else
            part.x += (size_t)from * (size_t)part.ldx;
        clear_y(check, p, y);
        same_bits(check, p, all, &part, by_gemm);
    }
    free(all);
    p->mm = whole;
}

/* ------------------------------------------------------------------ one case */

struct shape {
    int m, n, k;
};

static void check_rows(struct check *check, const struct problem *p)
{
    size_t bytes = (size_t)p->mm.k * sizeof(float);
    float *row = guard(GUARD_ROW, bytes);
    for (int j = 0; j < p->mm.n; j++) {
        p->mat->row(row, p->mm.w, p->mm.n, p->mm.k, j);
        if (memcmp(row, p->w + (size_t)j * (size_t)p->mm.k, bytes))
            check_fail(check, "row %d unpacks to other bits than the reference's", j);
    }
}

static void check_case(struct check *check, const struct mk *mk, enum mk_type type,
                       struct shape shape, enum pattern pattern)
{
    struct problem p = {.mat = mk->mat[type]};
    size_t row_bytes = mk_row_bytes(type, (size_t)shape.k);
    bool picked = random_below(check, 2), add = random_below(check, 2);
    int extra = random_below(check, 2) * (1 + random_below(check, 9));
    int sources = picked ? 1 + random_below(check, shape.m + 2) : shape.m;

    check_begin(check, "%s mat %s %s: m %d n %d k %d%s%s%s", p.mat->isa, mk_type_info[type].name,
                ((const char *[]){"random", "large", "tiny", "zero"})[pattern], shape.m, shape.n,
                shape.k, picked ? " picked rows" : "", add ? " adding" : "",
                extra ? " strides" : "");

    void *source = guard(GUARD_SOURCE, row_bytes * (size_t)shape.n);
    fill_weights(check, type, pattern, source, (size_t)shape.n * (size_t)shape.k);
    void *w = guard(GUARD_W, p.mat->pack_size(shape.n, shape.k));
    p.mat->pack(w, source, shape.n, shape.k);
    p.w = malloc((size_t)shape.n * (size_t)shape.k * sizeof(float));
    mk_ref_unpack(type, source, p.w, (size_t)shape.n * (size_t)shape.k);

    int ldx = shape.k + extra;
    size_t x_size = (size_t)(sources - 1) * (size_t)ldx + (size_t)shape.k;
    float *x = guard(GUARD_X, x_size * sizeof(float));
    bool alike = pattern == PATTERN_LARGE || random_below(check, 2); /* tiny · tiny is nothing */
    fill_floats(check, alike && pattern != PATTERN_ZERO ? pattern : PATTERN_RANDOM, x, x_size);

    int32_t *xrow = malloc((size_t)shape.m * sizeof(*xrow));
    int32_t *yrow = malloc((size_t)shape.m * sizeof(*yrow));
    for (int i = 0; i < shape.m; i++) {
        xrow[i] = random_below(check, sources);
        /* a row named twice only where it is added to */
        yrow[i] = add ? random_below(check, shape.m) : shape.m - 1 - i;
    }
    p.rows = shape.m;
    p.mm = (struct mk_mm){.x = x,
                          .w = w,
                          .m = shape.m,
                          .n = shape.n,
                          .k = shape.k,
                          .ldx = ldx,
                          .ldy = shape.n + extra,
                          .add = add,
                          .xrow = picked ? xrow : NULL,
                          .yrow = picked ? yrow : NULL};
    p.mm.n0 = random_below(check, 3) ? 0 : random_below(check, shape.n);
    p.mm.n1 =
        random_below(check, 3) ? shape.n : p.mm.n0 + random_below(check, shape.n - p.mm.n0 + 1);
    p.mm.y = guard(GUARD_Y, y_size(&p) * sizeof(float));
    size_t scratch = (mk_mm_tmp(shape.k, shape.m) * sizeof(float) + 63) / 64 * 64;
    p.mm.tmp = guard(GUARD_TMP, scratch);
    memset(p.mm.tmp, 0xff, scratch); /* NaNs: nothing may count on what scratch holds */

    check_rows(check, &p);
    clear_y(check, &p, p.mm.y);
    p.mat->gemv(&p.mm);
    compare(check, &p, p.mm.y, "gemv", gemv_tolerance(p.mat, shape.k));
    if (gemv_rounds(p.mat) && shape.m <= 4) { /* more rows have the same bits, as seen below */
        float *before = malloc(y_size(&p) * sizeof(float));
        clear_y(check, &p, before);
        compare_bits(check, &p, before);
        free(before);
    }
    clear_y(check, &p, p.mm.y);
    p.mat->gemm(&p.mm);
    compare(check, &p, p.mm.y, "gemm", gemm_tolerance(p.mat, shape.k));
    check_invariance(check, &p, yrow, p.mm.y, false);
    check_invariance(check, &p, yrow, p.mm.y, true);

    free(p.w);
    free(xrow);
    free(yrow);
}

void check_mat(struct check *check, const struct mk *mk)
{
    static const int lengths[] = {1,  2,  5,  7,  8,  9,  15, 16,  17,  24,  31,  32,
                                  33, 47, 48, 49, 63, 64, 65, 100, 127, 129, 256, 1000};
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 28};
    static const int many[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17};

    for (int type = 0; type < MK_TYPE_COUNT; type++) {
        int block = (int)mk_type_info[type].block_elements;
        const int *length = block == 1 ? lengths : blocks;
        int count = (int)(block == 1 ? sizeof(lengths) : sizeof(blocks)) / (int)sizeof(int);
        bool left_to_another = type == MK_F32 && !strcmp(mk->isa, "amx");
        if (!left_to_another && strcmp(mk->mat[type]->isa, mk->isa)) {
            check_begin(check, "%s mat %s", mk->isa, mk_type_info[type].name);
            check_fail(check, "the kernel of another set, %s, is in this table",
                       mk->mat[type]->isa);
            continue;
        }
        for (int l = 0; l < count; l++)
            for (int pattern = 0; pattern < PATTERN_COUNT; pattern++)
                for (int round = 0; round < 3; round++) {
                    struct shape shape = {.k = length[l] * block};
                    shape.m = many[random_below(check, 13)];
                    shape.n = many[random_below(check, 13)];
                    check_case(check, mk, type, shape, pattern);
                }
        check_case(check, mk, type, (struct shape){67, 70, 256}, PATTERN_RANDOM);
        check_case(check, mk, type, (struct shape){1, 70, 7168}, PATTERN_RANDOM);
        check_case(check, mk, type, (struct shape){14, 9, 7168}, PATTERN_RANDOM);
    }
}
