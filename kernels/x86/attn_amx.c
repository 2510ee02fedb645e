/* SPDX-License-Identifier: MIT
 *
 * Latent attention of a prompt's rows on AMX: one head of up to MK_ATTEND_ROWS rows at once.
 *
 * The cache is met in blocks of KEYS tokens, cut by position. A block is rounded to bf16 twice: as
 * it lies, to be the left factor of the scores, and in pairs of tokens, to be the right factor of
 * the sums. A query is a lane while scores become weights. Each row's sums run over blocks and
 * pairs in order, so they know nothing of the rows beside it. Pure; any thread.
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
    GROUPS = MK_ATTEND_ROWS / ROWS, /* of 16 queries */
};

struct area {         /* how a->tmp is cut */
    uint16_t *q;      /* [groups][steps] right factors: 16 queries each */
    uint16_t *k;      /* [KEYS][steps · 32] cache rows */
    uint16_t *v;      /* [KEY_STEPS][dims] right factors: pairs of tokens, 16 elements */
    uint16_t *p;      /* [groups][KEY_STEPS] left factors: weights of 16 queries */
    float *score;     /* [KEYS][groups · 16] */
    float *out;       /* [groups][dims] tiles of sums, see `order` */
    float *top, *sum; /* [groups · 16] of the running softmax */
    int32_t *n;       /* [groups · 16] tokens that a query sees */
    int groups, steps, dims;
};

static void lay_out(const struct mk_attend_rows *a, struct area *ret)
{
    size_t width = (size_t)MK_ATTEND_PADDED(a->latent + a->rope);
    size_t latent = (size_t)MK_ATTEND_PADDED(a->latent);
    ret->groups = (a->m + ROWS - 1) / ROWS;
    ret->steps = (int)width / STEP;
    ret->dims = (int)latent / ROWS;
    ret->q = (uint16_t *)a->tmp;
    ret->k = ret->q + MK_ATTEND_ROWS * width;
    ret->v = ret->k + KEYS * width;
    ret->p = ret->v + KEYS * latent;
    ret->score = (float *)(ret->p + MK_ATTEND_ROWS * KEYS);
    ret->out = ret->score + KEYS * MK_ATTEND_ROWS;
    ret->top = ret->out + MK_ATTEND_ROWS * latent;
    ret->sum = ret->top + MK_ATTEND_ROWS;
    ret->n = (int32_t *)(ret->sum + MK_ATTEND_ROWS);
}

static void begin(const struct mk_attend_rows *a, const struct area *area)
{
    for (int g = 0; g < area->groups; g++) {
        const float *row[ROWS];
        int rows = a->m - g * ROWS < ROWS ? a->m - g * ROWS : ROWS;
        for (int r = 0; r < rows; r++)
            row[r] = a->q + (size_t)(g * ROWS + r) * (size_t)a->ldq;
        pack_columns(row, rows, a->latent + a->rope, area->steps,
                     area->q + (size_t)g * (size_t)area->steps * TILE);
        for (int r = 0; r < ROWS; r++) /* a missing query sees one token, and nobody looks */
            area->n[g * ROWS + r] = r < rows ? a->n[g * ROWS + r] : 1;
        _mm512_store_ps(area->top + g * ROWS, _mm512_set1_ps(-INFINITY));
        _mm512_store_ps(area->sum + g * ROWS, _mm512_setzero_ps());
    }
    memset(area->out, 0, (size_t)area->groups * (size_t)area->dims * ROWS * ROWS * sizeof(float));
}

/* ------------------------------------------------------------------ a block of the cache */

