/* SPDX-License-Identifier: MIT
 *
 * Latent attention against double precision: widths with tails, full and broken pages, one head
 * and many, guarded pages; and a head's bits alone must be its bits in company.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { GUARD_Q, GUARD_OUT, GUARD_TMP, GUARD_LAST, MOST_PAGES = 64 };

struct shape {
    int n_heads, latent, rope, page_tokens, n;
};

/* What is done to numbers before they are multiplied: nothing, or rounding to bf16. */
struct rounding {
    double factor; /* of queries, latents and weights, relative */
    double sum;    /* of a score, relative to the sum of its terms' sizes */
};

/* One query over n tokens in double precision; `slack` is how far float may be off. */
static void exact_head(const struct mk_attend *a, struct rounding rounding, const float *rows,
                       const float *q, double *out, double *slack)
{
    int width = a->latent + a->rope;
    double *score = malloc((size_t)a->n * sizeof(double)), top = -INFINITY, sum = 0, worst = 0;

    for (int t = 0; t < a->n; t++) {
        double size = 0;
        score[t] = 0;
        for (int c = 0; c < width; c++) {
            double term = (double)q[c] * rows[(size_t)t * (size_t)width + (size_t)c];
            score[t] += term;
            size += fabs(term);
        }
        top = fmax(top, score[t]);
        worst = fmax(worst, size);
    }
    for (int t = 0; t < a->n; t++)
        sum += score[t] = exp(score[t] - top);

    /* An error of a score is a relative one of its weight, twice: above and below the line. Then
     * the differences and e^, the sums over the tokens, and three roundings a page. */
    double tolerance = 2 * worst * (rounding.sum + 2 * rounding.factor + 0x1p-23) +
                       2 * rounding.factor +
                       (2.0 * a->n + 8.0 * (a->n / a->page_tokens + 2)) * 0x1p-24;
    for (int c = 0; c < a->latent; c++) {
        double size = 0;
        out[c] = 0;
        for (int t = 0; t < a->n; t++) {
            double term = score[t] / sum * rows[(size_t)t * (size_t)width + (size_t)c];
            out[c] += term;
            size += fabs(term);
        }
        slack[c] = tolerance * size + 1e-37;
    }
    free(score);
}

static void check_heads_alone(struct check *check, const struct mk *mk, struct mk_attend a)
{
    size_t bytes = (size_t)a.latent * sizeof(float);
    float *all = malloc((size_t)a.n_heads * bytes);
    for (int h = 0; h < a.n_heads; h++)
        memcpy(all + (size_t)h * (size_t)a.latent, a.out + (size_t)h * (size_t)a.ldo, bytes);
    struct mk_attend part = a;
    for (int from = 0; from < a.n_heads; from += part.n_heads) {
        part.n_heads = 1 + random_below(check, a.n_heads - from);
        part.q = a.q + (size_t)from * (size_t)a.ldq;
        part.out = a.out + (size_t)from * (size_t)a.ldo;
        mk->attend(&part);
    }
    for (int h = 0; h < a.n_heads; h++)
        if (memcmp(all + (size_t)h * (size_t)a.latent, a.out + (size_t)h * (size_t)a.ldo, bytes))
            check_fail(check, "head %d has other bits with other heads beside it", h);
    free(all);
}

