/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of the house: a table of kernels, and every kernel's contract.
 *
 * mk_init() fills a plain struct once; it is never a global, so that a test can hold two and
 * compare them. Kernels work on pointers and sizes: no allocation, failure, lock, log, thread or
 * global. Which thread runs what is the place's business. The functions of ref/ (prefix mk_ref_)
 * are the truth; every faster one proves in tests/mkcheck that it agrees.
 *
 * What one row computes depends on that row alone: y[i] has the same bits for every m, n0 and n1,
 * so that an answer never depends on its neighbours. gemv, gemm and gemm_coarse of one mk_mat may
 * differ: which a row takes is the row's own nature, never how many rows happen to meet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "type.h"

/* ------------------------------------------------------------------ multiply */

/**
 * One tile of  y[yrow(i)][j] (+)= Σ_c x[xrow(i)][c] · w[j][c],   i in [0, m), j in [n0, n1)
 *
 *   x       float32, row stride ldx elements; row i is at x + xrow[i] * ldx (xrow NULL: i)
 *   w       the whole matrix [n][k], packed by the same mk_mat
 *   y       float32, row stride ldy; row i at y + yrow[i] * ldy; must not overlap x;
 *           rows named twice in yrow are added one after the other
 *   tmp     scratch of mk_mm_tmp(k, m) floats, 64-byte aligned, one a thread
 *   needs   m ≥ 1, 0 ≤ n0 ≤ n1 ≤ n, k a multiple of the type's block
 *   fails   never           thread   any; pure but for y and tmp
 */
struct mk_mm {
    const float *x;
    const void *rounded; /* the same rows by mk->round(), mk_rounded_bytes(k) apart; NULL: a kernel
                          * that wants them rounds in tmp */
    const void *w;
    float *y;
    float *tmp;
    const int32_t *xrow, *yrow; /* NULL: rows in order */
    int m, n, k;
    int n0, n1;
    int ldx, ldy;
    bool add; /* add to y instead of writing it */
};

/* Rows of length k that are unpacked together where that pays: as many as make a megabyte of
 * bf16, which an L2 cache holds, in pairs of tiles. */
static inline int mk_mm_panel_rows(int k)
{
    size_t rows = ((size_t)1024 << 10) / (2 * (size_t)k) / 32 * 32;
    return rows < 32 ? 32 : rows > 256 ? 256 : (int)rows;
}

/* Floats of scratch that one thread needs to multiply m rows of length k. */
static inline size_t mk_mm_tmp(int k, int m)
{
    size_t length = ((size_t)k + 63) / 64 * 64, rows = ((size_t)m + 15) / 16 * 16;
    return 8192 + 16 * length + (size_t)mk_mm_panel_rows(k) * length / 2 + rows * (length / 2 + 64);
}

/* ------------------------------------------------------------------ x as integers */

enum { MK_DOT_GROUP = 256 };      /* elements of x that are rounded to int8 with one step */
#define MK_DOT_LEAST    0x1p-100f /* a group whose largest is less is all zero */
#define MK_ROUNDED_K(k) (((k) + 63) / 64 * 64)

/* A row of x rounded to int8, element by element within half a step. */
struct mk_rounded {
    int8_t *q;       /* [MK_ROUNDED_K(k)] multiples of the group's step; zero behind k */
    float *step;     /* [⌈k / 256⌉] a 127th of the group's largest; NaN if one is not finite */
    int32_t *less32; /* minus the sum of each 32, */
    int32_t *less16; /* and of each 16 */
};

static inline size_t mk_rounded_bytes(int k)
{
    size_t padded = (size_t)MK_ROUNDED_K(k);
    size_t steps = (padded + MK_DOT_GROUP - 1) / MK_DOT_GROUP;
    return (padded + 4 * (steps + padded / 32 + padded / 16) + 63) / 64 * 64;
}

