/* SPDX-License-Identifier: MIT
 *
 * Latent attention on AMX over a cache of bf16: up to MK_ATTEND_ROWS queries at once, which are the
 * heads of one row of an answer, or one head of several rows of a prompt.
 *
 * The cache is met in blocks of KEYS tokens, cut by position. 16 rows of it are the left factor of
 * the scores as they lie; in pairs of tokens they become the right factor of the sums. A query is a
 * lane while scores become weights. Each query's sums run over blocks and pairs in order, so they
 * know nothing of the queries beside it. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "amx.h"
#include "mk.h"

enum {
    KEYS = MK_ATTEND_KEYS,
    KEY_TILES = KEYS / ROWS,
    KEY_STEPS = KEYS / STEP,
    SCORE_LINE = MK_ATTEND_ROWS * sizeof(float),
    AHEAD = 2 * STEP, /* tokens between the row that is read and the one fetched */
};

struct cache {
    const void *const *page;
    int page_tokens, latent, rope;
    size_t row_bytes;
    bool is_tiled; /* 16 rows from a multiple of 16 on are a left factor as they lie */
};

struct area {         /* how tmp is cut */
    uint16_t *q;      /* [groups][steps] right factors: 16 queries each */
    uint16_t *k;      /* [KEYS][steps · 32] copies of cache rows that are no factor as they lie */
    uint16_t *v;      /* [KEY_STEPS][dims] right factors: pairs of tokens, 16 elements */
    uint16_t *p;      /* [groups][KEY_STEPS] left factors: weights of 16 queries */
    float *score;     /* [KEYS][MK_ATTEND_ROWS] */
    float *out;       /* [groups][dims] tiles of sums, see `finish` */
    float *top, *sum; /* [groups · 16] of the running softmax */
    int32_t *n;       /* [groups · 16] tokens that a query sees */
    int groups, steps, dims;
    const uint16_t *key[KEY_TILES]; /* 16 rows each, `steps · 32` numbers apart */
};

static struct cache cache_of(const void *const *page, int page_tokens, int latent, int rope)
{
    return (struct cache){
        .page = page,
        .page_tokens = page_tokens,
        .latent = latent,
        .rope = rope,
        .row_bytes = mk_row_bytes(MK_BF16, (size_t)(latent + rope)),
        .is_tiled = (latent + rope) % STEP == 0 && page_tokens % ROWS == 0,
    };
}

static struct area lay_out(float *tmp, const struct cache *c, int m)
{
    size_t width = (size_t)MK_ATTEND_PADDED(c->latent + c->rope);
    size_t latent = (size_t)MK_ATTEND_PADDED(c->latent);
    struct area ret = {.groups = (m + ROWS - 1) / ROWS,
                       .steps = (int)width / STEP,
                       .dims = (int)latent / ROWS,
                       .q = (uint16_t *)tmp};
    ret.k = ret.q + MK_ATTEND_ROWS * width;
    ret.v = ret.k + KEYS * width;
    ret.p = ret.v + KEYS * latent;
    ret.score = (float *)(ret.p + MK_ATTEND_ROWS * KEYS);
    ret.out = ret.score + KEYS * MK_ATTEND_ROWS;
    ret.top = ret.out + MK_ATTEND_ROWS * latent;
    ret.sum = ret.top + MK_ATTEND_ROWS;
    ret.n = (int32_t *)(ret.sum + MK_ATTEND_ROWS);
    return ret;
}

/* m queries; each sees n[i] tokens, or all of them `most`. */
static void begin(const struct area *area, const float *q, int ldq, int m, int width,
                  const int32_t *n, int most)
{
    for (int g = 0; g < area->groups; g++) {
        const float *row[ROWS];
        int rows = m - g * ROWS < ROWS ? m - g * ROWS : ROWS;
        for (int r = 0; r < rows; r++)
            row[r] = q + (size_t)(g * ROWS + r) * (size_t)ldq;
        pack_columns(row, rows, width, area->steps,
                     area->q + (size_t)g * (size_t)area->steps * TILE);
        for (int r = 0; r < ROWS; r++) /* a missing query sees one token, and nobody looks */
            area->n[g * ROWS + r] = !n ? most : r < rows ? n[g * ROWS + r] : 1;
        _mm512_store_ps(area->top + g * ROWS, _mm512_set1_ps(-INFINITY));
        _mm512_store_ps(area->sum + g * ROWS, _mm512_setzero_ps());
    }
    memset(area->out, 0, (size_t)area->groups * (size_t)area->dims * ROWS * ROWS * sizeof(float));
}

