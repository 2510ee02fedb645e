/* SPDX-License-Identifier: MIT
 *
 * Latent attention against double precision: widths with tails, full and broken pages, one part of
 * the cache and many, one head and many, guarded pages; and a head's bits alone must be its bits in
 * company. Rows of prompts likewise, where a set makes keys and values for them.
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
    if (type == MK_BF16 && mk->latents == MK_BF16) /* pairs added one by one */
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

struct prompt_shape {
    int latent, nope, rope, value, page_tokens;
    int m, n; /* rows, and what the last one sees; they follow each other */
};

/* All that a call of the three kernels reads and writes. */
struct prompt {
    struct prompt_shape shape;
    enum mk_type type; /* of the cache */
    bool rounds;       /* what is multiplied, to bf16 */
    struct mk_prompt head;
    struct mk_prompt_rows rows;
    float *q, *k_b, *v_b;
    int32_t *n;
    const void **page;
    float *latents; /* [n][latent + rope] as cached */
};

/* The rows from `first` on, m of them, as if they were all. */
static void attend_prompt(const struct mk *mk, const struct prompt *p, int first, int m)
{
    struct mk_prompt_rows rows = p->rows;
    int most = p->n[first + m - 1];
    mk->prompt_head(&p->head, p->k_b, p->v_b);
    for (int from = 0; from < most; from += MK_PROMPT_SPAN) {
        struct mk_prompt_span span = {p->page, p->type, p->shape.page_tokens, from,
                                      from + MK_PROMPT_SPAN};
        span.to = span.to < most ? span.to : most;
        mk->prompt_expand(&p->head, &span);
        for (int i = first, some; i < first + m; i += some) {
            some = first + m - i < MK_PROMPT_ROWS ? first + m - i : MK_PROMPT_ROWS;
            rows.q = p->rows.q + (size_t)i * (size_t)rows.ldq;
            rows.n = p->n + i;
            rows.out = p->rows.out + (size_t)i * (size_t)rows.ldo;
            rows.peak = p->rows.peak + i;
            rows.m = some;
            mk->prompt_attend(&p->head, &span, &rows);
        }
    }
}

/* One row in double precision; `slack` is how far roundings may take it. */
static void exact_prompt(const struct prompt *p, const double *key, const double *key_size,
                         const double *value, const double *value_size, int row, double *out,
                         double *slack)
{
    const struct prompt_shape *s = &p->shape;
    int width = s->nope + s->rope, n = p->n[row];
    const float *q = p->q + (size_t)row * (size_t)p->rows.ldq;
    double *score = malloc((size_t)n * sizeof(double)), top = -INFINITY, sum = 0, off = 0;
    for (int t = 0; t < n; t++) {
        double size = 0;
        score[t] = 0;
        for (int c = 0; c < width; c++) {
            size_t at = (size_t)t * (size_t)width + (size_t)c;
            score[t] += (double)q[c] * key[at];
            size += fabs((double)q[c]) * key_size[at];
        }
        top = fmax(top, score[t]);
        off = fmax(off, size);
    }
    for (int t = 0; t < n; t++)
        sum += score[t] = exp(score[t] - top);
    /* With tiles, three roundings to bf16 on a score's way (k_b, the key, the query), each half a
     * unit of 2^-8; of a value's two, and one of its weight; e^ within 2^-14. Sums are long but
     * exact to 2^-23, and so is e^ without tiles. */
    double long_sum = (s->latent + width + n) * 0x1p-23;
    double rounding = p->rounds ? 3 * 0x1p-9 : 0, of_exp = p->rounds ? 0x1p-13 : 0x1p-22;
    double of_score = 2 * off * (rounding + long_sum) * 1.01;
    double of_weight = of_score > 1 ? INFINITY : exp(of_score) - 1;
    for (int c = 0; c < s->value; c++) {
        double size = 0;
        out[c] = 0;
        for (int t = 0; t < n; t++) {
            size_t at = (size_t)t * (size_t)s->value + (size_t)c;
            out[c] += score[t] / sum * value[at];
            size += score[t] / sum * value_size[at];
        }
        slack[c] = (of_weight + (1 + of_weight) * (rounding + of_exp + long_sum)) * size + 1e-37;
    }
    free(score);
}