/* The parts of such a row. */
static inline struct mk_rounded mk_rounded_row(const void *row, int k)
{
    size_t padded = (size_t)MK_ROUNDED_K(k);
    int8_t *q = (int8_t *)(uintptr_t)row;
    int32_t *less32 = (int32_t *)(uintptr_t)(q + padded), *less16 = less32 + padded / 32;
    return (struct mk_rounded){q, (float *)(uintptr_t)(less16 + padded / 16), less32, less16};
}

/**
 * A row of weights times a row of x rounded to int8: the truth of sets whose gemv rounds x, and
 * within a 254th of a group's largest x of the exact product, weight by weight.
 *
 *   false   no set rounds x for this type; nothing is written
 */
bool mk_ref_dot(enum mk_type type, const void *w, const float *x, int k, float *ret);
/* The same with weights rounded as well, to a 252th of the largest that the codes and scales of
 * their group allow, either way: the truth of gemm. */
bool mk_ref_mul(enum mk_type type, const void *w, const float *x, int k, float *ret);

enum mk_layout {
    MK_ROWS,   /* the rows of a file as they are */
    MK_STRIPS, /* strip.h */
};

/* What a product is the sum of. */
enum mk_arithmetic {
    MK_FLOATS, /* float32 of exact weights and x */
    MK_HALVES, /* both rounded to bf16 */
    MK_CODES,  /* exact weights, x as integers: mk_ref_dot() */
    MK_BYTES,  /* both as integers: mk_ref_mul() */
};

/* One number format on one instruction set. */
struct mk_mat {
    const char *isa;                                        /* "c", "avx2", "avx512", "amx" */
    enum mk_type type;                                      /* what it packs from */
    enum mk_layout layout;                                  /* of packed matrices */
    size_t (*pack_size)(int n, int k);                      /* bytes of a packed [n][k] matrix */
    void (*pack)(void *dst, const void *src, int n, int k); /* from GGUF rows */
    void (*gemv)(const struct mk_mm *mm);                   /* few rows: bound by memory */
    void (*gemm)(const struct mk_mm *mm);                   /* many rows: bound by arithmetic */
    void (*gemm_coarse)(const struct mk_mm *mm);            /* the same where errors average out */
    enum mk_arithmetic few, many, coarse;                   /* of gemv, gemm and gemm_coarse */
    void (*row)(float *dst, const void *w, int n, int k, int j); /* unpack row j of a packed w */
};

/* ------------------------------------------------------------------ attention */

/* Bytes of a token's row in a cache of F32, F16 or BF16: the latent, then its rotated key. In one
 * of Q8_0 the latent alone is that, and the key is BF16; `latent` is then a multiple of its block.
 */
static inline size_t mk_cache_row_bytes(enum mk_type type, int latent, int rope)
{
    if (type == MK_Q8_0)
        return mk_row_bytes(MK_Q8_0, (size_t)latent) + mk_row_bytes(MK_BF16, (size_t)rope);
    return mk_row_bytes(type, (size_t)(latent + rope));
}

enum {
    MK_ATTEND_PART = 1024, /* tokens of a part: answers' caches are cut by position, see mk_merge */
    MK_ATTEND_KEYS = 128,  /* tokens that sets with tiles take at once */
    MK_ATTEND_HEADS = 64,  /* heads that they take at once; more are taken by turns */
};

/* What a softmax over some tokens comes to: the largest score, and Σ e^(score - top). */
struct mk_peak {
    float top, sum;
};

/**
 * Latent attention of one query row in the absorbed form, over a part of what it sees, for n_heads
 * heads that share the cache.
 *
 *   score_h(t) = q_h · [c_t | kpe_t]      out_h = Σ_t e^(score_h(t) - top_h) · c_t
 *
 *   q       [n_heads][ldq] float32: latent part, then rope part; the softmax scale multiplied in
 *   page    page p holds tokens [p · page_tokens, …): rows of latent + rope elements of `type`
 *   from    the first position, of a page's first token
 *   to      behind the last one; from < to
 *   next    tokens [to, next) may be fetched ahead: who attends to this part often does to the next
 *   out     [n_heads][ldo] float32, `latent` wide, not divided yet: mk_merge does that
 *   peak    [n_heads]
 *   tmp     mk_attend_tmp(page_tokens, latent, rope) floats, 64-byte aligned
 *   order   tokens in order, one running softmax from `from` on; never by thread or by neighbours
 *   type    MK_F32, MK_F16 or MK_BF16
 *   rounds  with tiles and MK_BF16: queries and weights to bf16; sums are float32
 *   source  DeepSeek-V2 report, section 2.1 and appendix C
 */
