/* SPDX-License-Identifier: MIT
 *
 * Latent attention on AMX over a cache of bf16: up to MK_ATTEND_HEADS heads of a row of an answer
 * at once; a query is one head's.
 *
 * Tiles take the cache as it lies. 16 rows are the left factor of the scores; and the right factor
 * of the sums, where a row of 32 elements passes for 16 pairs: weights that are zero for the second
 * of each pair sum the even elements, weights that are zero for the first the odd ones. That makes
 * twice as many products as turning pairs of rows into pairs of numbers, and takes less time.
 *
 * The cache is met in blocks of KEYS tokens, cut by position. A query is a lane while scores become
 * weights. Each query's sums run over tokens in order, so they know nothing of the queries beside
 * it. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "amx.h"
#include "mk.h"

enum {
    KEYS = MK_ATTEND_KEYS,
    KEY_TILES = KEYS / ROWS,
    SCORE_LINE = MK_ATTEND_HEADS * sizeof(float),
    SUMS = ROWS * ROWS,   /* of a tile */
    BEFORE_SHRINKING = 8, /* by how much scores may pass `top` before sums are brought down */
    FETCH_SCORE = 24,     /* cache lines that are fetched ahead at each step of the scores, */
    FETCH_WEIGH = 64,     /* of 16 tokens' weights, */
    FETCH_MIX = 16,       /* and of the sums: in all a block, evenly */
};

struct cache {
    const void *const *page;
    int page_tokens, latent, rope;
    size_t row_bytes;
    bool is_tiled; /* 16 rows from a multiple of 16 on are a tile as they lie */
};

/* What comes after this block, to be fetched meanwhile. */
struct ahead {
    const struct cache *cache;
    const char *at, *end; /* lines of 16 rows */
    int token, stop;      /* the rows after those */
};

struct area {         /* how tmp is cut */
    uint16_t *q;      /* [groups][steps] right factors: 16 queries each */
    uint16_t *k;      /* [KEYS][steps · 32] copies of cache rows that are no tile as they lie */
    uint16_t *p;      /* [groups][KEY_TILES][2] left factors: weights of 16 queries, even and odd */
    float *score;     /* [KEYS][MK_ATTEND_HEADS] */
    float *out;       /* [groups][dims][2] tiles of sums: even and odd ones of 32 elements */
    float *top, *sum; /* [groups · 16] of the running softmax */
    int groups, steps, dims;
    const uint16_t *key[KEY_TILES]; /* 16 rows each, `steps · 32` numbers apart */
    struct ahead ahead;
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
                       .dims = (int)latent / STEP,
                       .q = (uint16_t *)tmp};
    ret.k = ret.q + MK_ATTEND_HEADS * width;
    ret.p = ret.k + KEYS * width;
    ret.score = (float *)(ret.p + 4 * MK_ATTEND_HEADS * KEYS);
    ret.out = ret.score + KEYS * MK_ATTEND_HEADS;
    ret.top = ret.out + MK_ATTEND_HEADS * latent;
    ret.sum = ret.top + MK_ATTEND_HEADS;
    return ret;
}

static void begin(const struct area *area, const float *q, int ldq, int m, int width)
{
    for (int g = 0; g < area->groups; g++) {
        const float *row[ROWS];
        int rows = m - g * ROWS < ROWS ? m - g * ROWS : ROWS;
        for (int r = 0; r < rows; r++)
            row[r] = q + (size_t)(g * ROWS + r) * (size_t)ldq;
        pack_columns(row, rows, width, area->steps,
                     area->q + (size_t)g * (size_t)area->steps * TILE);
        _mm512_store_ps(area->top + g * ROWS, _mm512_set1_ps(-INFINITY));
        _mm512_store_ps(area->sum + g * ROWS, _mm512_setzero_ps());
    }
}

/* ------------------------------------------------------------------ a block of the cache */

static const char *row_at(const struct cache *c, int t)
{
    return (const char *)c->page[t / c->page_tokens] + (size_t)(t % c->page_tokens) * c->row_bytes;
}

static void next_rows(struct ahead *a)
{
    if (a->token + ROWS > a->stop) {
        a->at = a->end = NULL;
        return;
    }
    a->at = row_at(a->cache, a->token);
    a->end = a->at + ROWS * a->cache->row_bytes;
    a->token += ROWS;
}