static void check_prompt_rows(struct check *check, const struct prompt *p)
{
    const struct prompt_shape *s = &p->shape;
    int width = s->nope + s->rope, row = s->latent + s->rope;
    size_t keys = (size_t)s->n * (size_t)width, values = (size_t)s->n * (size_t)s->value;
    double *key = calloc(2 * (keys + values + (size_t)s->value), sizeof(double));
    double *key_size = key + keys, *value = key_size + keys, *value_size = value + values;
    double *out = value_size + values, *slack = out + s->value;
    for (int t = 0; t < s->n; t++) {
        const float *c = p->latents + (size_t)t * (size_t)row;
        for (int d = 0; d < width; d++) {
            size_t at = (size_t)t * (size_t)width + (size_t)d;
            for (int l = 0; d < s->nope && l < s->latent; l++) {
                double term = (double)c[l] * p->k_b[l * s->nope + d];
                key[at] += term;
                key_size[at] += fabs(term);
            }
            if (d >= s->nope)
                key_size[at] = fabs(key[at] = c[s->latent + d - s->nope]);
        }
        for (int e = 0; e < s->value; e++)
            for (int l = 0; l < s->latent; l++) {
                double term = (double)c[l] * p->v_b[e * s->latent + l];
                value[(size_t)t * (size_t)s->value + (size_t)e] += term;
                value_size[(size_t)t * (size_t)s->value + (size_t)e] += fabs(term);
            }
    }
    for (int i = 0; i < s->m; i += i % 3 ? 5 : 1) {
        exact_prompt(p, key, key_size, value, value_size, i, out, slack);
        for (int c = 0; c < s->value; c++) {
            double is = p->rows.out[(size_t)i * (size_t)p->rows.ldo + (size_t)c];
            if (!(fabs(is - out[c]) <= slack[c]))
                check_fail(check, "out[%d][%d] is %.9g, expected %.9g ± %.3g", i, c, is, out[c],
                           slack[c]);
        }
    }
    free(key);
}

/* Rows in pieces give the bits that they gave together. */
static void check_pieces(struct check *check, const struct mk *mk, const struct prompt *p)
{
    size_t bytes = (size_t)p->shape.value * sizeof(float);
    float *all = malloc((size_t)p->shape.m * bytes);
    for (int i = 0; i < p->shape.m; i++)
        memcpy(all + (size_t)i * (size_t)p->shape.value,
               p->rows.out + (size_t)i * (size_t)p->rows.ldo, bytes);
    for (int first = 0, m; first < p->shape.m; first += m) {
        m = 1 + random_below(check, p->shape.m - first);
        attend_prompt(mk, p, first, m);
    }
    for (int i = 0; i < p->shape.m; i++)
        if (memcmp(all + (size_t)i * (size_t)p->shape.value,
                   p->rows.out + (size_t)i * (size_t)p->rows.ldo, bytes))
            check_fail(check, "row %d has other bits with other rows beside it", i);
    free(all);
}