struct mk_attend {
    const float *q;
    const void *const *page;
    float *out;
    struct mk_peak *peak;
    float *tmp;
    enum mk_type type;
    int n_heads, ldq, ldo;
    int latent, rope;
    int page_tokens;
    int from, to, next;
};

/**
 * One head's parts become what it found: each counts by its sum, relative to the largest top.
 *
 *   part    part p is at part + p * part_stride, its peak at peak + p * peak_stride; n parts
 *   out     [latent]; may be part 0
 *   order   parts in order
 */
struct mk_merge {
    const float *part;
    const struct mk_peak *peak;
    float *out;
    size_t part_stride, peak_stride;
    int n, latent;
};

#define MK_ATTEND_PADDED(n) (((n) + 31) / 32 * 32)

static inline size_t mk_attend_tmp(int page_tokens, int latent, int rope)
{
    size_t page = (size_t)page_tokens * (size_t)(latent + rope) + 4 * (size_t)page_tokens + 64;
    size_t width = (size_t)MK_ATTEND_PADDED(latent + rope),
           padded = (size_t)MK_ATTEND_PADDED(latent);
    size_t halves =
        (MK_ATTEND_HEADS + MK_ATTEND_KEYS) * width + 4 * MK_ATTEND_HEADS * MK_ATTEND_KEYS;
    size_t tiles = halves / 2 + MK_ATTEND_KEYS * MK_ATTEND_HEADS + MK_ATTEND_HEADS * padded +
                   3 * MK_ATTEND_HEADS;
    return page > tiles ? page : tiles;
}

enum {
    MK_PROMPT_ROWS = 64,   /* most rows of mk_prompt_rows */
    MK_PROMPT_SPAN = 1024, /* most tokens whose keys and values lie ready, cut by position */
    MK_PROMPT_TOKENS = 48, /* whose latents become floats together, on sets without tiles */
};

/**
 * Attention of a prompt's rows with keys and values made from the latents, for one head: a quarter
 * of the products of the absorbed form. Plain C has none, NULL in the table.
 *
 *   key(t) = [k_bᵀ · c_t | kpe_t]     value(t) = v_b · c_t     score(t) = q · key(t)
 *
 * prompt_head takes the head's matrices; for each span in order, prompt_expand makes its keys and
 * values, and prompt_attend lets rows see them, as many at a time as there are.
 *
 *   k_b, v_b  float32 [latent][nope] and [value][latent]
 *   tmp       mk_prompt_tmp(…) floats, 64-byte aligned; holds the head and the span
 *   rounds    with tiles: everything that is multiplied to bf16; sums are float32
 */
struct mk_prompt {
    int latent, nope, rope, value;
    float *tmp;
};

/* Tokens [from, to) of a sequence: from a multiple of MK_PROMPT_SPAN, and at most so many. */
struct mk_prompt_span {
    const void *const *page;
    enum mk_type type; /* MK_BF16; without tiles MK_F16, too */
    int page_tokens;
    int from, to;
};

/**
 * Rows of the sequence, in the order of their positions.
 *
 *   q       [m][ldq] float32: nope, then rotated part; the softmax scale multiplied in
 *   n       [m] tokens visible to each row, n ≥ 1
 *   m       1 … MK_PROMPT_ROWS
 *   out     [m][ldo] float32, `value` wide, peak [m]: what is known after the spans so far, of
 *           which the first writes them; out is divided once a row has seen its n tokens
 */