/* ------------------------------------------------------------------ a block of the cache */

static const char *row_at(const struct cache *c, int t)
{
    return (const char *)c->page[t / c->page_tokens] + (size_t)(t % c->page_tokens) * c->row_bytes;
}

/* 16 tokens from `from` on of which n exist, whole rows of them; then zeros. */
static void copy_keys(const struct cache *c, int from, int n, int steps, uint16_t *dst)
{
    int width = c->latent + c->rope;
    for (int t = 0; t < ROWS; t++, dst += steps * STEP) {
        const char *row = t < n ? row_at(c, from + t) : NULL;
        for (int s = 0; s < steps; s++) {
            int left = t < n ? width - s * STEP : 0;
            __mmask32 mask = left >= STEP ? ~0u : left > 0 ? (1u << left) - 1 : 0;
            _mm512_store_si512(dst + s * STEP,
                               _mm512_maskz_loadu_epi16(mask, row + (size_t)s * LINE));
        }
    }
}

/* The latents of 16 rows as pairs of tokens. Unpacking stays within lanes of 128 bits, so of 32
 * elements the first tile gets 0-3, 8-11, 16-19, 24-27 and the second the others: `finish` sorts
 * them. Meanwhile the rows at `next` are on their way. */
INLINE void pair_tokens(const uint16_t *rows, int steps, int dims, uint16_t *dst, const char *next)
{
    for (int t = 0; t < ROWS; t += 2, dst += 2 * ROWS) {
        const uint16_t *a = rows + (size_t)t * (size_t)steps * STEP, *b = a + steps * STEP;
        if (next)
            for (int s = 0; s < 2 * steps; s++, next += LINE)
                _mm_prefetch(next, _MM_HINT_T0);
        uint16_t *to = dst;
        for (int d = 0; d < dims; d += 2, a += STEP, b += STEP, to += 2 * TILE) {
            __m512i x = _mm512_loadu_si512(a), y = _mm512_loadu_si512(b);
            _mm512_store_si512(to, _mm512_unpacklo_epi16(x, y));
            _mm512_store_si512(to + TILE, _mm512_unpackhi_epi16(x, y));
        }
    }
}

/* Tokens [from, from + n) as factors, with zeros up to a whole step; the cache goes on to `end`. */
static void take_keys(const struct cache *c, struct area *area, int from, int n, int end)
{
    for (int t = 0; t < (n + STEP - 1) / STEP * STEP; t += ROWS) {
        bool whole = c->is_tiled && t + ROWS <= n;
        uint16_t *copy = area->k + (size_t)t * (size_t)area->steps * STEP;
        if (!whole)
            copy_keys(c, from + t, n - t, area->steps, copy);
        area->key[t / ROWS] = whole ? (const void *)row_at(c, from + t) : copy;
        bool more = c->is_tiled && from + t + AHEAD + ROWS <= end;
        pair_tokens(area->key[t / ROWS], area->steps, area->dims,
                    area->v + (size_t)(t / STEP) * (size_t)area->dims * TILE + t % STEP * ROWS,
                    more ? row_at(c, from + t + AHEAD) : NULL);
    }
}

/* ------------------------------------------------------------------ scores and weights */

