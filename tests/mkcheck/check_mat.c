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
#include "ref/split.h"

enum { GUARD_X, GUARD_W, GUARD_Y, GUARD_TMP, GUARD_ROW, GUARD_SOURCE, GUARD_ROUNDED };

static const float untouched = -12345.678f; /* what a result holds where nobody may write */

/* The ways to multiply. */
struct way {
    const char *name;
    void (*multiply)(const struct mk_mm *mm);
    enum mk_arithmetic arithmetic;
};

/* One multiplication, all of it, and the memory behind it. */
struct problem {
    const struct mk_mat *mat;
    struct mk_mm mm;
    const void *source; /* the rows of the file */
    int rows;           /* of y */
    float *w;           /* [n][k], as the reference unpacks them; heap */
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

/* How far mk_ref_mul() may round the weights of each group of row j: half a step, and what the
 * scales' own rounding to 256ths of a step adds to codes that are up to 128 from zero. */
static void weight_errors(const struct problem *p, int j, float *ret)
{
    const enum mk_type type = p->mat->type;
    const uint8_t *block =
        (const uint8_t *)p->source + (size_t)j * mk_row_bytes(type, (size_t)p->mm.k);
    for (int c = 0; c < p->mm.k; block += mk_type_info[type].block_bytes) {
        struct split s;
        if (!ref_split(type, block, &s))
            return;
        for (int i = 0; i < s.elements / s.part; i++) {
            float scale = s.d * (float)s.scale[i], minimum = s.dmin * (float)s.minimum[i];
            float low = fabsf(scale * (float)s.lowest - minimum);
            float high = fabsf(scale * (float)s.highest - minimum);
            float far = (float)(s.highest > -s.lowest ? s.highest : -s.lowest);
            float *step = &ret[(c + i * s.part) / MK_DOT_GROUP];
            *step = fmaxf(*step, fmaxf(low, high) / 126 * (0.51f + (far + 1) / 512));
        }
        c += s.elements;
    }
}

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
    float *coarse_w = calloc((size_t)mm->n * (size_t)groups, sizeof *coarse_w);
    for (int j = 0; j < mm->n && tolerance.rounds_w; j++)
        weight_errors(p, j, coarse_w + (size_t)j * (size_t)groups);
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
                double off_x = coarse[i * groups + c / MK_DOT_GROUP];
                double off_w = (double)coarse_w[j * groups + c / MK_DOT_GROUP];
                if (tolerance.rounds_x)
                    rounded += fabs((double)w[c]) * off_x + off_w * (fabs((double)x[c]) + off_x);
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
    free(coarse_w);
    free(before);
    free(sum);
    free(slack);
    free(written);
}

/* What integers give has the bits of the plain function. */
static void compare_bits(struct check *check, const struct problem *p, const struct way *way)
{
    const struct mk_mm *mm = &p->mm;
    size_t row_bytes = mk_row_bytes(p->mat->type, (size_t)mm->k);
    float *expected = malloc(y_size(p) * sizeof(float));
    clear_y(check, p, expected);
    for (int i = 0; i < mm->m; i++)
        for (int j = mm->n0; j < mm->n1; j++) {
            const float *x = mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
            const uint8_t *w = (const uint8_t *)p->source + (size_t)j * row_bytes;
            float *y = expected + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + j, dot;
            (way->arithmetic == MK_BYTES ? mk_ref_mul : mk_ref_dot)(p->mat->type, w, x, mm->k,
                                                                    &dot);
            *y = mm->add ? *y + dot : dot;
        }
    for (size_t at = 0; at < y_size(p); at++)
        if (memcmp(&mm->y[at], &expected[at], sizeof(float)) &&
            !(isnan(mm->y[at]) && isnan(expected[at])))
            check_fail(check, "%s: y[%zu][%zu] is %a, the plain function says %a", way->name,
                       at / (size_t)mm->ldy, at % (size_t)mm->ldy, (double)mm->y[at],
                       (double)expected[at]);
    free(expected);
}

/* ------------------------------------------------------------------ the same bits everywhere */

static void same_bits(struct check *check, const struct problem *p, const float *all,
                      const struct mk_mm *part, const struct way *way)
{
    way->multiply(part);
    for (int i = 0; i < part->m; i++)
        for (int j = part->n0; j < part->n1; j++) {
            size_t at = (size_t)(part->yrow ? part->yrow[i] : i) * (size_t)part->ldy + (size_t)j;
            size_t row = (size_t)(part->yrow - p->mm.yrow) + (size_t)i;
            float whole = all[(size_t)p->mm.yrow[row] * (size_t)p->mm.ldy + (size_t)j];
            if (memcmp(&part->y[at], &whole, sizeof(float)))
                check_fail(
                    check,
                    "%s of rows %zu+%d, columns %d-%d: row %zu column %d has other bits: %a, %a",
                    way->name, row - (size_t)i, part->m, part->n0, part->n1 - 1, row, j,
                    (double)part->y[at], (double)whole);
        }
}

