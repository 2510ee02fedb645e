/* SPDX-License-Identifier: MIT
 *
 * Attention of a prompt's rows in float32, with one head's keys and values made from the latents:
 * of a span of tokens once, for all rows of a step that see them. What sets without tiles share.
 *
 * Keys and values, scores and sums are one kind of product: rows of numbers meet a line, two
 * registers wide, at each step of a depth. A line holds elements of keys and values, else queries:
 * these stay lanes until they are done. Every sum is one chain of multiply-adds in the order of its
 * depth, and blocks of KEYS tokens are cut by position, so a query's bits know nothing of what is
 * beside it.
 *
 * What a register is say vec256.h and vec512.h:
 *
 *   vec, LANES                  so many floats; GCC's operators work on them
 *   TALL                        rows that meet a line together: two registers of sums each
 *   vec_all(x)                  x in every lane
 *   vec_load(p), vec_store(p, x)
 *   vec_load_some(p, n), vec_store_some(p, x, n)   the first n lanes, n ≤ 0 and n > LANES as well;
 *                               others are zero, and not touched
 *   vec_fma(a, b, c)            a · b + c
 *   vec_max(a, b)               b where one is NaN
 *   vec_exp(x)
 *   vec_seen(n, t, x, y)        x in lanes where n[lane] > t, else y
 *   vec_transpose(x)            LANES registers, rows for columns
 *   take_latents(dst, type, src, n, padded)   n cached numbers as floats, then zeros
 */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "inline.h"
#include "mk.h"
#ifdef __AVX512F__
#include "vec512.h"
#else
#include "vec256.h"
#endif

enum {
    LINE = 2 * LANES,
    KEYS = MK_ATTEND_KEYS,
    TOKENS = MK_PROMPT_TOKENS,
    DEPTH = 256, /* of latents that meet a panel's lines together, which then stay in L1 */
};

struct area {           /* how tmp is cut */
    float *w;           /* [panels][latent] lines: columns of k_b, then rows of v_b */
    float *k;           /* [MK_PROMPT_SPAN][key]: nope, in lines, then rope */
    float *v;           /* [MK_PROMPT_SPAN][value] */
    float *c;           /* [TOKENS][latent] */
    float *q;           /* [key] lines */
    float *p;           /* [KEYS] lines: scores, then weights */
    float *out;         /* [value] lines */
    float *top;         /* a line, of the running softmax */
    float *sum;         /* likewise */
    int32_t *n;         /* likewise: tokens that a query sees */
    size_t nope, value; /* in whole lines */
    size_t latent, key; /* in whole registers; a key has rope as well */
};

#define PADDED(n, to) (((size_t)(n) + (to)-1) / (to) * (to))

static struct area lay_out(const struct mk_prompt *a)
{
    struct area ret = {
        .w = a->tmp,
        .latent = PADDED(a->latent, LANES),
        .nope = PADDED(a->nope, LINE),
        .value = PADDED(a->value, LINE),
    };
    ret.key = ret.nope + PADDED(a->rope, LANES);
    ret.k = ret.w + ret.latent * (ret.nope + ret.value);
    ret.v = ret.k + MK_PROMPT_SPAN * ret.key;
    ret.q = ret.v + MK_PROMPT_SPAN * ret.value;
    ret.p = ret.q + ret.key * LINE;
    ret.out = ret.p + KEYS * LINE;
    ret.top = ret.out + ret.value * LINE;
    ret.sum = ret.top + LINE;
    ret.n = (int32_t *)(ret.sum + LINE);
    ret.c = (float *)(ret.n + LINE);
    return ret;
}

/* ------------------------------------------------------------------ products */

/* c[r][·] (+)= Σ_d a[r][d] · line[d][·] for some rows: from row to row of a it is `row` floats, and
 * `next` from d to d + 1; rows of c are lines `to` floats apart. */
struct product {
    const float *a, *line;
    float *c;
    size_t row, next, to;
    int rows, depth;
    bool add;
};

/* R rows from row r on. */
INLINE void multiply(const struct product *p, int r, int R)
{
    const float *a = p->a + (size_t)r * p->row, *line = p->line;
    float *c = p->c + (size_t)r * p->to;
    vec sum[TALL][2];
    for (int i = 0; i < R; i++)
        for (int h = 0; h < 2; h++)
            sum[i][h] = p->add ? vec_load(c + (size_t)i * p->to + h * LANES) : vec_all(0);
    for (int d = 0; d < p->depth; d++, a += p->next, line += LINE) {
        vec low = vec_load(line), high = vec_load(line + LANES);
        for (int i = 0; i < R; i++) {
            vec x = vec_all(a[(size_t)i * p->row]);
            sum[i][0] = vec_fma(x, low, sum[i][0]);
            sum[i][1] = vec_fma(x, high, sum[i][1]);
        }
    }
    for (int i = 0; i < R; i++)
        for (int h = 0; h < 2; h++)
            vec_store(c + (size_t)i * p->to + h * LANES, sum[i][h]);
}