INLINE __m512 widen(enum mk_type type, const char *row, int c, int width)
{
    __mmask16 mask = first(width - c);
    if (type == MK_F32)
        return _mm512_maskz_loadu_ps(mask, row + (size_t)c * 4);
    __m256i half = _mm256_maskz_loadu_epi16(mask, row + (size_t)c * 2);
    if (type == MK_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

INLINE void round_row(enum mk_type type, const char *row, int width, int steps, uint16_t *dst)
{
    for (int s = 0; s < steps; s++) {
        __m512 low = widen(type, row, s * STEP, width);
        __m512 high = widen(type, row, s * STEP + 16, width);
        _mm512_store_si512(dst + s * STEP, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* Tokens [from, from + n) as rows, then zeros up to a whole step. */
static void load_keys(const struct mk_attend_rows *a, const struct area *area, int from, int n)
{
    int width = a->latent + a->rope, padded = area->steps * STEP;
    size_t row_bytes = mk_row_bytes(a->type, (size_t)width);
    int t = 0;
    for (; t < n; t++) {
        const char *page = a->page[(from + t) / a->page_tokens];
        const char *row = page + (size_t)((from + t) % a->page_tokens) * row_bytes;
        uint16_t *dst = area->k + (size_t)t * (size_t)padded;
        if (a->type == MK_F16)
            round_row(MK_F16, row, width, area->steps, dst);
        else if (a->type == MK_BF16)
            round_row(MK_BF16, row, width, area->steps, dst);
        else
            round_row(MK_F32, row, width, area->steps, dst);
    }
    for (; t % STEP; t++)
        memset(area->k + (size_t)t * (size_t)padded, 0, (size_t)padded * sizeof(uint16_t));
}

/* The rows' latents as pairs of tokens. Unpacking stays within lanes of 128 bits, so of 32 elements
 * the first tile gets 0-3, 8-11, 16-19, 24-27 and the second the others: `finish` sorts them. */
static void pair_tokens(const struct area *area, int n)
{
    for (int t = 0; t < n; t += 2) {
        const uint16_t *a = area->k + (size_t)t * (size_t)area->steps * STEP;
        const uint16_t *b = a + (size_t)area->steps * STEP;
        uint16_t *dst = area->v + (size_t)(t / STEP) * (size_t)area->dims * TILE + t % STEP * ROWS;
        for (int d = 0; d < area->dims; d += 2, a += STEP, b += STEP, dst += 2 * TILE) {
            __m512i x = _mm512_load_si512(a), y = _mm512_load_si512(b);
            _mm512_store_si512(dst, _mm512_unpacklo_epi16(x, y));
            _mm512_store_si512(dst + TILE, _mm512_unpackhi_epi16(x, y));
        }
    }
}

/* ------------------------------------------------------------------ scores and weights */

/* Two tiles of 16 tokens times up to two groups of queries. */
INLINE void score_tiles(const struct area *area, int tile, int group, int b)
{
    size_t line = (size_t)area->steps * STEP * sizeof(uint16_t);
    const uint16_t *k = area->k + (size_t)tile * ROWS * (size_t)area->steps * STEP;
    const uint16_t *below = k + ROWS * (size_t)area->steps * STEP;
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
        if (b > 1) {
            _tile_loadd(7, beside + s * TILE, LINE);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    float *score = area->score + (size_t)tile * ROWS * MK_ATTEND_ROWS + group * ROWS;
    enum { SCORE_LINE = MK_ATTEND_ROWS * sizeof(float) };
    _tile_stored(0, score, SCORE_LINE);
    _tile_stored(2, score + ROWS * MK_ATTEND_ROWS, SCORE_LINE);
    if (b > 1) {
        _tile_stored(1, score + ROWS, SCORE_LINE);
        _tile_stored(3, score + ROWS + ROWS * MK_ATTEND_ROWS, SCORE_LINE);
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

/* Up to two groups of queries times two tiles of elements. */
INLINE void mix_tiles(const struct area *area, int group, int dim, int steps, int a)
{
    float *out = area->out + ((size_t)group * (size_t)area->dims + (size_t)dim) * ROWS * ROWS;
    float *below = out + (size_t)area->dims * ROWS * ROWS;
    const uint16_t *p = area->p + (size_t)group * KEY_STEPS * TILE;
    const uint16_t *v = area->v + (size_t)dim * TILE;
    _tile_loadd(0, out, LINE);
    _tile_loadd(1, out + ROWS * ROWS, LINE);
    if (a > 1) {
        _tile_loadd(2, below, LINE);
        _tile_loadd(3, below + ROWS * ROWS, LINE);
    }
    for (int s = 0; s < steps; s++, p += TILE, v += (size_t)area->dims * TILE) {
        _tile_loadd(4, p, LINE);
        _tile_loadd(6, v, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, v + TILE, LINE);
        _tile_dpbf16ps(1, 4, 7);
        if (a > 1) {
            _tile_loadd(5, p + KEY_STEPS * TILE, LINE);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out, LINE);
    _tile_stored(1, out + ROWS * ROWS, LINE);
    if (a > 1) {
        _tile_stored(2, below, LINE);
        _tile_stored(3, below + ROWS * ROWS, LINE);
    }
}

/* One block for all queries: n tokens from `from` on. */
static void block(const struct mk_attend_rows *a, const struct area *area, int from, int n)
{
    int steps = (n + STEP - 1) / STEP;
    load_keys(a, area, from, n);
    pair_tokens(area, steps * STEP);
    for (int g = 0; g < area->groups; g += 2)
        for (int tile = 0; tile < 2 * steps; tile += 2)
            if (g + 1 < area->groups)
                score_tiles(area, tile, g, 2);
            else
                score_tiles(area, tile, g, 1);
    for (int g = 0; g < area->groups; g++) {
        __m512 shrink = weigh(area, g, from, steps * STEP);
        if (_mm512_cmp_ps_mask(shrink, _mm512_set1_ps(1), _CMP_NEQ_UQ))
            shrink_out(area, g, shrink);
    }
    for (int g = 0; g < area->groups; g += 2)
        for (int d = 0; d < area->dims; d += 2)
            if (g + 1 < area->groups)
                mix_tiles(area, g, d, steps, 2);
            else
                mix_tiles(area, g, d, steps, 1);
}

static void finish(const struct mk_attend_rows *a, const struct area *area)
{
    for (int i = 0; i < a->m; i++) {
        const float *src =
            area->out +
            ((size_t)(i / ROWS) * (size_t)area->dims * ROWS + (size_t)(i % ROWS)) * ROWS;
        float *dst = a->out + (size_t)i * (size_t)a->ldo;
        __m512 sum = _mm512_set1_ps(area->sum[i]);
        for (int c = 0; c < a->latent; c += STEP, src += 2 * ROWS * ROWS) {
            __m512 x = _mm512_load_ps(src), y = _mm512_load_ps(src + ROWS * ROWS);
            __m512 low = _mm512_shuffle_f32x4(x, y, 0x44);  /* x0 x1 y0 y1 */
            __m512 high = _mm512_shuffle_f32x4(x, y, 0xee); /* x2 x3 y2 y3 */
            low = _mm512_shuffle_f32x4(low, low, 0xd8);
            high = _mm512_shuffle_f32x4(high, high, 0xd8);
            _mm512_mask_storeu_ps(dst + c, first(a->latent - c), _mm512_div_ps(low, sum));
            if (a->latent - c > 16)
                _mm512_mask_storeu_ps(dst + c + 16, first(a->latent - c - 16),
                                      _mm512_div_ps(high, sum));
        }
    }
}

static void attend_rows(const struct mk_attend_rows *a)
{
    struct area area;
    int most = 0;
    lay_out(a, &area);
    begin(a, &area);
    for (int i = 0; i < a->m; i++)
        most = a->n[i] > most ? a->n[i] : most;
    open_tiles();
    for (int from = 0; from < most; from += KEYS)
        block(a, &area, from, most - from < KEYS ? most - from : KEYS);
    _tile_release();
    finish(a, &area);
}

void mk_amx_attn(struct mk *mk)
{
    mk->attend_rows = attend_rows;
}