/* Random tiles of the problem in one way, against what that gave for the whole. */
static void check_invariance(struct check *check, struct problem *p, int32_t *yrow, float *y,
                             const struct way *way)
{
    struct mk_mm whole = p->mm;
    for (int i = 0; i < p->mm.m; i++)
        yrow[i] = i; /* every row its own place, so that each can be looked at */
    p->mm.yrow = yrow;
    p->mm.add = false;
    p->mm.n0 = 0;
    p->mm.n1 = p->mm.n;
    way->multiply(&p->mm);
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
        if (part.rounded && !part.xrow)
            part.rounded = (const uint8_t *)part.rounded + (size_t)from * mk_rounded_bytes(part.k);
        clear_y(check, p, y);
        same_bits(check, p, all, &part, way);
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
    struct problem p = {.mat = &mk->mat[type]};
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
    p.source = source;
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

    if (random_below(check, 2)) {
        size_t bytes = mk_rounded_bytes(shape.k);
        uint8_t *rounded = guard(GUARD_ROUNDED, (size_t)sources * bytes);
        for (int i = 0; i < sources; i++)
            mk->round(rounded + (size_t)i * bytes, x + (size_t)i * (size_t)ldx, shape.k);
        p.mm.rounded = rounded;
    }
    check_rows(check, &p);
    const struct way ways[] = {
        {"gemv", p.mat->gemv, p.mat->few},
        {"gemm", p.mat->gemm, p.mat->many},
        {"coarse gemm", p.mat->gemm_coarse, p.mat->coarse},
    };
    for (const struct way *way = ways; way < ways + 3; way++) {
        if (way == &ways[2] && way->multiply == ways[1].multiply)
            continue;
        clear_y(check, &p, p.mm.y);
        way->multiply(&p.mm);
        compare(check, &p, p.mm.y, way->name, tolerance_of(p.mat, way->arithmetic, shape.k));
        bool exact = way->arithmetic == MK_CODES || way->arithmetic == MK_BYTES;
        if (exact && shape.m <= 4) /* more rows have the same bits, as seen below */
            compare_bits(check, &p, way);
        check_invariance(check, &p, yrow, p.mm.y, way);
    }

    free(p.w);
    free(xrow);
    free(yrow);
}

/* The integers of a block make the weights that the formats' own functions make. */
static void check_split(struct check *check, enum mk_type type)
{
    uint8_t block[256];
    float weight[256];
    struct split s;
    memset(block, 0, sizeof block);
    if (!ref_split(type, block, &s))
        return;
    for (int pattern = 0; pattern < PATTERN_COUNT; pattern++)
        for (int round = 0; round < 20; round++) {
            check_begin(check, "split %s", mk_type_info[type].name);
            fill_weights(check, type, (enum pattern)pattern, block, (size_t)s.elements);
            mk_ref_unpack(type, block, weight, (size_t)s.elements);
            ref_split(type, block, &s);
            for (int c = 0; c < s.elements; c++) {
                int p = c / s.part, value = s.code[c] - s.offset;
                float scaled = s.d * (float)s.scale[p] * (float)value;
                float is = scaled - s.dmin * (float)s.minimum[p];
                if (is != weight[c])
                    check_fail(check, "weight %d is %a, not %a", c, (double)is, (double)weight[c]);
                if (value < s.lowest || value > s.highest)
                    check_fail(check, "code %d counts %d, outside %d … %d", c, value, s.lowest,
                               s.highest);
            }
        }
}

static void check_round(struct check *check, const struct mk *mk, int k, enum pattern pattern)
{
    check_begin(check, "%s round k %d", mk->isa, k);
    size_t bytes = mk_rounded_bytes(k);
    float *x = guard(GUARD_X, (size_t)k * sizeof *x);
    fill_floats(check, pattern, x, (size_t)k);
    if (random_below(check, 4) == 0)
        x[random_below(check, k)] = random_below(check, 2) ? INFINITY : NAN;
    void *is = guard(GUARD_ROUNDED, bytes), *expected = malloc(bytes);
    memset(is, 0x55, bytes);
    memset(expected, 0x55, bytes);
    mk->round(is, x, k);
    mk_ref_round(expected, x, k);
    if (memcmp(is, expected, bytes))
        check_fail(check, "other bytes than the plain function's");
    free(expected);
}

void check_mat(struct check *check, const struct mk *mk)
{
    static const int lengths[] = {1,  2,  5,  7,  8,  9,  15, 16,  17,  24,  31,  32,
                                  33, 47, 48, 49, 63, 64, 65, 100, 127, 129, 256, 1000};
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 28};
    static const int many[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17};

    for (int k = 1; k < 800; k += 1 + random_below(check, 40))
        for (int pattern = 0; pattern < PATTERN_COUNT; pattern++)
            check_round(check, mk, k, (enum pattern)pattern);
    for (int type = 0; type < MK_TYPE_COUNT; type++) {
        check_split(check, (enum mk_type)type);
        int block = (int)mk_type_info[type].block_elements;
        const int *length = block == 1 ? lengths : blocks;
        int count = (int)(block == 1 ? sizeof(lengths) : sizeof(blocks)) / (int)sizeof(int);
        bool left_to_another = type == MK_F32 && !strcmp(mk->isa, "amx");
        if (!left_to_another && strcmp(mk->mat[type].isa, mk->isa)) {
            check_begin(check, "%s mat %s", mk->isa, mk_type_info[type].name);
            check_fail(check, "the kernel of another set, %s, is in this table", mk->mat[type].isa);
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
        check_case(check, mk, type, (struct shape){131, 20, 256}, PATTERN_RANDOM);
        check_case(check, mk, type, (struct shape){1, 70, 7168}, PATTERN_RANDOM);
        check_case(check, mk, type, (struct shape){14, 9, 7168}, PATTERN_RANDOM);
    }
}