static void check_case(struct check *check, const struct mk *mk, enum mk_type type, struct shape s,
                       float loud)
{
    check_begin(check,
                "%s attend %s: heads %d, %d + %d wide, %d tokens in pages of %d, scores x %g",
                mk->isa, mk_type_info[type].name, s.n_heads, s.latent, s.rope, s.n, s.page_tokens,
                (double)loud);
    int width = s.latent + s.rope, extra = random_below(check, 4);
    size_t row_bytes = mk_row_bytes(type, (size_t)width);
    struct mk_attend a = {.type = type,
                          .n_heads = s.n_heads,
                          .ldq = width + extra,
                          .ldo = s.latent + extra,
                          .latent = s.latent,
                          .rope = s.rope,
                          .page_tokens = s.page_tokens,
                          .n = s.n};
    size_t q_size = (size_t)(s.n_heads - 1) * (size_t)a.ldq + (size_t)width;
    size_t out_size = (size_t)(s.n_heads - 1) * (size_t)a.ldo + (size_t)s.latent;
    float *q = guard(GUARD_Q, q_size * sizeof(float));
    a.out = guard(GUARD_OUT, out_size * sizeof(float));
    size_t scratch =
        (mk_attend_tmp(s.page_tokens, s.latent, s.rope) * sizeof(float) + 63) / 64 * 64;
    a.tmp = guard(GUARD_TMP, scratch);
    memset(a.tmp, 0xff, scratch);
    memset(a.out, 0xff, out_size * sizeof(float)); /* NaN: nothing may count on what out holds */
    for (size_t i = 0; i < q_size; i++)
        q[i] = random_float(check) * loud / sqrtf((float)width);
    a.q = q;

    /* Whole pages lie anywhere; the visible part of the last one ends at an unreadable page. */
    const void *page[MOST_PAGES];
    float *rows = malloc((size_t)s.n * (size_t)width * sizeof(float));
    uint8_t *cache = malloc((size_t)s.n * row_bytes);
    fill_floats(check, PATTERN_RANDOM, rows, (size_t)s.n * (size_t)width);
    mk->store(cache, type, rows, s.n * width);
    mk_ref_unpack(type, cache, rows, (size_t)s.n * (size_t)width);
    int pages = (s.n + s.page_tokens - 1) / s.page_tokens;
    for (int p = 0; p < pages; p++)
        page[p] = cache + (size_t)p * (size_t)s.page_tokens * row_bytes;
    size_t last = (size_t)(s.n - (pages - 1) * s.page_tokens) * row_bytes;
    page[pages - 1] = memcpy(guard(GUARD_LAST, last), page[pages - 1], last);
    a.page = page;

    mk->attend(&a);
    double *expected = malloc((size_t)s.latent * sizeof(double));
    double *slack = malloc((size_t)s.latent * sizeof(double));
    for (int h = 0; h < s.n_heads; h++) {
        exact_head(&a, (struct rounding){.sum = sum_tolerance(mk->isa, width)}, rows,
                   q + (size_t)h * (size_t)a.ldq, expected, slack);
        for (int c = 0; c < s.latent; c++) {
            double is = a.out[(size_t)h * (size_t)a.ldo + (size_t)c];
            if (!(fabs(is - expected[c]) <= slack[c]))
                check_fail(check, "out[%d][%d] is %.9g, expected %.9g ± %.3g", h, c, is,
                           expected[c], slack[c]);
        }
    }
    check_heads_alone(check, mk, a);

    q[random_below(check, width)] = NAN;
    mk->attend(&a);
    for (int c = 0; c < s.latent; c++)
        if (!isnan(a.out[c]))
            check_fail(check, "a NaN in the query got lost: out[0][%d] is %g", c, (double)a.out[c]);
    free(expected);
    free(slack);
    free(rows);
    free(cache);
}

/* ------------------------------------------------------------------ rows of a prompt */

/* Some of the rows give the bits that they gave among all. */
static void check_rows_alone(struct check *check, const struct mk *mk, struct mk_attend_rows a)
{
    size_t bytes = (size_t)a.latent * sizeof(float);
    float *all = malloc((size_t)a.m * bytes);
    for (int i = 0; i < a.m; i++)
        memcpy(all + (size_t)i * (size_t)a.latent, a.out + (size_t)i * (size_t)a.ldo, bytes);
    struct mk_attend_rows part = a;
    for (int from = 0; from < a.m; from += part.m) {
        part.m = 1 + random_below(check, a.m - from);
        part.q = a.q + (size_t)from * (size_t)a.ldq;
        part.n = a.n + from;
        part.out = a.out + (size_t)from * (size_t)a.ldo;
        mk->attend_rows(&part);
    }
    for (int i = 0; i < a.m; i++)
        if (memcmp(all + (size_t)i * (size_t)a.latent, a.out + (size_t)i * (size_t)a.ldo, bytes))
            check_fail(check, "row %d has other bits with other rows beside it", i);
    free(all);
}

/* m rows that see n, n - 1, … or any number of tokens, at least one. */
static void check_rows_case(struct check *check, const struct mk *mk, enum mk_type type, int m,
                            struct shape s, float loud)
{
    check_begin(
        check, "%s attend_rows %s: rows %d, %d + %d wide, %d tokens in pages of %d, scores x %g",
        mk->isa, mk_type_info[type].name, m, s.latent, s.rope, s.n, s.page_tokens, (double)loud);
    int width = s.latent + s.rope, extra = random_below(check, 4);
    struct mk_attend_rows a = {.type = type,
                               .m = m,
                               .ldq = width + extra,
                               .ldo = s.latent + extra,
                               .latent = s.latent,
                               .rope = s.rope,
                               .page_tokens = s.page_tokens};
    int32_t n[MK_ATTEND_ROWS];
    for (int i = 0; i < m; i++)
        n[i] = i == 0 ? s.n : 1 + random_below(check, s.n);
    a.n = n;
    size_t q_size = (size_t)(m - 1) * (size_t)a.ldq + (size_t)width;
    size_t out_size = (size_t)(m - 1) * (size_t)a.ldo + (size_t)s.latent;
    float *q = guard(GUARD_Q, q_size * sizeof(float));
    for (size_t i = 0; i < q_size; i++)
        q[i] = random_float(check) * loud / sqrtf((float)width);
    a.q = q;
    a.out = guard(GUARD_OUT, out_size * sizeof(float));
    size_t scratch = (mk_attend_rows_tmp(s.latent, s.rope) * sizeof(float) + 63) / 64 * 64;
    a.tmp = guard(GUARD_TMP, scratch);
    memset(a.tmp, 0xff, scratch);
    memset(a.out, 0xff, out_size * sizeof(float));