struct mk_prompt_rows {
    const float *q;
    const int32_t *n;
    float *out;
    struct mk_peak *peak;
    int m, ldq, ldo;
};

/* As much as floats take; tiles are content with less. */
static inline size_t mk_prompt_tmp(int latent, int nope, int rope, int value)
{
    size_t padded = (size_t)MK_ATTEND_PADDED(latent), values = (size_t)MK_ATTEND_PADDED(value);
    size_t key = (size_t)MK_ATTEND_PADDED(nope) + (size_t)MK_ATTEND_PADDED(rope);
    return padded * ((size_t)MK_ATTEND_PADDED(nope) + values) + MK_PROMPT_SPAN * (key + values) +
           MK_PROMPT_TOKENS * padded + MK_PROMPT_ROWS / 2 * (key + MK_ATTEND_KEYS + values + 3);
}

/* ------------------------------------------------------------------ router */

enum mk_gate {
    MK_GATE_SOFTMAX, /* p = softmax(z), chosen by p (V2) */
    MK_GATE_SIGMOID, /* s = sigmoid(z), chosen by s + bias (V3) */
};

/**
 * Chooses n_used of n_experts experts for one token, best first; ties go to the lower index.
 * A NaN counts as the lowest score, so n_used distinct valid experts always come out.
 *
 *   groups      n_groups > 1 keeps the best n_groups_used groups: softmax scores a group by its
 *               best expert, sigmoid by the sum of its two best (score + bias)
 *   weight      score without bias; `norm`: divided by (sum + 1e-20), if n_used > 1 for softmax;
 *               then times `scale`, but softmax with norm is not scaled (V2 norms or scales)
 *   tmp         2 * n_experts floats
 *   source      architecture of V2 (section 2.2.1 of its report) and V3 (section 2.1.2)
 */
struct mk_route {
    enum mk_gate gate;
    int n_experts, n_used;
    int n_groups, n_groups_used;
    bool norm;
    float scale;
    const float *bias; /* [n_experts], or NULL */
};

/* ------------------------------------------------------------------ rope */

/* YaRN as architecture says; factor ≤ 1 or yarn = false: plain frequencies. */
struct mk_rope {
    int n_dims; /* rotated elements, even */
    double theta;
    bool yarn;
    double factor, original_context, beta_fast, beta_slow;
};

/* ------------------------------------------------------------------ the table */

struct mk {
    const char *isa; /* best set used, of mk_isa_names */
    struct mk_mat mat[MK_TYPE_COUNT];

    /* x[k] to a row of mk_rounded_bytes(k) at dst, 64-byte aligned, with the same bits on every
     * set. */
    void (*round)(void *dst, const float *x, int k);

    /* y[n] = w[n] · x[n] / sqrt(mean(x²) + eps); y may be x. The mean is summed in float32 lanes
     * of a fixed order on each set. */
    void (*rms_norm)(float *y, const float *x, const float *w, int n, float eps);
    /* Rotates adjacent pairs (x[2i], x[2i+1]); cs holds n / 2 pairs (cos, sin). */
    void (*rope)(float *x, const float *cs, int n);
    /* y[n] = silu(gate) · up; y may be gate or up. */
    void (*swiglu)(float *y, const float *gate, const float *up, int n);
    /* x[n] = softmax(x), maximum subtracted. */
    void (*softmax)(float *x, int n);
    void (*attend)(const struct mk_attend *a);
    void (*merge)(const struct mk_merge *m);
    enum mk_type latents; /* the number format in which attend likes the cache best */
    void (*prompt_head)(const struct mk_prompt *p, const float *k_b, const float *v_b);
    void (*prompt_expand)(const struct mk_prompt *p, const struct mk_prompt_span *span);
    void (*prompt_attend)(const struct mk_prompt *p, const struct mk_prompt_span *span,
                          const struct mk_prompt_rows *rows);
    void (*route)(const struct mk_route *r, const float *logits, int32_t *expert, float *weight,
                  float *tmp);
    /* dst[n] of `type` (F32, F16, BF16; round to nearest even) from float32, for the cache. */
    void (*store)(void *dst, enum mk_type type, const float *src, int n);
    /* The same as Q8_0, n a multiple of its block, with the same bits on every set. The step is a
     * power of two of which the block's largest number is 64 to 128, but at least 2^-24; codes are
     * rounded to nearest even, and at most 127. A block with an element of 32768 or more, or with a
     * NaN, becomes all NaN. */
    void (*narrow)(void *dst, const float *src, int n);
    /* n rows of such a cache as rows of one in BF16, which has all their numbers. As many at
     * `ahead` are fetched meanwhile, if it isn't NULL: who widens a page will want the next. */
    void (*widen)(void *dst, const void *src, const void *ahead, int latent, int rope, int n);
};

