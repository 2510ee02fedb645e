/* SPDX-License-Identifier: MIT
 *
 * Attention of a prompt's rows on AMX, with one head's keys and values made from the latents: of
 * a span of tokens once, for all rows of a step that see them.
 *
 * Keys are rows, the left factor of the scores; values are pairs of tokens, the right factor of the
 * sums. A query is a lane while scores become weights. Spans and, in them, blocks of KEYS tokens
 * are cut by position, and each query's sums run over them in order, so they know nothing of the
 * queries beside it. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "amx.h"
#include "mk.h"

enum {
    KEYS = MK_ATTEND_KEYS,
    KEY_STEPS = KEYS / STEP,
    QUERIES = MK_PROMPT_ROWS,
    SCORE_LINE = QUERIES * sizeof(float),
    SUMS = ROWS * ROWS,   /* of a tile */
    FETCH = 5,            /* cache lines that are fetched ahead at each step of 32 latents */
    BEFORE_SHRINKING = 8, /* by how much scores may pass `top` before sums are brought down */
};

struct area {        /* how tmp is cut */
    uint16_t *k_b;   /* [latents][nopes] right factors */
    uint16_t *v_b;   /* [latents][values] right factors */
    uint16_t *k;     /* [MK_PROMPT_SPAN][steps · 32] */
    uint16_t *v;     /* [MK_PROMPT_SPAN / 32][values] right factors: pairs of tokens */
    uint16_t *q;     /* [groups][steps] right factors: 16 queries each */
    uint16_t *p;     /* [groups][KEY_STEPS] left factors: weights of 16 queries */
    uint16_t *copy;  /* [32][latents · 32] of cache rows that are no tile as they lie */
    float *score;    /* [KEYS][QUERIES] */
    float *out;      /* [QUERIES][values · 16] */
    float *raw;      /* four tiles */
    float *top;      /* [QUERIES] of the running softmax, */
    float *sum;      /* likewise */
    int32_t *n;      /* [QUERIES] tokens that a query sees */
    int latents;     /* steps of 32 */
    int nopes;       /* tiles of 16, an even number */
    int values;      /* likewise */
    int steps;       /* of a key: those of nope, then those of rope */
    size_t key_line; /* bytes from key to key */
};

static struct area lay_out(const struct mk_prompt *a)
{
    size_t latent = (size_t)MK_ATTEND_PADDED(a->latent), nope = (size_t)MK_ATTEND_PADDED(a->nope);
    size_t rope = (size_t)MK_ATTEND_PADDED(a->rope), value = (size_t)MK_ATTEND_PADDED(a->value);
    size_t key = nope + rope;
    struct area ret = {
        .k_b = (uint16_t *)a->tmp,
        .latents = (int)latent / STEP,
        .nopes = (int)nope / ROWS,
        .values = (int)value / ROWS,
        .steps = (int)key / STEP,
        .key_line = key * sizeof(uint16_t),
    };
    ret.v_b = ret.k_b + latent * nope;
    ret.k = ret.v_b + latent * value;
    ret.v = ret.k + MK_PROMPT_SPAN * key;
    ret.q = ret.v + MK_PROMPT_SPAN * value;
    ret.p = ret.q + QUERIES * key;
    ret.copy = ret.p + QUERIES * KEYS;
    ret.score = (float *)(ret.copy + STEP * latent);
    ret.out = ret.score + KEYS * QUERIES;
    ret.raw = ret.out + QUERIES * value;
    ret.top = ret.raw + 4 * SUMS;
    ret.sum = ret.top + QUERIES;
    ret.n = (int32_t *)(ret.sum + QUERIES);
    return ret;
}