/* Two tiles of 16 tokens times two groups of queries. */
static void score_groups(const struct area *area, int tile, int group)
{
    size_t line = (size_t)area->steps * LINE;
    const uint16_t *k = area->key[tile], *below = area->key[tile + 1];
    const uint16_t *q = area->q + (size_t)group * (size_t)area->steps * TILE;
    const uint16_t *beside = q + (size_t)area->steps * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++) {
        _tile_loadd(4, k + s * STEP, line);
        _tile_loadd(6, q + s * TILE, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, below + s * STEP, line);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, beside + s * TILE, LINE);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    float *score = area->score + (size_t)tile * ROWS * MK_ATTEND_ROWS + group * ROWS;
    _tile_stored(0, score, SCORE_LINE);
    _tile_stored(1, score + ROWS, SCORE_LINE);
    _tile_stored(2, score + ROWS * MK_ATTEND_ROWS, SCORE_LINE);
    _tile_stored(3, score + ROWS + ROWS * MK_ATTEND_ROWS, SCORE_LINE);
}

/* Two or four tiles of 16 tokens times one group. */
INLINE void score_tiles(const struct area *area, int tile, int group, int tiles)
{
    size_t line = (size_t)area->steps * LINE;
    const uint16_t *k = area->key[tile], *l = area->key[tile + 1];
    const uint16_t *m = tiles > 2 ? area->key[tile + 2] : k,
                   *n = tiles > 2 ? area->key[tile + 3] : k;
    const uint16_t *q = area->q + (size_t)group * (size_t)area->steps * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++) {
        _tile_loadd(6, q + s * TILE, LINE);
        _tile_loadd(4, k + s * STEP, line);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, l + s * STEP, line);
        _tile_dpbf16ps(1, 5, 6);
        if (tiles > 2) {
            _tile_loadd(7, m + s * STEP, line);
            _tile_dpbf16ps(2, 7, 6);
            _tile_loadd(4, n + s * STEP, line);
            _tile_dpbf16ps(3, 4, 6);
        }
    }
    float *score = area->score + (size_t)tile * ROWS * MK_ATTEND_ROWS + group * ROWS;
    _tile_stored(0, score, SCORE_LINE);
    _tile_stored(1, score + ROWS * MK_ATTEND_ROWS, SCORE_LINE);
    if (tiles > 2) {
        _tile_stored(2, score + 2 * ROWS * MK_ATTEND_ROWS, SCORE_LINE);
        _tile_stored(3, score + 3 * ROWS * MK_ATTEND_ROWS, SCORE_LINE);
    }
}

/* Weights of 16 queries for the block, relative to the largest score so far; by how much the past
 * shrinks. n tokens, a multiple of 32. */
INLINE __m512 weigh(const struct area *area, int group, int from, int n)
{
    const float *score = area->score + group * ROWS;
    __m512i seen =
        _mm512_sub_epi32(_mm512_load_si512(area->n + group * ROWS), _mm512_set1_epi32(from));
    __m512 before = _mm512_load_ps(area->top + group * ROWS), top = before;
    for (int t = 0; t < n; t++) {
        __mmask16 mask = _mm512_cmpgt_epi32_mask(seen, _mm512_set1_epi32(t));
        top = _mm512_mask_max_ps(top, mask, _mm512_load_ps(score + t * MK_ATTEND_ROWS), top);
    }

    __m512 total = _mm512_setzero_ps();
    const __m512i even_odd =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int s = 0; s < n / STEP; s++) {
        __m512i pair[ROWS];
        for (int i = 0; i < ROWS; i++) {
            __m512 p[2];
            for (int odd = 0; odd < 2; odd++) {
                int t = s * STEP + 2 * i + odd;
                __mmask16 mask = _mm512_cmpgt_epi32_mask(seen, _mm512_set1_epi32(t));
                __m512 x = _mm512_sub_ps(_mm512_load_ps(score + t * MK_ATTEND_ROWS), top);
                p[odd] = mask ? _mm512_maskz_mov_ps(mask, exp16(x)) : _mm512_setzero_ps();
                total = _mm512_add_ps(total, p[odd]);
            }
            __m512i both = (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]);
            pair[i] = _mm512_permutexvar_epi16(even_odd, both);
        }
        transpose(pair);
        uint16_t *dst = area->p + ((size_t)group * KEY_STEPS + (size_t)s) * TILE;
        for (int r = 0; r < ROWS; r++)
            _mm512_store_si512(dst + r * STEP, pair[r]);
    }
    __m512 shrink = exp16(_mm512_sub_ps(before, top));
    __m512 sum = _mm512_mul_ps(_mm512_load_ps(area->sum + group * ROWS), shrink);
    _mm512_store_ps(area->sum + group * ROWS, _mm512_add_ps(sum, total));
    _mm512_store_ps(area->top + group * ROWS, top);
    return shrink;
}