/* Names of the instruction sets, slowest first, ended by NULL. */
extern const char *const mk_isa_names[];

/**
 * Fill the table with the best kernels this CPU runs, no better than `isa` (NULL: the best).
 *
 *   fails   -EINVAL: no such name; -ENOTSUP: this CPU or this build lacks it
 */
int mk_init(struct mk *ret, const char *isa);

/* ------------------------------------------------------------------ the truth: ref/ */

/* n weights of `type` at src to float32, bit for bit as the format's documents say. */
void mk_ref_unpack(enum mk_type type, const void *src, float *dst, size_t n);
void mk_ref_round(void *dst, const float *x, int k);
/* The table of plain C kernels alone; what mk_init(…, "c") gives. */
void mk_ref_init(struct mk *ret);
/* Frequencies [n_dims / 2] of the rotation. */
void mk_rope_frequencies(const struct mk_rope *rope, double *ret);
/* (cos, sin) pairs for one position: cs[n_dims]. Computed in double. */
void mk_rope_table(const double *frequency, int n_dims, int64_t position, float *cs);

/**
 * Latent attention in the naive form for one head: keys and values as expanded from the latents.
 *
 *   q [key]  scale multiplied in;  k [n][key];  v [n][value];  out [value];  tmp n floats
 */
void mk_ref_attend_naive(const float *q, const float *k, const float *v, float *out, int n, int key,
                         int value, float *tmp);

/* ------------------------------------------------------------------ the entry points of each set
 *
 * Each puts its kernels over those that the table already has. For table.c; others call mk_init().
 */
void mk_ref_mat(struct mk *mk);
void mk_ref_vec(struct mk *mk);
void mk_ref_attn(struct mk *mk);
void mk_ref_narrow(struct mk *mk);
void mk_avx2_mat(struct mk *mk);
void mk_avx2_strip(struct mk *mk);
void mk_avx2_vec(struct mk *mk);
void mk_avx2_attn(struct mk *mk);
void mk_avx2_prompt(struct mk *mk);
void mk_avx2_narrow(struct mk *mk);
void mk_avx512_mat(struct mk *mk);
void mk_avx512_strip(struct mk *mk);
void mk_avx512_vec(struct mk *mk);
void mk_avx512_attn(struct mk *mk);
void mk_avx512_prompt(struct mk *mk);
void mk_avx512_narrow(struct mk *mk);
void mk_amx_mat(struct mk *mk);
void mk_amx_attn(struct mk *mk);
void mk_amx_prompt(struct mk *mk);
extern const struct mk_mat mk_avx512_rows[MK_TYPE_COUNT]; /* of types that are rows */
extern void (*const mk_avx512_many[MK_TYPE_COUNT])(const struct mk_mm *mm); /* gemm of strips */
/* gemm_coarse of strips; NULL: a type without */
extern void (*const mk_avx512_mul[MK_TYPE_COUNT])(const struct mk_mm *mm);
extern void (*const mk_amx_mul[MK_TYPE_COUNT])(const struct mk_mm *mm);
void mk_avx512_attend(const struct mk_attend *a); /* what AMX leaves to AVX-512 */
