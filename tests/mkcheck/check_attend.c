/* SPDX-License-Identifier: MIT
 *
 * Latent attention against double precision: widths with tails, full and broken pages, one part of
 * the cache and many, one head and many, guarded pages; and a head's bits alone must be its bits in
 * company.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { GUARD_Q, GUARD_OUT, GUARD_TMP, GUARD_LAST, GUARD_PART, GUARD_PEAK };

struct shape {
    int n_heads, latent, rope, page_tokens;
    int part; /* tokens of a part, a multiple of page_tokens */
    int from, to;
};

/* What is done to numbers before they are multiplied: nothing, or rounding to bf16. */
struct rounding {
    double factor; /* of queries and weights, relative */
    double sum;    /* of a score, relative to the sum of its terms' sizes */
};

static struct rounding rounding_of(const struct mk *mk, enum mk_type type, int width)
{
    if (type == MK_BF16 && mk->attend_rows) /* pairs added one by one */
        return (struct rounding){.factor = 0x1p-9, .sum = (width / 2 + 2) * 0x1p-23};
    return (struct rounding){.sum = sum_tolerance(mk->isa, width)};
}

/* One query over tokens [from, to) in double precision; `slack` is how far float may be off. */
static void exact_head(const struct shape *s, struct rounding rounding, const float *rows,
                       const float *q, double *out, double *slack)
{
    int width = s->latent + s->rope, n = s->to - s->from;
    int parts = (n + s->part - 1) / s->part;
    double *score = malloc((size_t)n * sizeof(double)), top = -INFINITY, sum = 0, worst = 0;

    rows += (size_t)s->from * (size_t)width;
    for (int t = 0; t < n; t++) {
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
    for (int t = 0; t < n; t++)
        sum += score[t] = exp(score[t] - top);

    /* An error of a score is a relative one of its weight, twice: above and below the line. Then
     * the differences and e^, the sums over the tokens, and three roundings a page and a part. */
    double tolerance = 2 * worst * (rounding.sum + rounding.factor + 0x1p-23) + rounding.factor +
                       (2.0 * n + 8.0 * (n / s->page_tokens + 2 + parts)) * 0x1p-24;
    for (int c = 0; c < s->latent; c++) {
        double size = 0;
        out[c] = 0;
        for (int t = 0; t < n; t++) {
            double term = score[t] / sum * rows[(size_t)t * (size_t)width + (size_t)c];
            out[c] += term;
            size += fabs(term);
        }
        slack[c] = tolerance * size + 1e-37;
    }
    free(score);
}

/* Some of the heads of a part give the bits that they gave among all. */
static void check_heads_alone(struct check *check, const struct mk *mk, struct mk_attend a)
{
    size_t bytes = (size_t)a.latent * sizeof(float);
    float *all = malloc((size_t)a.n_heads * bytes);
    struct mk_peak *peaks = malloc((size_t)a.n_heads * sizeof(*peaks));
    memcpy(peaks, a.peak, (size_t)a.n_heads * sizeof(*peaks));
    for (int h = 0; h < a.n_heads; h++)
        memcpy(all + (size_t)h * (size_t)a.latent, a.out + (size_t)h * (size_t)a.ldo, bytes);
    struct mk_attend some = a;
    for (int from = 0; from < a.n_heads; from += some.n_heads) {
        some.n_heads = 1 + random_below(check, a.n_heads - from);
        some.q = a.q + (size_t)from * (size_t)a.ldq;
        some.out = a.out + (size_t)from * (size_t)a.ldo;
        some.peak = a.peak + from;
        mk->attend(&some);
    }
    for (int h = 0; h < a.n_heads; h++)
        if (memcmp(all + (size_t)h * (size_t)a.latent, a.out + (size_t)h * (size_t)a.ldo, bytes) ||
            memcmp(&peaks[h], &a.peak[h], sizeof(*peaks)))
            check_fail(check, "head %d has other bits with other heads beside it", h);
    free(peaks);
    free(all);
}

/* Every part, last first, then merged into out. `a` is of the whole; parts lie at a.out. */
static void attend_parts(const struct mk *mk, const struct shape *s, struct mk_attend a, float *out,
                         int ldo)
{
    int parts = (s->to - s->from + s->part - 1) / s->part;
    size_t part_size = (size_t)s->n_heads * (size_t)a.ldo;
    for (int p = parts - 1; p >= 0; p--) {
        struct mk_attend part = a;
        part.from = s->from + p * s->part;
        part.to = part.from + s->part < s->to ? part.from + s->part : s->to;
        part.next = s->to;
        part.out = a.out + (size_t)p * part_size;
        part.peak = a.peak + (size_t)p * (size_t)s->n_heads;
        mk->attend(&part);
    }
    for (int h = 0; h < s->n_heads; h++)
        mk->merge(&(struct mk_merge){
            .part = a.out + (size_t)h * (size_t)a.ldo,
            .peak = a.peak + h,
            .out = out + (size_t)h * (size_t)ldo,
            .part_stride = part_size,
            .peak_stride = (size_t)s->n_heads,
            .n = parts,
            .latent = s->latent,
        });
}

static void check_case(struct check *check, const struct mk *mk, enum mk_type type, struct shape s,
                       float loud)
{
    check_begin(check,
                "%s attend %s: heads %d, %d + %d wide, tokens %d to %d in pages of %d and parts of "
                "%d, scores x %g",
                mk->isa, mk_type_info[type].name, s.n_heads, s.latent, s.rope, s.from, s.to,
                s.page_tokens, s.part, (double)loud);
    int width = s.latent + s.rope, extra = random_below(check, 4), ldo = s.latent + extra;
    int parts = (s.to - s.from + s.part - 1) / s.part;
    size_t row_bytes = mk_row_bytes(type, (size_t)width);
    struct mk_attend a = {.type = type,
                          .n_heads = s.n_heads,
                          .ldq = width + extra,
                          .ldo = s.latent + random_below(check, 4),
                          .latent = s.latent,
                          .rope = s.rope,
                          .page_tokens = s.page_tokens,
                          .from = s.from,
                          .to = s.from + s.part < s.to ? s.from + s.part : s.to};
    size_t q_size = (size_t)(s.n_heads - 1) * (size_t)a.ldq + (size_t)width;
    size_t part_size = (size_t)s.n_heads * (size_t)a.ldo;
    size_t sums = (size_t)(parts - 1) * part_size + part_size - (size_t)(a.ldo - s.latent);
    size_t out_size = (size_t)(s.n_heads - 1) * (size_t)ldo + (size_t)s.latent;
    float *q = guard(GUARD_Q, q_size * sizeof(float));
    float *out = guard(GUARD_OUT, out_size * sizeof(float));
    a.out = guard(GUARD_PART, sums * sizeof(float));
    a.peak = guard(GUARD_PEAK, (size_t)(parts * s.n_heads) * sizeof(*a.peak));
    size_t scratch =
        (mk_attend_tmp(s.page_tokens, s.latent, s.rope) * sizeof(float) + 63) / 64 * 64;
    a.tmp = guard(GUARD_TMP, scratch);
    memset(a.tmp, 0xff, scratch);
    memset(a.out, 0xff, sums * sizeof(float)); /* NaN: nothing may count on what out holds */
    memset(out, 0xff, out_size * sizeof(float));
    for (size_t i = 0; i < q_size; i++)
        q[i] = random_float(check) * loud / sqrtf((float)width);
    a.q = q;

    /* Whole pages lie anywhere; the visible part of the last one ends at an unreadable page, and
     * those before `from` are not there. */
    float *rows = malloc((size_t)s.to * (size_t)width * sizeof(float));
    uint8_t *cache = malloc((size_t)s.to * row_bytes);
    fill_floats(check, PATTERN_RANDOM, rows, (size_t)s.to * (size_t)width);
    mk->store(cache, type, rows, s.to * width);
    mk_ref_unpack(type, cache, rows, (size_t)s.to * (size_t)width);
    int pages = (s.to + s.page_tokens - 1) / s.page_tokens;
    const void **page = calloc((size_t)pages, sizeof(*page));
    for (int p = s.from / s.page_tokens; p < pages; p++)
        page[p] = cache + (size_t)p * (size_t)s.page_tokens * row_bytes;
    size_t last = (size_t)(s.to - (pages - 1) * s.page_tokens) * row_bytes;
    page[pages - 1] = memcpy(guard(GUARD_LAST, last), page[pages - 1], last);
    a.page = page;

    attend_parts(mk, &s, a, out, ldo);
    double *expected = malloc((size_t)s.latent * sizeof(double));
    double *slack = malloc((size_t)s.latent * sizeof(double));
    for (int h = 0; h < s.n_heads; h++) {
        exact_head(&s, rounding_of(mk, type, width), rows, q + (size_t)h * (size_t)a.ldq, expected,
                   slack);
        for (int c = 0; c < s.latent; c++) {
            double is = out[(size_t)h * (size_t)ldo + (size_t)c];
            if (!(fabs(is - expected[c]) <= slack[c]))
                check_fail(check, "out[%d][%d] is %.9g, expected %.9g ± %.3g", h, c, is,
                           expected[c], slack[c]);
        }
    }
    check_heads_alone(check, mk, a);

    q[random_below(check, width)] = NAN;
    attend_parts(mk, &s, a, out, ldo);
    for (int c = 0; c < s.latent; c++)
        if (!isnan(out[c]))
            check_fail(check, "a NaN in the query got lost: out[0][%d] is %g", c, (double)out[c]);
    free(expected);
    free(slack);
    free(page);
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
static void check_rows_case(struct check *check, const struct mk *mk, int m, struct shape s,
                            float loud)
{
    check_begin(check,
                "%s attend_rows: rows %d, %d + %d wide, %d tokens in pages of %d, scores x %g",
                mk->isa, m, s.latent, s.rope, s.to, s.page_tokens, (double)loud);
    int width = s.latent + s.rope, extra = random_below(check, 4);
    struct mk_attend_rows a = {.m = m,
                               .ldq = width + extra,
                               .ldo = s.latent + extra,
                               .latent = s.latent,
                               .rope = s.rope,
                               .page_tokens = s.page_tokens};
    int32_t n[MK_ATTEND_ROWS];
    for (int i = 0; i < m; i++)
        n[i] = i == 0 ? s.to : 1 + random_below(check, s.to);
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

    size_t row_bytes = mk_row_bytes(MK_BF16, (size_t)width);
    float *rows = malloc((size_t)s.to * (size_t)width * sizeof(float));
    uint8_t *cache = guard(GUARD_LAST, (size_t)s.to * row_bytes);
    fill_floats(check, PATTERN_RANDOM, rows, (size_t)s.to * (size_t)width);
    mk->store(cache, MK_BF16, rows, s.to * width);
    mk_ref_unpack(MK_BF16, cache, rows, (size_t)s.to * (size_t)width);
    const void **page = malloc((size_t)s.to * sizeof *page);
    for (int p = 0; p * s.page_tokens < s.to; p++)
        page[p] = cache + (size_t)p * (size_t)s.page_tokens * row_bytes;
    a.page = page;

    mk->attend_rows(&a);
    double *expected = malloc((size_t)s.latent * sizeof(double));
    double *slack = malloc((size_t)s.latent * sizeof(double));
    for (int i = 0; i < m; i++) {
        struct shape one = s;
        one.to = n[i];
        exact_head(&one, rounding_of(mk, MK_BF16, width), rows, q + (size_t)i * (size_t)a.ldq,
                   expected, slack);
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
        for (int round = 0; round < 12; round++) {
            struct shape s = {.n_heads = 1,
                              .latent = widths[w][0],
                              .rope = widths[w][1],
                              .page_tokens = page_sizes[random_below(check, 5)],
                              .to = 1};
            s.to += round == 0 ? 0 : random_below(check, 3 * MK_ATTEND_KEYS);
            s.part = s.to;
            check_rows_case(check, mk, many[random_below(check, 10)], s, round % 2 ? 1 : 30);
        }
}

/* Pages, parts and ends, on and off their edges. */
static struct shape some_shape(struct check *check, int round, int latent, int rope)
{
    static const int heads[] = {1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 17, 33, 70};
    static const int page_sizes[] = {1, 7, 16, 32, 128};
    struct shape s = {.n_heads = heads[random_below(check, round % 4 ? 10 : 13)],
                      .latent = latent,
                      .rope = rope,
                      .page_tokens = page_sizes[random_below(check, 5)]};
    s.part = s.page_tokens * (1 + random_below(check, 6));
    int n = round == 0   ? 1
            : round == 1 ? s.page_tokens
            : round == 2 ? s.part
            : round == 3 ? s.part + 1
                         : 1 + random_below(check, 5 * s.page_tokens);
    s.from = round % 2 ? 0 : s.page_tokens * random_below(check, 4);
    s.to = s.from + n;
    return s;
}

void check_attend(struct check *check, const struct mk *mk)
{
    static const int widths[][2] = {{1, 0},  {5, 2},   {8, 8},    {16, 2},   {33, 7},
                                    {64, 0}, {64, 16}, {100, 20}, {256, 32}, {512, 64}};
    static const float loud[] = {1, 30, 1, 3000};
    const int count = (int)(sizeof(widths) / sizeof(widths[0]));

    for (int w = 0; w < count; w++)
        for (int type = MK_F32; type <= MK_BF16; type++)
            for (int round = 0; round < 8; round++)
                check_case(check, mk, type, some_shape(check, round, widths[w][0], widths[w][1]),
                           loud[round % 4]);
    for (int round = 0; round < 3; round++) { /* as the place cuts */
        struct shape s = {16, 512, 64, 32, MK_ATTEND_PART, 0, MK_ATTEND_PART};
        s.to += round < 2 ? round : random_below(check, 3 * MK_ATTEND_PART);
        check_case(check, mk, MK_BF16, s, 30);
        check_case(check, mk, MK_F16, s, 30);
    }
    if (mk->attend_rows)
        check_rows(check, mk, widths, count);
}