/* Numbers [c, c + 16) of two rows, of which k exist, as pairs. */
INLINE __m512i load_pairs(const float *even, const float *odd, int c, int k)
{
    __mmask16 mask = first(k - c);
    const __m512i turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512 low = even ? _mm512_maskz_loadu_ps(mask, even + c) : _mm512_setzero_ps();
    __m512 high = odd ? _mm512_maskz_loadu_ps(mask, odd + c) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(turn, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

static void prompt_head(const struct mk_prompt *a, const float *k_b, const float *v_b)
{
    struct area area = lay_out(a);
    uint16_t *dst = area.k_b;
    for (int c = 0; c < area.latents * STEP; c += STEP)
        for (int d = 0; d < area.nopes * ROWS; d += ROWS, dst += TILE)
            for (int r = 0; r < ROWS; r++) {
                int even = c + 2 * r;
                const float *row = k_b + (size_t)even * (size_t)a->nope;
                _mm512_store_si512(dst + r * STEP,
                                   load_pairs(even < a->latent ? row : NULL,
                                              even + 1 < a->latent ? row + a->nope : NULL, d,
                                              a->nope));
            }
    for (int e = 0; e < area.values; e++)
        for (int s = 0; s < area.latents; s++) {
            const float *row[ROWS];
            int rows = a->value - e * ROWS < ROWS ? a->value - e * ROWS : ROWS;
            for (int r = 0; r < rows; r++)
                row[r] = v_b + (size_t)(e * ROWS + r) * (size_t)a->latent + s * STEP;
            pack_columns(row, rows, a->latent - s * STEP, 1,
                         area.v_b + ((size_t)s * (size_t)area.values + (size_t)e) * TILE);
        }
}

/* ------------------------------------------------------------------ keys and values */

/* 32 tokens as two left factors. */
struct latents {
    const char *tile[2];
    size_t line[2];
    const char *next, *end; /* of the 32 tokens after them, what has not been fetched yet */
};

/* Two tiles of tokens times two tiles of w: sums of 32 tokens in raw, tile by tile. */
INLINE void multiply(const struct area *area, struct latents *x, const uint16_t *w, int tiles)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->latents; s++, w += (size_t)tiles * TILE) {
        load_lines(4, x->tile[0] + s * LINE, x->line[0]);
        load_tile(6, w);
        multiply_bf16(0, 4, 6);
        load_tile(7, w + TILE);
        multiply_bf16(1, 4, 7);
        load_lines(5, x->tile[1] + s * LINE, x->line[1]);
        multiply_bf16(2, 5, 6);
        multiply_bf16(3, 5, 7);
        for (int i = 0; i < FETCH && x->next < x->end; i++, x->next += LINE)
            _mm_prefetch(x->next, _MM_HINT_T1);
    }
    _tile_stored(0, area->raw, LINE);
    _tile_stored(1, area->raw + SUMS, LINE);
    _tile_stored(2, area->raw + 2 * SUMS, LINE);
    _tile_stored(3, area->raw + 3 * SUMS, LINE);
}

static void make_keys(const struct area *area, struct latents *x, uint16_t *k)
{
    size_t width = area->key_line / sizeof(uint16_t);
    for (int d = 0; d < area->nopes; d += 2) {
        multiply(area, x, area->k_b + (size_t)d * TILE, area->nopes);
        for (int t = 0; t < STEP; t++) {
            const float *raw = area->raw + t / ROWS * 2 * SUMS + t % ROWS * ROWS;
            __m512i both =
                (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(raw + SUMS), _mm512_load_ps(raw));
            _mm512_store_si512(k + (size_t)t * width + d * ROWS, both);
        }
    }
}

static void make_values(const struct area *area, struct latents *x, uint16_t *v)
{
    for (int e = 0; e < area->values; e += 2) {
        multiply(area, x, area->v_b + (size_t)e * TILE, area->values);
        for (int t = 0; t < STEP; t += 2)
            for (int i = 0; i < 2; i++) {
                const float *raw = area->raw + t / ROWS * 2 * SUMS + i * SUMS + t % ROWS * ROWS;
                _mm512_store_si512(v + (size_t)(e + i) * TILE + t * ROWS,
                                   load_pairs(raw, raw + ROWS, 0, ROWS));
            }
    }
}

static const char *row_at(const struct mk_prompt_span *s, size_t row_bytes, int t)
{
    return (const char *)s->page[t / s->page_tokens] + (size_t)(t % s->page_tokens) * row_bytes;
}

INLINE __mmask32 first_halves(int n)
{
    return n >= STEP ? ~0u : n > 0 ? (1u << n) - 1 : 0;
}