static void check_prompt(struct check *check, const struct mk *mk, struct prompt_shape s,
                         float loud)
{
    check_begin(
        check,
        "%s prompt: %d rows, %d + %d to %d, latent %d, %d tokens in pages of %d, scores x %g",
        mk->isa, s.m, s.nope, s.rope, s.value, s.latent, s.n, s.page_tokens, (double)loud);
    int width = s.nope + s.rope, row = s.latent + s.rope;
    struct prompt p = {.shape = s,
                       .rounds = mk->latents == MK_BF16,
                       .head = {s.latent, s.nope, s.rope, s.value, NULL}};
    p.type = p.rounds || random_below(check, 2) ? MK_BF16 : MK_F16;
    size_t scratch = mk_prompt_tmp(s.latent, s.nope, s.rope, s.value) * sizeof(float);
    p.head.tmp = guard(GUARD_TMP, scratch);
    memset(p.head.tmp, 0xff, scratch);
    p.rows.ldq = width + random_below(check, 4);
    p.rows.ldo = s.value + random_below(check, 4);
    size_t q_size = (size_t)(s.m - 1) * (size_t)p.rows.ldq + (size_t)width;
    size_t out_size = (size_t)(s.m - 1) * (size_t)p.rows.ldo + (size_t)s.value;
    p.rows.q = p.q = guard(GUARD_Q, q_size * sizeof(float));
    p.rows.out = guard(GUARD_OUT, out_size * sizeof(float));
    memset(p.rows.out, 0xff, out_size * sizeof(float));
    p.rows.peak = guard(GUARD_PEAK, (size_t)s.m * sizeof(*p.rows.peak));
    size_t matrices = (size_t)s.latent * (size_t)(s.nope + s.value);
    p.k_b = guard(GUARD_PART, matrices * sizeof(float));
    p.v_b = p.k_b + s.latent * s.nope;
    for (size_t i = 0; i < q_size; i++)
        p.q[i] = random_float(check) * loud / sqrtf((float)width);
    for (size_t i = 0; i < matrices; i++)
        p.k_b[i] = random_float(check) / sqrtf((float)s.latent);
    p.n = malloc((size_t)s.m * sizeof(*p.n));
    for (int i = 0; i < s.m; i++)
        p.n[i] = s.n - s.m + 1 + i;

    size_t row_bytes = mk_row_bytes(p.type, (size_t)row);
    uint8_t *cache = guard(GUARD_LAST, (size_t)s.n * row_bytes);
    p.latents = malloc((size_t)s.n * (size_t)row * sizeof(float));
    fill_floats(check, PATTERN_RANDOM, p.latents, (size_t)s.n * (size_t)row);
    mk->store(cache, p.type, p.latents, s.n * row);
    mk_ref_unpack(p.type, cache, p.latents, (size_t)s.n * (size_t)row);
    p.page = malloc((size_t)s.n * sizeof(*p.page));
    for (int i = 0; i * s.page_tokens < s.n; i++)
        p.page[i] = cache + (size_t)i * (size_t)s.page_tokens * row_bytes;

    attend_prompt(mk, &p, 0, s.m);
    check_prompt_rows(check, &p);
    check_pieces(check, mk, &p);
    int bad = random_below(check, s.m);
    p.q[(size_t)bad * (size_t)p.rows.ldq + (size_t)random_below(check, width)] = NAN;
    attend_prompt(mk, &p, 0, s.m);
    for (int i = 0; i < s.m; i++)
        for (int c = 0; c < s.value; c++)
            if (!isnan(p.rows.out[(size_t)i * (size_t)p.rows.ldo + (size_t)c]) != (i != bad))
                check_fail(check, "a NaN in query %d, and out[%d][%d] is %g", bad, i, c,
                           (double)p.rows.out[(size_t)i * (size_t)p.rows.ldo + (size_t)c]);
    free(p.page);
    free(p.latents);
    free(p.n);
}

static void check_prompts(struct check *check, const struct mk *mk)
{
    static const int widths[][4] = {{1, 1, 0, 1},      {5, 3, 2, 4},     {8, 8, 8, 16},
                                    {33, 20, 7, 33},   {64, 32, 16, 32}, {32, 64, 64, 64},
                                    {100, 40, 20, 50}, {160, 96, 32, 80}};
    static const int page_sizes[] = {1, 7, 16, 32, 128}, many[] = {1, 2, 16, 17, 33, 64, 65, 130};
    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++)
        for (int round = 0; round < 8; round++) {
            struct prompt_shape s = {widths[w][0], widths[w][1], widths[w][2], widths[w][3],
                                     page_sizes[random_below(check, 5)]};
            s.m = many[round];
            s.n = s.m + (round % 3 ? random_below(check, 3 * MK_ATTEND_KEYS) : 0);
            check_prompt(check, mk, s, round % 4 ? 1 : 30);
        }
    struct prompt_shape real = {512, 128, 64, 128, 32, 33, 200}; /* V2 and V3 */
    check_prompt(check, mk, real, 1);
    for (int past = -1; past <= 1; past++) { /* spans */
        struct prompt_shape s = {32, 16, 16, 32, 32, 70, 2 * MK_PROMPT_SPAN + past};
        check_prompt(check, mk, s, 1);
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
    if (mk->prompt_attend)
        check_prompts(check, mk);
}