INLINE void multiply_all(struct product p)
{
    int r = 0;
    for (; r + TALL <= p.rows; r += TALL)
        multiply(&p, r, TALL);
    for (; r + 2 <= p.rows; r += 2)
        multiply(&p, r, 2);
    if (r < p.rows)
        multiply(&p, r, 1);
}

/* ------------------------------------------------------------------ keys and values */

/* LANES by LANES numbers, rows for columns, to every `to` floats; rows and columns that are not
 * there are zero. */
INLINE void turn(const float *src, size_t from, int rows, int columns, float *dst, size_t to)
{
    vec x[LANES];
    for (int r = 0; r < LANES; r++)
        x[r] = r < rows ? vec_load_some(src + (size_t)r * from, columns) : vec_all(0);
    vec_transpose(x);
    for (int r = 0; r < LANES; r++)
        vec_store(dst + (size_t)r * to, x[r]);
}

static void prompt_head(const struct mk_prompt *a, const float *k_b, const float *v_b)
{
    struct area area = lay_out(a);
    float *w = area.w;
    for (size_t d = 0; d < area.nope; d += LINE)
        for (int l = 0; l < (int)area.latent; l++)
            for (int h = 0; h < LINE; h += LANES, w += LANES) {
                int left = l < a->latent ? a->nope - (int)d - h : 0;
                vec_store(w, vec_load_some(k_b + (size_t)l * (size_t)a->nope + d + h, left));
            }
    for (int e = 0; e < (int)area.value; e += LINE, w += area.latent * LINE)
        for (int h = 0; h < LINE; h += LANES)
            for (int l = 0; l < (int)area.latent; l += LANES)
                turn(v_b + (size_t)(e + h) * (size_t)a->latent + l, (size_t)a->latent,
                     a->value - e - h, a->latent - l, w + (size_t)l * LINE + h, LINE);
}

static const uint16_t *row_at(const struct mk_prompt *a, const struct mk_prompt_span *s, int t)
{
    const uint16_t *page = s->page[t / s->page_tokens];
    return page + (size_t)(t % s->page_tokens) * (size_t)(a->latent + a->rope);
}

/* A panel of w makes elements [at, at + LINE) of keys or values, `to` floats apart. */
static void make(const struct area *area, const float *w, int tokens, float *dst, size_t to)
{
    for (size_t l = 0; l < area->latent; l += DEPTH)
        multiply_all((struct product){
            .a = area->c + l,
            .line = w + l * LINE,
            .c = dst,
            .row = area->latent,
            .next = 1,
            .to = to,
            .rows = tokens,
            .depth = area->latent - l < DEPTH ? (int)(area->latent - l) : DEPTH,
            .add = l > 0,
        });
}

static void prompt_expand(const struct mk_prompt *a, const struct mk_prompt_span *s)
{
    struct area area = lay_out(a);
    float *k = area.k, *v = area.v;
    for (int t = s->from, tokens; t < s->to; t += tokens) {
        tokens = s->to - t < TOKENS ? s->to - t : TOKENS;
        for (int i = 0; i < tokens; i++) {
            const uint16_t *row = row_at(a, s, t + i);
            take_latents(area.c + (size_t)i * area.latent, s->type, row, a->latent,
                         (int)area.latent);
            take_latents(k + (size_t)i * area.key + area.nope, s->type, row + a->latent, a->rope,
                         (int)(area.key - area.nope));
        }
        const float *w = area.w;
        for (size_t d = 0; d < area.nope; d += LINE, w += area.latent * LINE)
            make(&area, w, tokens, k + d, area.key);
        for (size_t e = 0; e < area.value; e += LINE, w += area.latent * LINE)
            make(&area, w, tokens, v + e, area.value);
        k += (size_t)tokens * area.key;
        v += (size_t)tokens * area.value;
    }
}

/* ------------------------------------------------------------------ a line of queries */

/* Queries, and what they know so far; those that are missing see all. */
static void begin(const struct mk_prompt *a, const struct mk_prompt_rows *rows,
                  const struct area *area, int from)
{
    size_t ldq = (size_t)rows->ldq, ldo = (size_t)rows->ldo;
    for (int h = 0; h < LINE; h += LANES) {
        const float *q = rows->q + (size_t)h * ldq, *out = rows->out + (size_t)h * ldo;
        int m = rows->m - h;
        for (int d = 0; d < (int)area->nope; d += LANES)
            turn(q + d, ldq, m, a->nope - d, area->q + (size_t)d * LINE + h, LINE);
        for (int d = 0; d < a->rope; d += LANES)
            turn(q + a->nope + d, ldq, m, a->rope - d,
                 area->q + (area->nope + (size_t)d) * LINE + h, LINE);
        for (int e = 0; e < (int)area->value; e += LANES)
            turn(out + e, ldo, from > 0 ? m : 0, a->value - e, area->out + (size_t)e * LINE + h,
                 LINE);
    }
    for (int i = 0; i < LINE; i++) {
        bool known = i < rows->m && from > 0;
        area->n[i] = i < rows->m ? rows->n[i] : INT32_MAX;
        area->top[i] = known ? rows->peak[i].top : -INFINITY;
        area->sum[i] = known ? rows->peak[i].sum : 0;
    }
}

