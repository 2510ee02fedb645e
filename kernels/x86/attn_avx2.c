/* SPDX-License-Identifier: MIT
 *
 * Latent attention on AVX2, straight from the 16-bit cache: rows are widened in registers, for
 * up to four heads at a time.
 *
 * What a head computes doesn't depend on the heads beside it: a score is summed like a product in
 * mat_avx2.c (chunk c of 8 in accumulator c % 2, one tree at the end), and out takes the tokens
 * one after the other, page by page. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "mk.h"
#include "ymm.h"

enum {
    CHUNK = 8,
    MOST_HEADS = 4,
    MOST_SCORES = 4, /* heads × tokens in one go, two accumulators each */
    MOST_OUT = 8,    /* heads × chunks of out in registers */
};

INLINE int element_bytes(enum mk_type type)
{
    return type == MK_F32 ? 4 : 2;
}

/* Elements c … c + n - 1 of a cache row as floats, n at most a chunk; the rest is zero and not
 * touched. */
INLINE __m256 widen(enum mk_type type, const uint8_t *row, int c, int n)
{
    const uint8_t *p = row + (size_t)c * (size_t)element_bytes(type);
    if (type == MK_F32)
        return n < CHUNK ? _mm256_maskload_ps((const void *)p, first(n))
                         : _mm256_loadu_ps((const void *)p);
    __m128i half = _mm_setzero_si128();
    if (n < CHUNK)
        memcpy(&half, p, 2 * (size_t)n);
    else
        half = _mm_loadu_si128((const void *)p);
    if (type == MK_F16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* One page as H heads see it. */
struct view {
    const uint8_t *rows;
    size_t row_bytes;
    int tokens, width, latent;
    const float *q[MOST_HEADS];
    float *score[MOST_HEADS]; /* a page of them; later the weights of the softmax */
    float *out[MOST_HEADS];
};

/* Scores of T tokens from token t on. */
INLINE void score_tokens(enum mk_type type, const struct view *v, int t, int H, int T)
{
    __m256 acc[MOST_SCORES][2], sum[MOST_SCORES];
    const uint8_t *row = v->rows + (size_t)t * v->row_bytes;
    int c = 0;

    for (int s = 0; s < H * T; s++)
        acc[s][0] = acc[s][1] = _mm256_setzero_ps();
    for (; c + 2 * CHUNK <= v->width; c += 2 * CHUNK)
        for (int a = 0; a < 2; a++)
            for (int i = 0; i < T; i++) {
                __m256 r = widen(type, row + (size_t)i * v->row_bytes, c + CHUNK * a, CHUNK);
                for (int h = 0; h < H; h++)
                    acc[h * T + i][a] = _mm256_fmadd_ps(r, _mm256_loadu_ps(v->q[h] + c + CHUNK * a),
                                                        acc[h * T + i][a]);
            }
    if (c < v->width)
        for (int a = 0; a < 2 && c + CHUNK * a < v->width; a++) {
            int left = v->width - c - CHUNK * a < CHUNK ? v->width - c - CHUNK * a : CHUNK;
            for (int i = 0; i < T; i++) {
                __m256 r = widen(type, row + (size_t)i * v->row_bytes, c + CHUNK * a, left);
                for (int h = 0; h < H; h++)
                    acc[h * T + i][a] =
                        _mm256_fmadd_ps(r, _mm256_maskload_ps(v->q[h] + c + CHUNK * a, first(left)),
                                        acc[h * T + i][a]);
            }
        }

    float score[MOST_SCORES];
    for (int s = 0; s < MOST_SCORES; s++)
        sum[s] = s < H * T ? _mm256_add_ps(acc[s][0], acc[s][1]) : _mm256_setzero_ps();
    for (int s = 0; s < H * T; s += 4)
        _mm_storeu_ps(score + s, sum4(sum + s));
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++)
            v->score[h][t + i] = score[h * T + i];
}

/* Turns scores into weights relative to the largest so far; returns by how much the past shrinks.
 */
INLINE float weigh(float *score, int n, float *top, float *sum)
{
    __m256 lowest = _mm256_set1_ps(-INFINITY), best = lowest;
    for (int t = 0; t < n; t += CHUNK) {
        __m256i mask = first(n - t);
        __m256 s = _mm256_maskload_ps(score + t, mask);
        best = _mm256_max_ps(_mm256_blendv_ps(lowest, s, _mm256_castsi256_ps(mask)), best);
    }
    float new_top = max8(best);
    new_top = new_top > *top ? new_top : *top;

    __m256 shift = _mm256_set1_ps(new_top), total = _mm256_setzero_ps(), none = total;
    for (int t = 0; t < n; t += CHUNK) {
        __m256i mask = first(n - t);
        __m256 p = exp8(_mm256_sub_ps(_mm256_maskload_ps(score + t, mask), shift));
        total = _mm256_add_ps(total, _mm256_and_ps(p, _mm256_castsi256_ps(mask)));
        _mm256_maskstore_ps(score + t, mask, p);
    }
    const __m256 only[4] = {total, none, none, none};
    float shrink = _mm256_cvtss_f32(exp8(_mm256_set1_ps(*top - new_top)));
    *sum = *sum * shrink + _mm_cvtss_f32(sum4(only));
    *top = new_top;
    return shrink;
}

/* Adds the page to C chunks of every out, from element c on. */
INLINE void mix_chunks(enum mk_type type, const struct view *v, const float *shrink, int c, int H,
                       int C, int n)
{
    __m256 acc[MOST_OUT];
    __m256i mask = first(n);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < C; i++)
            acc[h * C + i] = _mm256_mul_ps(_mm256_maskload_ps(v->out[h] + c + CHUNK * i, mask),
                                           _mm256_set1_ps(shrink[h]));
    for (int t = 0; t < v->tokens; t++) {
        const uint8_t *row = v->rows + (size_t)t * v->row_bytes;
        for (int i = 0; i < C; i++) {
            __m256 r = widen(type, row, c + CHUNK * i, n);
            for (int h = 0; h < H; h++)
                acc[h * C + i] = _mm256_fmadd_ps(_mm256_set1_ps(v->score[h][t]), r, acc[h * C + i]);
        }
    }
    for (int h = 0; h < H; h++)
        for (int i = 0; i < C; i++)
            _mm256_maskstore_ps(v->out[h] + c + CHUNK * i, mask, acc[h * C + i]);
}