    size_t row_bytes = mk_row_bytes(type, (size_t)width);
    float *rows = malloc((size_t)s.n * (size_t)width * sizeof(float));
    uint8_t *cache = guard(GUARD_LAST, (size_t)s.n * row_bytes);
    fill_floats(check, PATTERN_RANDOM, rows, (size_t)s.n * (size_t)width);
    mk->store(cache, type, rows, s.n * width);
    mk_ref_unpack(type, cache, rows, (size_t)s.n * (size_t)width);
    const void **page = malloc((size_t)s.n * sizeof *page);
    for (int p = 0; p * s.page_tokens < s.n; p++)
        page[p] = cache + (size_t)p * (size_t)s.page_tokens * row_bytes;
    a.page = page;

    mk->attend_rows(&a);
    double *expected = malloc((size_t)s.latent * sizeof(double));
    double *slack = malloc((size_t)s.latent * sizeof(double));
    /* two roundings of a product, pairs added one by one */
    struct rounding rounding = {.factor = 0x1p-8, .sum = (width / 2 + 2) * 0x1p-23};
    for (int i = 0; i < m; i++) {
        struct mk_attend one = {
            .latent = s.latent, .rope = s.rope, .n = n[i], .page_tokens = s.page_tokens};
        exact_head(&one, rounding, rows, q + (size_t)i * (size_t)a.ldq, expected, slack);
        for (int c = 0; c < s.latent; c++) {
            double is = a.out[(size_t)i * (size_t)a.ldo + (size_t)c];
            if (!(fabs(is - expected[c]) <= slack[c]))
                check_fail(check, "out[%d][%d] is %.9g, expected %.9g ± %.3g", i, c, is,
                           expected[c], slack[c]);
        }
    }
    check_rows_alone(check, mk, a);

    int bad = random_below(check, m);
    q[(size_t)bad * (size_t)a.ldq + (size_t)random_below(check, width)] = NAN;
    mk->attend_rows(&a);
    for (int c = 0; c < s.latent; c++)
        for (int i = 0; i < m; i++)
            if (!isnan(a.out[(size_t)i * (size_t)a.ldo + (size_t)c]) != (i != bad))
                check_fail(check, "a NaN in query %d, and out[%d][%d] is %g", bad, i, c,
                           (double)a.out[(size_t)i * (size_t)a.ldo + (size_t)c]);
    free(expected);
    free(slack);
    free(rows);
    free(page);
}

static void check_rows(struct check *check, const struct mk *mk, const int (*widths)[2], int count)
{
    static const int many[] = {1, 2, 15, 16, 17, 31, 33, 48, 63, MK_ATTEND_ROWS};
    static const int page_sizes[] = {1, 7, 16, 32, 128};
    for (int w = 0; w < count; w++)
        for (int type = MK_F32; type <= MK_BF16; type++)
            for (int round = 0; round < 4; round++) {
                struct shape s = {1, widths[w][0], widths[w][1], page_sizes[random_below(check, 5)],
                                  0};
                s.n = round == 0 ? 1 : 1 + random_below(check, 3 * MK_ATTEND_KEYS);
                check_rows_case(check, mk, type, many[random_below(check, 10)], s,
                                round % 2 ? 1 : 30);
            }
}

void check_attend(struct check *check, const struct mk *mk)
{
    static const int widths[][2] = {{1, 0},  {5, 2},   {8, 8},    {16, 2},   {33, 7},
                                    {64, 0}, {64, 16}, {100, 20}, {256, 32}, {512, 64}};
    static const int heads[] = {1, 2, 3, 4, 5, 6, 7, 9, 16};
    static const int page_sizes[] = {1, 7, 16, 32, 128};

    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++)
        for (int type = MK_F32; type <= MK_BF16; type++)
            for (int round = 0; round < 8; round++) {
                struct shape s = {heads[random_below(check, 9)], widths[w][0], widths[w][1],
                                  page_sizes[random_below(check, 5)], 0};
                int most = s.page_tokens * 5 < MOST_PAGES ? s.page_tokens * 5 : MOST_PAGES;
                s.n = round == 0 ? 1 : round == 1 ? s.page_tokens : 1 + random_below(check, most);
                check_case(check, mk, type, s, round % 2 ? 1 : 30);
            }
    if (mk->attend_rows)
        check_rows(check, mk, widths, (int)(sizeof(widths) / sizeof(widths[0])));
}