/* Tokens [t, t + 32) of which those before `to` exist. */
static struct latents take_latents(const struct mk_prompt *a, const struct mk_prompt_span *s,
                                   const struct area *area, size_t row_bytes, int t)
{
    struct latents ret = {0};
    if (s->page_tokens % STEP == 0 && t + 2 * STEP <= s->to) {
        ret.next = row_at(s, row_bytes, t + STEP);
        ret.end = ret.next + STEP * row_bytes;
    }
    bool whole = a->latent % STEP == 0 && s->page_tokens % ROWS == 0 && t % ROWS == 0;
    for (int i = 0; i < 2; i++, t += ROWS) {
        uint16_t *copy = area->copy + (size_t)i * ROWS * (size_t)area->latents * STEP;
        ret.tile[i] = (const char *)copy;
        ret.line[i] = (size_t)area->latents * LINE;
        if (whole && t + ROWS <= s->to) {
            ret.tile[i] = row_at(s, row_bytes, t);
            ret.line[i] = row_bytes;
            continue;
        }
        for (int r = 0; r < ROWS; r++) {
            const char *row = t + r < s->to ? row_at(s, row_bytes, t + r) : NULL;
            for (int c = 0; c < area->latents * STEP; c += STEP, copy += STEP)
                _mm512_store_si512(copy, _mm512_maskz_loadu_epi16(
                                             row ? first_halves(a->latent - c) : 0, row + 2 * c));
        }
    }
    return ret;
}

static void prompt_expand(const struct mk_prompt *a, const struct mk_prompt_span *s)
{
    struct area area = lay_out(a);
    size_t row_bytes = mk_row_bytes(MK_BF16, (size_t)(a->latent + a->rope));
    open_tiles();
    for (int t = s->from; t < s->to; t += STEP) {
        struct latents x = take_latents(a, s, &area, row_bytes, t);
        uint16_t *k = area.k + (size_t)(t - s->from) * (size_t)area.steps * STEP;
        make_keys(&area, &x, k);
        make_values(&area, &x, area.v + (size_t)(t - s->from) / STEP * (size_t)area.values * TILE);
        for (int r = 0; r < STEP; r++, k += area.steps * STEP) {
            const char *row = t + r < s->to ? row_at(s, row_bytes, t + r) + 2 * a->latent : NULL;
            for (int c = 0; c < a->rope; c += STEP)
                _mm512_store_si512(
                    k + area.nopes * ROWS + c,
                    _mm512_maskz_loadu_epi16(row ? first_halves(a->rope - c) : 0, row + 2 * c));
        }
    }
    _tile_release();
}

/* ------------------------------------------------------------------ scores and weights */

/* Two tiles of 16 tokens times two groups of queries. */
static void score_tiles(const struct area *area, const uint16_t *k, int tile, int group)
{
    size_t line = area->key_line, half = (size_t)area->steps * TILE;
    k += (size_t)tile * half;
    const uint16_t *q = area->q + (size_t)group * half;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++) {
        load_lines(4, k + s * STEP, line);
        load_tile(6, q + s * TILE);
        multiply_bf16(0, 4, 6);
        load_tile(7, q + half + s * TILE);
        multiply_bf16(1, 4, 7);
        load_lines(5, k + half + s * STEP, line);
        multiply_bf16(2, 5, 6);
        multiply_bf16(3, 5, 7);
    }
    float *score = area->score + (size_t)tile * ROWS * QUERIES + group * ROWS;
    _tile_stored(0, score, SCORE_LINE);
    _tile_stored(1, score + ROWS, SCORE_LINE);
    _tile_stored(2, score + ROWS * QUERIES, SCORE_LINE);
    _tile_stored(3, score + ROWS + ROWS * QUERIES, SCORE_LINE);
}

/* e^x for x ≤ 8 or so, within 2^-14 of it: 2^n times a Taylor polynomial on half a binary digit
 * either side. Weights are rounded to 2^-9 anyway. NaN stays NaN. */