INLINE void fetch(struct ahead *a, int lines)
{
    for (int i = 0; i < lines && a->at; i++) {
        _mm_prefetch(a->at, _MM_HINT_T1);
        a->at += LINE;
        if (a->at >= a->end)
            next_rows(a);
    }
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

/* Tokens [from, from + n) as tiles, with zeros up to a whole one; the cache goes on to `end`. */
static void take_keys(const struct cache *c, struct area *area, int from, int n, int end)
{
    for (int t = 0; t < n; t += ROWS) {
        uint16_t *copy = area->k + (size_t)t * (size_t)area->steps * STEP;
        if (c->is_tiled && t + ROWS <= n) {
            area->key[t / ROWS] = (const void *)row_at(c, from + t);
        } else {
            copy_keys(c, from + t, n - t, area->steps, copy);
            area->key[t / ROWS] = copy;
        }
    }
    area->ahead = (struct ahead){.cache = c, .token = from + n, .stop = c->is_tiled ? end : 0};
    next_rows(&area->ahead);
}

/* ------------------------------------------------------------------ scores */

/* Up to two tiles of 16 tokens times two groups of queries. */
INLINE void score_groups(struct area *area, int tile, int group, int tiles)
{
    size_t line = (size_t)area->steps * LINE;
    const uint16_t *k = area->key[tile], *below = tiles > 1 ? area->key[tile + 1] : k;
    const uint16_t *q = area->q + (size_t)group * (size_t)area->steps * TILE;
    const uint16_t *beside = q + (size_t)area->steps * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++) {
        load_lines(4, k + s * STEP, line);
        load_tile(6, q + s * TILE);
        multiply_bf16(0, 4, 6);
        load_tile(7, beside + s * TILE);
        multiply_bf16(1, 4, 7);
        if (tiles > 1) {
            load_lines(5, below + s * STEP, line);
            multiply_bf16(2, 5, 6);
            multiply_bf16(3, 5, 7);
        }
        fetch(&area->ahead, FETCH_SCORE / 2);
    }
    float *score = area->score + (size_t)tile * ROWS * MK_ATTEND_HEADS + group * ROWS;
    _tile_stored(0, score, SCORE_LINE);
    _tile_stored(1, score + ROWS, SCORE_LINE);
    if (tiles > 1) {
        _tile_stored(2, score + ROWS * MK_ATTEND_HEADS, SCORE_LINE);
        _tile_stored(3, score + ROWS + ROWS * MK_ATTEND_HEADS, SCORE_LINE);
    }
}

/* One or four tiles of 16 tokens times one group. */
INLINE void score_tiles(struct area *area, int tile, int group, int tiles)
{
    size_t line = (size_t)area->steps * LINE;
    const uint16_t *const *k = area->key + tile;
    const uint16_t *q = area->q + (size_t)group * (size_t)area->steps * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < area->steps; s++) {
        load_tile(6, q + s * TILE);
        load_lines(4, k[0] + s * STEP, line);
        multiply_bf16(0, 4, 6);
        if (tiles > 1) {
            load_lines(5, k[1] + s * STEP, line);
            multiply_bf16(1, 5, 6);
            load_lines(7, k[2] + s * STEP, line);
            multiply_bf16(2, 7, 6);
            load_lines(4, k[3] + s * STEP, line);
            multiply_bf16(3, 4, 6);
            fetch(&area->ahead, FETCH_SCORE);
        }
    }
    float *score = area->score + (size_t)tile * ROWS * MK_ATTEND_HEADS + group * ROWS;
    _tile_stored(0, score, SCORE_LINE);
    if (tiles > 1) {
        _tile_stored(1, score + ROWS * MK_ATTEND_HEADS, SCORE_LINE);
        _tile_stored(2, score + 2 * ROWS * MK_ATTEND_HEADS, SCORE_LINE);
        _tile_stored(3, score + 3 * ROWS * MK_ATTEND_HEADS, SCORE_LINE);
    }
}

static void score_block(struct area *area, int tiles)
{
    int g = 0, tile;
    for (; g + 2 <= area->groups; g += 2) {
        for (tile = 0; tile + 2 <= tiles; tile += 2)
            score_groups(area, tile, g, 2);
        if (tile < tiles)
            score_groups(area, tile, g, 1);
    }
    if (g == area->groups)
        return;
    for (tile = 0; tile + 4 <= tiles; tile += 4)
        score_tiles(area, tile, g, 4);
    for (; tile < tiles; tile++)
        score_tiles(area, tile, g, 1);
}

/* ------------------------------------------------------------------ weights */

/* Weights of 16 queries for n tokens of the block, relative to `top`; by how much the past shrinks.
 */
static __m512 weigh(struct area *area, int group, int n)
{
    const float *score = area->score + group * ROWS;
    __m512 before = _mm512_load_ps(area->top + group * ROWS), best = _mm512_set1_ps(-INFINITY);
    for (int t = 0; t < n; t++)
        best = _mm512_max_ps(_mm512_load_ps(score + t * MK_ATTEND_HEADS), best);
    __m512 edge = _mm512_add_ps(before, _mm512_set1_ps(BEFORE_SHRINKING));
    __m512 top = _mm512_mask_mov_ps(before, _mm512_cmp_ps_mask(best, edge, _CMP_GT_OQ), best);

    __m512 total = _mm512_setzero_ps();
    uint16_t *p = area->p + (size_t)group * KEY_TILES * 2 * TILE;
    for (int tile = 0; tile * ROWS < n; tile++, p += 2 * TILE) {
        __m512i weight[ROWS];
        for (int r = 0; r < ROWS; r++) {
            int t = tile * ROWS + r;
            __m512 x = _mm512_setzero_ps();
            if (t < n)
                x = exp16(_mm512_sub_ps(_mm512_load_ps(score + t * MK_ATTEND_HEADS), top));
            total = _mm512_add_ps(total, x);
            weight[r] = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
        }
        fetch(&area->ahead, FETCH_WEIGH);
        transpose(weight);
        for (int r = 0; r < ROWS; r++) {
            _mm512_store_si512(p + r * STEP, weight[r]);
            _mm512_store_si512(p + TILE + r * STEP, _mm512_slli_epi32(weight[r], 16));
        }
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
    float *out = area->out + (size_t)group * (size_t)area->dims * 2 * SUMS;
    for (int d = 0; d < 2 * area->dims; d++)
        for (int r = 0; r < ROWS; r++, out += ROWS)
            _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), _mm512_set1_ps(by[r])));
}