/* Scores of n tokens from `from` on become weights, and what is known shrinks to their measure.
 * some: not every query sees every token. */
INLINE void weigh(const struct area *area, int h, int from, int n, bool some)
{
    const vec none = vec_all(-INFINITY);
    const int32_t *seen = area->n + h;
    vec before = vec_load(area->top + h), top = before, total = vec_all(0);
    for (int t = 0; t < n; t++) {
        vec score = vec_load(area->p + t * LINE + h);
        top = vec_max(some ? vec_seen(seen, from + t, score, none) : score, top);
    }
    for (int t = 0; t < n; t++) {
        float *p = area->p + t * LINE + h;
        vec weight = vec_exp(vec_load(p) - top);
        if (some)
            weight = vec_seen(seen, from + t, weight, vec_all(0));
        total += weight;
        vec_store(p, weight);
    }
    vec shrink = vec_exp(before - top);
    vec_store(area->sum + h, vec_fma(vec_load(area->sum + h), shrink, total));
    vec_store(area->top + h, top);
    for (size_t e = 0; e < area->value; e++) {
        float *out = area->out + e * LINE + h;
        vec_store(out, vec_load(out) * shrink);
    }
}

/* Tokens [from, from + n), of which those from `span` on lie ready. */
static void block(const struct area *area, int span, int from, int n, bool some)
{
    multiply_all((struct product){
        .a = area->k + (size_t)(from - span) * area->key,
        .line = area->q,
        .c = area->p,
        .row = area->key,
        .next = 1,
        .to = LINE,
        .rows = n,
        .depth = (int)area->key,
    });
    for (int h = 0; h < LINE; h += LANES)
        some ? weigh(area, h, from, n, true) : weigh(area, h, from, n, false);
    multiply_all((struct product){
        .a = area->v + (size_t)(from - span) * area->value,
        .line = area->p,
        .c = area->out,
        .row = 1,
        .next = area->value,
        .to = LINE,
        .rows = (int)area->value,
        .depth = n,
        .add = true,
    });
}

/* Who has seen all is divided by its sum; who had before keeps what it has. */
static void finish(const struct mk_prompt *a, const struct mk_prompt_rows *rows,
                   const struct area *area, const struct mk_prompt_span *s)
{
    for (int h = 0; h < LINE; h += LANES) {
        vec one = vec_all(1), by = vec_seen(area->n + h, s->to, one, vec_load(area->sum + h));
        for (int e = 0; e < a->value; e += LANES) {
            vec x[LANES];
            for (int i = 0; i < LANES; i++)
                x[i] = vec_load(area->out + (size_t)(e + i) * LINE + h) / by;
            vec_transpose(x);
            for (int i = 0; i < LANES && h + i < rows->m; i++)
                if (rows->n[h + i] > s->from)
                    vec_store_some(rows->out + (size_t)(h + i) * (size_t)rows->ldo + e, x[i],
                                   a->value - e);
        }
    }
    for (int i = 0; i < rows->m; i++)
        if (rows->n[i] > s->from)
            rows->peak[i] = (struct mk_peak){area->top[i], area->sum[i]};
}

static void attend_line(const struct mk_prompt *a, const struct mk_prompt_span *s,
                        const struct mk_prompt_rows *rows)
{
    struct area area = lay_out(a);
    int least = rows->n[0], most = rows->n[rows->m - 1];
    most = most < s->to ? most : s->to;
    if (most <= s->from)
        return;
    begin(a, rows, &area, s->from);
    for (int from = s->from, n; from < most; from += n) {
        n = most - from < KEYS ? most - from : KEYS;
        block(&area, s->from, from, n, least < from + n);
    }
    finish(a, rows, &area, s);
}

static void prompt_attend(const struct mk_prompt *a, const struct mk_prompt_span *s,
                          const struct mk_prompt_rows *rows)
{
    for (int i = 0; i < rows->m; i += LINE) {
        struct mk_prompt_rows line = *rows;
        line.q += (size_t)i * (size_t)rows->ldq;
        line.n += i;
        line.out += (size_t)i * (size_t)rows->ldo;
        line.peak += i;
        line.m = rows->m - i < LINE ? rows->m - i : LINE;
        attend_line(a, s, &line);
    }
}