INLINE __m512 exp16_short(__m512 x)
{
    const __m512 by = _mm512_set1_ps(0x1.715476p+0f), shift = _mm512_set1_ps(0x1.8p23f);
    x = _mm512_max_ps(_mm512_set1_ps(-110), x);
    __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, by, shift), shift);
    __m512 r = _mm512_fmsub_ps(x, by, n);
    __m512 p = _mm512_set1_ps(0x1.3b2ab6p-7f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c6b08ep-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ebfbep-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e43p-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

/* Weights of 16 queries for a block, relative to `top`; by how much the past shrinks. n tokens, a
 * multiple of 32. some: not every query sees every token. */
INLINE __m512 weigh_block(const struct area *area, int group, int from, int n, bool some)
{
    const float *score = area->score + group * ROWS;
    __m512i seen =
        _mm512_sub_epi32(_mm512_load_si512(area->n + group * ROWS), _mm512_set1_epi32(from));
    __m512 before = _mm512_load_ps(area->top + group * ROWS), best = _mm512_set1_ps(-INFINITY);
    for (int t = 0; t < n; t++) {
        __mmask16 mask = some ? _mm512_cmpgt_epi32_mask(seen, _mm512_set1_epi32(t)) : 0xffff;
        best = _mm512_mask_max_ps(best, mask, _mm512_load_ps(score + t * QUERIES), best);
    }
    __m512 edge = _mm512_add_ps(before, _mm512_set1_ps(BEFORE_SHRINKING));
    __m512 top = _mm512_mask_mov_ps(before, _mm512_cmp_ps_mask(best, edge, _CMP_GT_OQ), best);

    __m512 total = _mm512_setzero_ps();
    const __m512i turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int s = 0; s < n / STEP; s++) {
        __m512i pair[ROWS];
        for (int i = 0; i < ROWS; i++) {
            __m512 p[2];
            for (int odd = 0; odd < 2; odd++) {
                int t = s * STEP + 2 * i + odd;
                p[odd] = exp16_short(_mm512_sub_ps(_mm512_load_ps(score + t * QUERIES), top));
                if (some)
                    p[odd] = _mm512_maskz_mov_ps(
                        _mm512_cmpgt_epi32_mask(seen, _mm512_set1_epi32(t)), p[odd]);
                total = _mm512_add_ps(total, p[odd]);
            }
            __m512i both = (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]);
            pair[i] = _mm512_permutexvar_epi16(turn, both);
        }
        transpose(pair);
        uint16_t *dst = area->p + ((size_t)group * KEY_STEPS + (size_t)s) * TILE;
        for (int r = 0; r < ROWS; r++)
            _mm512_store_si512(dst + r * STEP, pair[r]);
    }
    __m512 shrink = exp16(_mm512_sub_ps(before, top));
    /* missing queries would shrink for ever */
    shrink =
        _mm512_mask_mov_ps(shrink, _mm512_cmp_ps_mask(before, top, _CMP_EQ_OQ), _mm512_set1_ps(1));
    __m512 sum = _mm512_mul_ps(_mm512_load_ps(area->sum + group * ROWS), shrink);
    _mm512_store_ps(area->sum + group * ROWS, _mm512_add_ps(sum, total));
    _mm512_store_ps(area->top + group * ROWS, top);
    return shrink;
}

static __m512 weigh(const struct area *area, int group, int from, int n)
{
    __m512i seen =
        _mm512_sub_epi32(_mm512_load_si512(area->n + group * ROWS), _mm512_set1_epi32(from));
    if (_mm512_cmplt_epi32_mask(seen, _mm512_set1_epi32(n)))
        return weigh_block(area, group, from, n, true);
    return weigh_block(area, group, from, n, false);
}

/* ------------------------------------------------------------------ sums */

static void shrink_out(const struct area *area, int group, __m512 shrink)
{
    float by[ROWS], *out = area->out + (size_t)group * ROWS * (size_t)area->values * ROWS;
    _mm512_storeu_ps(by, shrink);
    for (int r = 0; r < ROWS; r++)
        for (int e = 0; e < area->values; e++, out += ROWS)
            _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), _mm512_set1_ps(by[r])));
}

/* Two groups of queries times two tiles of elements. */
static void mix_tiles(const struct area *area, const uint16_t *v, int group, int tile, int steps)
{
    size_t line = (size_t)area->values * ROWS * sizeof(float);
    float *out = area->out + ((size_t)group * ROWS * (size_t)area->values + (size_t)tile) * ROWS;
    float *below = out + ROWS * (size_t)area->values * ROWS;
    const uint16_t *p = area->p + (size_t)group * KEY_STEPS * TILE;
    v += (size_t)tile * TILE;
    load_lines(0, out, line);
    load_lines(1, out + ROWS, line);
    load_lines(2, below, line);
    load_lines(3, below + ROWS, line);
    for (int s = 0; s < steps; s++, p += TILE, v += (size_t)area->values * TILE) {
        load_tile(4, p);
        load_tile(6, v);
        multiply_bf16(0, 4, 6);
        load_tile(7, v + TILE);
        multiply_bf16(1, 4, 7);
        load_tile(5, p + KEY_STEPS * TILE);
        multiply_bf16(2, 5, 6);
        multiply_bf16(3, 5, 7);
    }
    _tile_stored(0, out, line);
    _tile_stored(1, out + ROWS, line);
    _tile_stored(2, below, line);
    _tile_stored(3, below + ROWS, line);
}