/* One or two times 32 elements of one group. fresh: there are no sums yet. */
INLINE void mix_dims(struct area *area, int group, int dim, int dims, int tiles, bool fresh)
{
    size_t line = (size_t)area->steps * LINE;
    float *out = area->out + ((size_t)group * (size_t)area->dims + (size_t)dim) * 2 * SUMS;
    const uint16_t *p = area->p + (size_t)group * KEY_TILES * 2 * TILE;
    if (fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        load_tile(0, out);
        load_tile(1, out + SUMS);
        if (dims > 1) {
            load_tile(2, out + 2 * SUMS);
            load_tile(3, out + 3 * SUMS);
        }
    }
    for (int t = 0; t < tiles; t++, p += 2 * TILE) {
        const uint16_t *v = area->key[t] + dim * STEP;
        load_tile(4, p);
        load_lines(6, v, line);
        multiply_bf16(0, 4, 6);
        load_tile(5, p + TILE);
        multiply_bf16(1, 5, 6);
        if (dims > 1) {
            load_lines(7, v + STEP, line);
            multiply_bf16(2, 4, 7);
            multiply_bf16(3, 5, 7);
        }
        fetch(&area->ahead, FETCH_MIX);
    }
    _tile_stored(0, out, LINE);
    _tile_stored(1, out + SUMS, LINE);
    if (dims > 1) {
        _tile_stored(2, out + 2 * SUMS, LINE);
        _tile_stored(3, out + 3 * SUMS, LINE);
    }
}

static void mix_block(struct area *area, int tiles, bool fresh)
{
    for (int g = 0; g < area->groups; g++) {
        int d = 0;
        for (; d + 2 <= area->dims; d += 2)
            mix_dims(area, g, d, 2, tiles, fresh);
        if (d < area->dims)
            mix_dims(area, g, d, 1, tiles, fresh);
    }
}

/* All blocks of tokens [from, to), for all queries. */
static void attend_tokens(const struct cache *c, struct area *area, int from, int to, int next)
{
    for (bool fresh = true; from < to; from += KEYS, fresh = false) {
        int n = to - from < KEYS ? to - from : KEYS, tiles = (n + ROWS - 1) / ROWS;
        take_keys(c, area, from, n, next);
        score_block(area, tiles);
        for (int g = 0; g < area->groups; g++) {
            __m512 shrink = weigh(area, g, n);
            if (!fresh && _mm512_cmp_ps_mask(shrink, _mm512_set1_ps(1), _CMP_NEQ_UQ))
                shrink_out(area, g, shrink);
        }
        mix_block(area, tiles, fresh);
    }
}

/* Sums of m queries in the order of elements. */
static void finish(const struct area *area, int m, int latent, float *out, int ldo)
{
    const __m512i first_half =
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second_half = _mm512_add_epi32(first_half, _mm512_set1_epi32(8));
    for (int i = 0; i < m; i++) {
        const float *src = area->out + (size_t)(i / ROWS) * (size_t)area->dims * 2 * SUMS +
                           (size_t)(i % ROWS) * ROWS;
        float *dst = out + (size_t)i * (size_t)ldo;
        for (int c = 0; c < latent; c += STEP, src += 2 * SUMS) {
            __m512 even = _mm512_load_ps(src), odd = _mm512_load_ps(src + SUMS);
            __m512 low = _mm512_permutex2var_ps(even, first_half, odd);
            __m512 high = _mm512_permutex2var_ps(even, second_half, odd);
            _mm512_mask_storeu_ps(dst + c, first(latent - c), low);
            if (latent - c > ROWS)
                _mm512_mask_storeu_ps(dst + c + ROWS, first(latent - c - ROWS), high);
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
        m = a->n_heads - h < MK_ATTEND_HEADS ? a->n_heads - h : MK_ATTEND_HEADS;
        struct area area = lay_out(a->tmp, &cache, m);
        begin(&area, a->q + (size_t)h * (size_t)a->ldq, a->ldq, m, a->latent + a->rope);
        attend_tokens(&cache, &area, a->from, a->to, a->next > a->to ? a->next : a->to);
        finish(&area, m, a->latent, a->out + (size_t)h * (size_t)a->ldo, a->ldo);
        for (int i = 0; i < m; i++)
            a->peak[h + i] = (struct mk_peak){area.top[i], area.sum[i]};
    }
    _tile_release();
}

void mk_amx_attn(struct mk *mk)
{
    mk->attend = attend;
    mk->latents = MK_BF16;
}