/* ------------------------------------------------------------------ sums */

static void shrink_out(const struct area *area, int group, __m512 shrink)
{
    float by[ROWS];
    _mm512_storeu_ps(by, shrink);
    float *out = area->out + (size_t)group * (size_t)area->dims * ROWS * ROWS;
    for (int d = 0; d < area->dims; d++)
        for (int r = 0; r < ROWS; r++, out += ROWS)
            _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), _mm512_set1_ps(by[r])));
}

/* Two groups of queries times two tiles of elements. */
static void mix_groups(const struct area *area, int group, int dim, int steps)
{
    float *out = area->out + ((size_t)group * (size_t)area->dims + (size_t)dim) * ROWS * ROWS;
    float *below = out + (size_t)area->dims * ROWS * ROWS;
    const uint16_t *p = area->p + (size_t)group * KEY_STEPS * TILE;
    const uint16_t *v = area->v + (size_t)dim * TILE;
    _tile_loadd(0, out, LINE);
    _tile_loadd(1, out + ROWS * ROWS, LINE);
    _tile_loadd(2, below, LINE);
    _tile_loadd(3, below + ROWS * ROWS, LINE);
    for (int s = 0; s < steps; s++, p += TILE, v += (size_t)area->dims * TILE) {
        _tile_loadd(4, p, LINE);
        _tile_loadd(6, v, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, v + TILE, LINE);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, p + KEY_STEPS * TILE, LINE);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, LINE);
    _tile_stored(1, out + ROWS * ROWS, LINE);
    _tile_stored(2, below, LINE);
    _tile_stored(3, below + ROWS * ROWS, LINE);
}

