/* SPDX-License-Identifier: MIT
 *
 * The truth of attention: over the latents themselves (absorbed), and over keys and values as
 * expanded from them (naive), which must say the same.
 *
 * Plain C without contraction. Pure; any thread.
 */
#include <math.h>

#include "mk.h"

static float dot(const float *a, const float *b, int n)
{
    float lane[8] = {0};
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] += a[i + l] * b[i + l];
    for (int l = 0; i + l < n; l++)
        lane[l] += a[i + l] * b[i + l];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* What a running softmax knows: the largest score so far, and the sum relative to it. */
struct running {
    float top, sum;
};

/* Lets one head see `tokens` more rows of the cache. */
static void see(struct running *run, const float *q, float *out, const float *rows, float *score,
                int tokens, int latent, int rope)
{
    int width = latent + rope;
    float top = run->top;
    for (int t = 0; t < tokens; t++) {
        score[t] = dot(q, rows + (size_t)t * (size_t)width, width);
        top = score[t] > top ? score[t] : top;
    }

    float shrink = expf(run->top - top);
    run->top = top;
    run->sum *= shrink;
    for (int c = 0; c < latent; c++)
        out[c] *= shrink;
    for (int t = 0; t < tokens; t++) {
        float p = expf(score[t] - top);
        run->sum += p;
        for (int c = 0; c < latent; c++)
            out[c] += p * rows[(size_t)t * (size_t)width + (size_t)c];
    }
}

static void attend(const struct mk_attend *a)
{
    size_t width = (size_t)(a->latent + a->rope);
    float *rows = a->tmp, *score = a->tmp + (size_t)a->page_tokens * width;

    for (int h = 0; h < a->n_heads; h++) {
        struct running run = {-INFINITY, 0};
        float *out = a->out + (size_t)h * (size_t)a->ldo;
        for (int c = 0; c < a->latent; c++)
            out[c] = 0;
        for (int first = a->from; first < a->to; first += a->page_tokens) {
            int tokens = a->to - first < a->page_tokens ? a->to - first : a->page_tokens;
            mk_ref_unpack(a->type, a->page[first / a->page_tokens], rows, (size_t)tokens * width);
            see(&run, a->q + (size_t)h * (size_t)a->ldq, out, rows, score, tokens, a->latent,
                a->rope);
        }
        a->peak[h] = (struct mk_peak){run.top, run.sum};
    }
}

static void merge(const struct mk_merge *m)
{
    float top = -INFINITY, sum = 0;
    for (int p = 0; p < m->n; p++)
        top = m->peak[(size_t)p * m->peak_stride].top > top
                  ? m->peak[(size_t)p * m->peak_stride].top
                  : top;
    for (int p = 0; p < m->n; p++) {
        const struct mk_peak *peak = m->peak + (size_t)p * m->peak_stride;
        const float *part = m->part + (size_t)p * m->part_stride;
        float weight = expf(peak->top - top);
        sum += weight * peak->sum;
        for (int c = 0; c < m->latent; c++)
            m->out[c] = weight * part[c] + (p ? m->out[c] : 0);
    }
    for (int c = 0; c < m->latent; c++)
        m->out[c] /= sum;
}

void mk_ref_attend_naive(const float *q, const float *k, const float *v, float *out, int n, int key,
                         int value, float *tmp)
{
    float top = -INFINITY, sum = 0;
    for (int t = 0; t < n; t++) {
        tmp[t] = dot(q, k + (size_t)t * (size_t)key, key);
        top = tmp[t] > top ? tmp[t] : top;
    }
    for (int t = 0; t < n; t++) {
        tmp[t] = expf(tmp[t] - top);
        sum += tmp[t];
    }
    for (int c = 0; c < value; c++)
        out[c] = 0;
    for (int t = 0; t < n; t++)
        for (int c = 0; c < value; c++)
            out[c] += tmp[t] / sum * v[(size_t)t * (size_t)value + (size_t)c];
}

void mk_ref_attn(struct mk *mk)
{
    mk->attend = attend;
    mk->merge = merge;
    mk->latents = MK_F16;
    mk->prompt_head = NULL;
    mk->prompt_expand = NULL;
    mk->prompt_attend = NULL;
}