static void block(const struct area *area, int groups, int span, int from, int n)
{
    int steps = (n + STEP - 1) / STEP;
    const uint16_t *k = area->k + (size_t)(from - span) * (size_t)area->steps * STEP;
    const uint16_t *v = area->v + (size_t)(from - span) / STEP * (size_t)area->values * TILE;
    for (int g = 0; g < groups; g += 2)
        for (int tile = 0; tile < 2 * steps; tile += 2)
            score_tiles(area, k, tile, g);
    for (int g = 0; g < groups; g++) {
        __m512 shrink = weigh(area, g, from, steps * STEP);
        if (_mm512_cmp_ps_mask(shrink, _mm512_set1_ps(1), _CMP_NEQ_UQ))
            shrink_out(area, g, shrink);
    }
    for (int g = 0; g < groups; g += 2)
        for (int e = 0; e < area->values; e += 2)
            mix_tiles(area, v, g, e, steps);
}

/* Queries, and what they know so far; those that are missing see nothing. */
static void begin(const struct mk_prompt *a, const struct mk_prompt_rows *rows,
                  const struct area *area, int groups, int from)
{
    int key = a->nope + a->rope, value = area->values * ROWS;
    for (int g = 0; g < groups; g++) {
        const float *nope[ROWS], *rope[ROWS];
        int have = rows->m - g * ROWS < ROWS ? rows->m - g * ROWS : ROWS;
        for (int r = 0; r < have; r++) {
            nope[r] = rows->q + (size_t)(g * ROWS + r) * (size_t)rows->ldq;
            rope[r] = nope[r] + a->nope;
        }
        uint16_t *q = area->q + (size_t)g * (size_t)area->steps * TILE;
        int steps = area->nopes / 2;
        pack_columns(nope, have, a->nope, steps, q);
        pack_columns(rope, have, key - a->nope, area->steps - steps, q + (size_t)steps * TILE);
    }
    for (int i = 0; i < groups * ROWS; i++) {
        bool known = i < rows->m && from > 0;
        area->n[i] = i < rows->m ? rows->n[i] : 0;
        area->top[i] = known ? rows->peak[i].top : -INFINITY;
        area->sum[i] = known ? rows->peak[i].sum : 0;
        const float *out = rows->out + (size_t)i * (size_t)rows->ldo;
        for (int c = 0; c < value; c += ROWS)
            _mm512_store_ps(area->out + (size_t)i * (size_t)value + c,
                            _mm512_maskz_loadu_ps(known ? first(a->value - c) : 0, out + c));
    }
}

/* Who has seen all is divided by its sum. */
static void finish(const struct mk_prompt *a, const struct mk_prompt_rows *rows,
                   const struct area *area, const struct mk_prompt_span *s)
{
    int value = area->values * ROWS;
    for (int i = 0; i < rows->m; i++) {
        bool done = rows->n[i] > s->from && rows->n[i] <= s->to;
        __m512 by = _mm512_set1_ps(done ? area->sum[i] : 1);
        rows->peak[i] = (struct mk_peak){area->top[i], area->sum[i]};
        float *out = rows->out + (size_t)i * (size_t)rows->ldo;
        for (int c = 0; c < a->value; c += ROWS) {
            __m512 x = _mm512_load_ps(area->out + (size_t)i * (size_t)value + c);
            _mm512_mask_storeu_ps(out + c, first(a->value - c), _mm512_div_ps(x, by));
        }
    }
}

static void prompt_attend(const struct mk_prompt *a, const struct mk_prompt_span *s,
                          const struct mk_prompt_rows *rows)
{
    struct area area = lay_out(a);
    int groups = (rows->m + 2 * ROWS - 1) / (2 * ROWS) * 2, most = 0;
    for (int i = 0; i < rows->m; i++)
        most = rows->n[i] > most ? rows->n[i] : most;
    most = most < s->to ? most : s->to;
    begin(a, rows, &area, groups, s->from);
    open_tiles();
    for (int from = s->from; from < most; from += KEYS)
        block(&area, groups, s->from, from, most - from < KEYS ? most - from : KEYS);
    _tile_release();
    finish(a, rows, &area, s);
}

void mk_amx_prompt(struct mk *mk)
{
    mk->prompt_head = prompt_head;
    mk->prompt_expand = prompt_expand;
    mk->prompt_attend = prompt_attend;
}