/* One group of queries times two or four tiles of elements. */
INLINE void mix_tiles(const struct area *area, int group, int dim, int steps, int tiles)
{
    float *out = area->out + ((size_t)group * (size_t)area->dims + (size_t)dim) * ROWS * ROWS;
    const uint16_t *p = area->p + (size_t)group * KEY_STEPS * TILE;
    const uint16_t *v = area->v + (size_t)dim * TILE;
    _tile_loadd(0, out, LINE);
    _tile_loadd(1, out + ROWS * ROWS, LINE);
    if (tiles > 2) {
        _tile_loadd(2, out + 2 * ROWS * ROWS, LINE);
        _tile_loadd(3, out + 3 * ROWS * ROWS, LINE);
    }
    for (int s = 0; s < steps; s++, p += TILE, v += (size_t)area->dims * TILE) {
        _tile_loadd(4, p, LINE);
        _tile_loadd(5, v, LINE);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(6, v + TILE, LINE);
        _tile_dpbf16ps(1, 4, 6);
        if (tiles > 2) {
            _tile_loadd(7, v + 2 * TILE, LINE);
            _tile_dpbf16ps(2, 4, 7);
            _tile_loadd(5, v + 3 * TILE, LINE);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, out, LINE);
    _tile_stored(1, out + ROWS * ROWS, LINE);
    if (tiles > 2) {
        _tile_stored(2, out + 2 * ROWS * ROWS, LINE);
        _tile_stored(3, out + 3 * ROWS * ROWS, LINE);
    }
}

static void score(const struct area *area, int steps)
{
    int g = 0;
    for (; g + 2 <= area->groups; g += 2)
        for (int tile = 0; tile < 2 * steps; tile += 2)
            score_groups(area, tile, g);
    if (g == area->groups)
        return;
    int tile = 0;
    for (; tile + 4 <= 2 * steps; tile += 4)
        score_tiles(area, tile, g, 4);
    if (tile < 2 * steps)
        score_tiles(area, tile, g, 2);
}

static void mix(const struct area *area, int steps)
{
    int g = 0;
    for (; g + 2 <= area->groups; g += 2)
        for (int d = 0; d < area->dims; d += 2)
            mix_groups(area, g, d, steps);
    if (g == area->groups)
        return;
    int d = 0;
    for (; d + 4 <= area->dims; d += 4)
        mix_tiles(area, g, d, steps, 4);
    if (d < area->dims)
        mix_tiles(area, g, d, steps, 2);
}

/* All blocks of tokens [from, to), for all queries. */
static void attend_tokens(const struct cache *c, struct area *area, int from, int to)
{
    for (; from < to; from += KEYS) {
        int n = to - from < KEYS ? to - from : KEYS, steps = (n + STEP - 1) / STEP;
        take_keys(c, area, from, n, to);
        score(area, steps);
        for (int g = 0; g < area->groups; g++) {
            __m512 shrink = weigh(area, g, from, steps * STEP);
            if (_mm512_cmp_ps_mask(shrink, _mm512_set1_ps(1), _CMP_NEQ_UQ))
                shrink_out(area, g, shrink);
        }
        mix(area, steps);
    }
}

/* Sums of m queries, each over its `by`, in the order of elements. */
static void finish(const struct area *area, int m, int latent, const float *by, float *out, int ldo)
{
    for (int i = 0; i < m; i++) {
        const float *src =
            area->out +
            ((size_t)(i / ROWS) * (size_t)area->dims * ROWS + (size_t)(i % ROWS)) * ROWS;
        float *dst = out + (size_t)i * (size_t)ldo;
        __m512 sum = _mm512_set1_ps(by ? by[i] : 1);
        for (int c = 0; c < latent; c += STEP, src += 2 * ROWS * ROWS) {
            __m512 x = _mm512_load_ps(src), y = _mm512_load_ps(src + ROWS * ROWS);
            __m512 low = _mm512_shuffle_f32x4(x, y, 0x44);  /* x0 x1 y0 y1 */
            __m512 high = _mm512_shuffle_f32x4(x, y, 0xee); /* x2 x3 y2 y3 */
            low = _mm512_shuffle_f32x4(low, low, 0xd8);
            high = _mm512_shuffle_f32x4(high, high, 0xd8);
            _mm512_mask_storeu_ps(dst + c, first(latent - c), _mm512_div_ps(low, sum));
            if (latent - c > 16)
                _mm512_mask_storeu_ps(dst + c + 16, first(latent - c - 16),
                                      _mm512_div_ps(high, sum));
        }
    }
}

/* ------------------------------------------------------------------ rows of answers */

static void attend(const struct mk_attend *a)
{
    if (a->type != MK_BF16) {
        mk_avx512_attend(a);
        return;
    }
    struct cache cache = cache_of(a->page, a->page_tokens, a->latent, a->rope);
    open_tiles();
    for (int h = 0, m; h < a->n_heads; h += m) {
        m = a->n_heads - h < MK_ATTEND_ROWS ? a->n_heads - h : MK_ATTEND_ROWS;
        struct area area = lay_out(a->tmp, &cache, m);
        begin(&area, a->q + (size_t)h * (size_t)a->ldq, a->ldq, m, a->latent + a->rope, NULL,
              a->to);
        attend_tokens(&cache, &area, a->from, a->to);
        finish(&area, m, a->latent, NULL, a->out + (size_t)h * (size_t)a->ldo, a->ldo);
        for (int i = 0; i < m; i++)
            a->peak[h + i] = (struct mk_peak){area.top[i], area.sum[i]};
    }
    _tile_release();
}

/* ------------------------------------------------------------------ rows of a prompt */

static void attend_rows(const struct mk_attend_rows *a)
{
    struct cache cache = cache_of(a->page, a->page_tokens, a->latent, a->rope);
    struct area area = lay_out(a->tmp, &cache, a->m);
    int most = 0;
    for (int i = 0; i < a->m; i++)
        most = a->n[i] > most ? a->n[i] : most;
    begin(&area, a->q, a->ldq, a->m, a->latent + a->rope, a->n, most);
    open_tiles();
    attend_tokens(&cache, &area, 0, most);
    _tile_release();
    finish(&area, a->m, a->latent, area.sum, a->out, a->ldo);
}

void mk_amx_attn(struct mk *mk)
{
    mk->attend = attend;
    mk->attend_rows = attend_rows;
}