/* H heads from head `from` on, over all pages. */
INLINE void attend_heads(enum mk_type type, const struct mk_attend *a, int from, int H)
{
    const int T = MOST_SCORES / H, C = MOST_OUT / H;
    float top[MOST_HEADS], sum[MOST_HEADS], shrink[MOST_HEADS];
    struct view v = {.width = a->latent + a->rope, .latent = a->latent};
    v.row_bytes = (size_t)v.width * (size_t)element_bytes(type);

    for (int h = 0; h < H; h++) {
        v.q[h] = a->q + (size_t)(from + h) * (size_t)a->ldq;
        v.out[h] = a->out + (size_t)(from + h) * (size_t)a->ldo;
        v.score[h] = a->tmp + (size_t)h * (size_t)a->page_tokens;
        top[h] = -INFINITY;
        sum[h] = 0;
        for (int c = 0; c < a->latent; c += CHUNK)
            _mm256_maskstore_ps(v.out[h] + c, first(a->latent - c), _mm256_setzero_ps());
    }

    for (int seen = a->from; seen < a->to; seen += a->page_tokens) {
        v.rows = a->page[seen / a->page_tokens];
        v.tokens = a->to - seen < a->page_tokens ? a->to - seen : a->page_tokens;

        int t = 0;
        for (; t + T <= v.tokens; t += T)
            score_tokens(type, &v, t, H, T);
        for (; t < v.tokens; t++)
            score_tokens(type, &v, t, H, 1);
        for (int h = 0; h < H; h++)
            shrink[h] = weigh(v.score[h], v.tokens, &top[h], &sum[h]);

        int c = 0;
        for (; c + CHUNK * C <= v.latent; c += CHUNK * C)
            mix_chunks(type, &v, shrink, c, H, C, CHUNK);
        for (; c < v.latent; c += CHUNK)
            mix_chunks(type, &v, shrink, c, H, 1, v.latent - c < CHUNK ? v.latent - c : CHUNK);
    }

    for (int h = 0; h < H; h++)
        a->peak[from + h] = (struct mk_peak){top[h], sum[h]};
}

INLINE void attend_type(enum mk_type type, const struct mk_attend *a)
{
    int h = 0;
    for (; h + 4 <= a->n_heads; h += 4)
        attend_heads(type, a, h, 4);
    for (; h + 2 <= a->n_heads; h += 2)
        attend_heads(type, a, h, 2);
    if (h < a->n_heads)
        attend_heads(type, a, h, 1);
}

static void attend(const struct mk_attend *a)
{
    if (a->type == MK_F32)
        attend_type(MK_F32, a);
    else if (a->type == MK_F16)
        attend_type(MK_F16, a);
    else
        attend_type(MK_BF16, a);
}

static void merge(const struct mk_merge *m)
{
    float top = -INFINITY;
    for (int p = 0; p < m->n; p++) {
        float other = m->peak[(size_t)p * m->peak_stride].top;
        top = other > top ? other : top;
    }
    float sum = 0;
    for (int p = 0; p < m->n; p++) {
        const struct mk_peak *peak = m->peak + (size_t)p * m->peak_stride;
        const float *part = m->part + (size_t)p * m->part_stride;
        __m256 weight = exp8(_mm256_set1_ps(peak->top - top));
        sum += _mm256_cvtss_f32(weight) * peak->sum;
        for (int c = 0; c < m->latent; c += CHUNK) {
            __m256i mask = first(m->latent - c);
            __m256 x = _mm256_mul_ps(_mm256_maskload_ps(part + c, mask), weight);
            if (p)
                x = _mm256_add_ps(x, _mm256_maskload_ps(m->out + c, mask));
            _mm256_maskstore_ps(m->out + c, mask, x);
        }
    }
    for (int c = 0; c < m->latent; c += CHUNK) {
        __m256i mask = first(m->latent - c);
        __m256 x = _mm256_maskload_ps(m->out + c, mask);
        _mm256_maskstore_ps(m->out + c, mask, _mm256_div_ps(x, _mm256_set1_ps(sum)));
    }
}

void mk_avx2_attn(struct mk *mk)
{
    mk->attend = attend;
    mk->merge = merge;
}
