/* SPDX-License-Identifier: MIT
 *
 * Few rows on AVX-512 VNNI: x is rounded to int8, and codes meet it as integers.
 *
 * A dot product is cut into groups of 256 and chunks of 64: lane l of 16 has elements 4l … 4l + 3
 * of a chunk, whose integer sum is exact. One fused step a chunk multiplies it by the weights'
 * step, one more takes off what the weights' minimum adds, and one a group multiplies by x's step.
 * That is mk_ref_dot() bit for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "codes512.h"
#include "mk.h"

enum {
    CHUNK = 64,
    W_BLOCK = 4,  /* weight rows whose sums are stored together */
    X_BLOCK = 4,  /* x rows that share what was unpacked */
    AHEAD = 4096, /* bytes prefetched: the hardware alone lags behind */
};

/* A chunk of rounded x, and what goes with its lanes' sums: int32 to begin with, where codes are
 * counted from an offset, or float32 for the minimum. */
struct rounded {
    int8_t q[CHUNK];
    union {
        int32_t start[16];
        float sum[16];
    };
};

/* ------------------------------------------------------------------ formats */

INLINE bool is_legacy(enum mk_type type) /* blocks of 32, two a chunk */
{
    return mk_type_info[type].block_elements == 32;
}

INLINE bool has_minimum(enum mk_type type)
{
    return type == MK_Q4_1 || type == MK_Q5_1 || type == MK_Q2_K || type == MK_Q4_K ||
           type == MK_Q5_K;
}

/* What makes the codes of codes() unsigned. */
INLINE int offset_of(enum mk_type type)
{
    switch (type) {
    case MK_Q3_K:
        return 4;
    case MK_Q4_0:
        return 8;
    case MK_MXFP4:
        return 12;
    case MK_Q5_0:
        return 16;
    case MK_Q6_K:
        return 32;
    case MK_Q8_0:
    case MK_IQ4_NL:
    case MK_IQ4_XS:
        return 128;
    default:
        return 0;
    }
}

/* Where the nibbles of a block of 32 lie; 0: it has none. */
INLINE int nibbles_at(enum mk_type type)
{
    switch (type) {
    case MK_MXFP4:
        return 1;
    case MK_Q4_0:
    case MK_IQ4_NL:
        return 2;
    case MK_Q4_1:
        return 4;
    case MK_Q5_0:
        return 6;
    case MK_Q5_1:
        return 8;
    default:
        return 0;
    }
}

/* Of twice 16 bytes the low nibbles, then the high ones. */
INLINE __m512i nibbles64(__m128i a, __m128i b)
{
    const __m512i twice = _mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0);
    const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                           0x0004000400040004, 0x0004000400040004, 0, 0);
    __m512i v = _mm512_castsi256_si512(_mm256_set_m128i(b, a));
    v = _mm512_srlv_epi16(_mm512_permutexvar_epi64(twice, v), shift);
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

/* The fifth bits of two blocks. */
INLINE __mmask64 fifths(const uint8_t *a, const uint8_t *b)
{
    uint32_t low, high = 0;
    memcpy(&low, a, sizeof low);
    if (b)
        memcpy(&high, b, sizeof high);
    return (__mmask64)high << 32 | low;
}

/* What nibbles of uneven steps mean, and their offset, which makes it unsigned. */
INLINE __m512i look_up64(enum mk_type type, __m512i nibble)
{
    const __m128i uneven =
        _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15);
    const __m128i e2m1 = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(type == MK_MXFP4 ? e2m1 : uneven), nibble);
}

/* Unsigned codes of chunk c of the block at w, or of the two blocks there; only the first of them
 * if `half`. */
INLINE __m512i chunk_codes(enum mk_type type, const uint8_t *w, int c, bool half)
{
    const __m128i none = _mm_setzero_si128();
    const uint8_t *next = half ? NULL : w + mk_type_info[type].block_bytes;
    int at = nibbles_at(type);
    __m512i v;
    if (type == MK_Q8_0) {
        v = _mm512_inserti64x4(_mm512_castsi256_si512(load32(w + 2)),
                               half ? _mm256_setzero_si256() : load32(next + 2), 1);
    } else if (at) {
        v = nibbles64(load16(w + at), half ? none : load16(next + at));
        if (type == MK_Q5_0 || type == MK_Q5_1)
            return _mm512_mask_add_epi8(v, fifths(w + at - 4, half ? NULL : next + at - 4), v,
                                        _mm512_set1_epi8(16));
        return type == MK_IQ4_NL || type == MK_MXFP4 ? look_up64(type, v) : v;
    } else if (type == MK_IQ4_XS) {
        return look_up64(type, nibbles64(load16(w + 8 + 32 * c), load16(w + 24 + 32 * c)));
    } else {
        v = _mm512_inserti64x4(_mm512_castsi256_si512(codes(type, w, 2 * c)),
                               codes(type, w, 2 * c + 1), 1);
    }
    bool is_signed = type == MK_Q8_0 || type == MK_Q3_K || type == MK_Q6_K;
    return is_signed ? _mm512_add_epi8(v, _mm512_set1_epi8((char)offset_of(type))) : v;
}

/* Two half floats, eight lanes each. */
INLINE __m512 two_f16(const uint8_t *a, const uint8_t *b)
{
    short low, high = 0;
    memcpy(&low, a, sizeof low);
    if (b)
        memcpy(&high, b, sizeof high);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low)));
}

/* Two numbers, eight lanes each. */
INLINE __m512 two(float low, float high)
{
    return _mm512_insertf32x8(_mm512_set1_ps(low), _mm256_set1_ps(high), 1);
}

/* Numbers at, at + 1, … of the 16 at p: four of them four lanes each, or two of them eight. */
INLINE __m512 spread(const float *p, int at, bool wide)
{
    const __m512i fours = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m512i eights = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i lane = _mm512_add_epi32(wide ? eights : fours, _mm512_set1_epi32(at));
    return _mm512_permutexvar_ps(lane, _mm512_loadu_ps(p));
}

INLINE __m512 chunk_steps(enum mk_type type, const uint8_t *w, const struct block *b, int c,
                          bool half)
{
    const uint8_t *next = w + mk_type_info[type].block_bytes;
    if (type == MK_MXFP4)
        return two(e8m0_half(w[0]), half ? 0 : e8m0_half(next[0]));
    if (is_legacy(type))
        return two_f16(w, half ? NULL : next);
    bool wide = type == MK_Q4_K || type == MK_Q5_K || type == MK_IQ4_XS;
    return spread(b->step, (wide ? 2 : 4) * c, wide);
}

/* What is taken off for each unit of x: Q4_1 and Q5_1 add theirs. */
INLINE __m512 chunk_minimums(enum mk_type type, const uint8_t *w, const struct block *b, int c,
                             bool half)
{
    const uint8_t *next = w + mk_type_info[type].block_bytes;
    if (is_legacy(type))
        return _mm512_sub_ps(_mm512_setzero_ps(), two_f16(w + 2, half ? NULL : next + 2));
    return type == MK_Q2_K ? spread(b->offset, 4 * c, false) : spread(b->offset, 8 + 2 * c, true);
}

/* ------------------------------------------------------------------ x */

/* A group of n ≤ 256 becomes chunks of integers; returns its step. */
INLINE float round_group(const float *x, int n, int offset, bool minimum, struct rounded *dst)
{
    const __m512 size = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff));
    __m512 most = _mm512_setzero_ps();
    __mmask16 odd = 0;
    for (int c = 0; c < n; c += 16) {
        __m512 v = _mm512_and_ps(_mm512_maskz_loadu_ps(first(n - c), x + c), size);
        odd |= _mm512_cmp_ps_mask(v, _mm512_set1_ps(INFINITY), _CMP_NLT_UQ);
        most = _mm512_max_ps(v, most);
    }
    float top = _mm512_reduce_max_ps(most);
    bool none = odd || top < MK_DOT_LEAST;
    __m512 by = _mm512_set1_ps(none ? 0 : 127 / top);
    for (int c = 0; c < n; c += CHUNK, dst++) {
        for (int i = 0; i < CHUNK; i += 16) {
            __m512 v = _mm512_maskz_loadu_ps(odd ? 0 : first(n - c - i), x + c + i);
            __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, by));
            _mm_storeu_si128((void *)(dst->q + i), _mm512_cvtepi32_epi8(q));
        }
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1),
                                          _mm512_loadu_si512(dst->q));
        if (minimum)
            _mm512_storeu_ps(dst->sum, _mm512_cvtepi32_ps(sum));
        else
            _mm512_storeu_si512(dst->start, _mm512_mullo_epi32(sum, _mm512_set1_epi32(-offset)));
    }
    return odd ? NAN : none ? 0 : top / 127;
}

INLINE void round_row(const float *x, int k, int offset, bool minimum, struct rounded *dst,
                      float *step)
{
    for (int c = 0; c < k; c += MK_DOT_GROUP, dst += MK_DOT_GROUP / CHUNK)
        *step++ =
            round_group(x + c, k - c < MK_DOT_GROUP ? k - c : MK_DOT_GROUP, offset, minimum, dst);
}

/* ------------------------------------------------------------------ sums */

struct lane_x { /* a rounded row of x */
    const struct rounded *chunk;
    const float *step;
};

/* One chunk of one weight row times M rows of x. */
INLINE void add_chunk(enum mk_type type, const uint8_t *w, const struct block *b, int c, bool half,
                      const struct lane_x *x, size_t at, int M, __m512 *group)
{
    __m512i code = chunk_codes(type, w, c, half);
    __m512 step = chunk_steps(type, w, b, c, half), minimum = _mm512_setzero_ps();
    if (has_minimum(type))
        minimum = chunk_minimums(type, w, b, c, half);
    for (int m = 0; m < M; m++) {
        const struct rounded *r = x[m].chunk + at;
        __m512i begin = has_minimum(type) ? _mm512_setzero_si512() : _mm512_loadu_si512(r->start);
        __m512i sum = _mm512_dpbusd_epi32(begin, code, _mm512_loadu_si512(r->q));
        group[m] = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(sum), group[m]);
        if (has_minimum(type))
            group[m] = _mm512_fnmadd_ps(minimum, _mm512_loadu_ps(r->sum), group[m]);
    }
}

/* One weight row times M rows of x. */
INLINE void dot_row(enum mk_type type, const uint8_t *w, const struct lane_x *x, int k, int M,
                    __m512 *ret)
{
    struct block b;
    for (int m = 0; m < M; m++)
        ret[m] = _mm512_setzero_ps();
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        __m512 group[X_BLOCK];
        int n = k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP;
        size_t at = (size_t)g / CHUNK;
        for (int m = 0; m < M; m++)
            group[m] = _mm512_setzero_ps();
        if (is_legacy(type)) {
            int c = 0;
            for (; (c + 1) * CHUNK <= n; c++, w += 2 * mk_type_info[type].block_bytes) {
                _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
                add_chunk(type, w, &b, 0, false, x, at + (size_t)c, M, group);
            }
            if (c * CHUNK < n)
                add_chunk(type, w, &b, 0, true, x, at + (size_t)c, M, group);
        } else {
            for (size_t line = 0; line < mk_type_info[type].block_bytes; line += 64)
                _mm_prefetch((const char *)w + AHEAD + line, _MM_HINT_T0);
            open_block(type, w, &b);
#pragma GCC unroll 4
            for (int c = 0; c < MK_DOT_GROUP / CHUNK; c++)
                add_chunk(type, w, &b, c, false, x, at + (size_t)c, M, group);
            w += mk_type_info[type].block_bytes;
        }
        for (int m = 0; m < M; m++)
            ret[m] = _mm512_fmadd_ps(_mm512_set1_ps(x[m].step[g / MK_DOT_GROUP]), group[m], ret[m]);
    }
}

INLINE void put(const struct mk_mm *mm, int i, int j, int rows, const __m512 v[W_BLOCK])
{
    float *y = mm->y + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + (size_t)j;
    __mmask8 mask = (__mmask8)((1u << rows) - 1);
    __m128 sum = sum4(v);
    if (mm->add)
        sum = _mm_add_ps(_mm_maskz_loadu_ps(mask, y), sum);
    _mm_mask_storeu_ps(y, mask, sum);
}

/* M rows from row i on. */
INLINE void dot_rows(const struct mk_mm *mm, enum mk_type type, int i, int M)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k);
    size_t chunks = ((size_t)mm->k + CHUNK - 1) / CHUNK;
    struct rounded *rounded = (void *)mm->tmp;
    float *step = (float *)(rounded + (size_t)M * chunks);
    size_t groups = ((size_t)mm->k + MK_DOT_GROUP - 1) / MK_DOT_GROUP;
    struct lane_x x[X_BLOCK];
    for (int m = 0; m < M; m++) {
        size_t row = (size_t)(mm->xrow ? mm->xrow[i + m] : i + m);
        struct rounded *dst = rounded + (size_t)m * chunks;
        float *steps = step + (size_t)m * groups;
        round_row(mm->x + row * (size_t)mm->ldx, mm->k, offset_of(type), has_minimum(type), dst,
                  steps);
        x[m] = (struct lane_x){dst, steps};
    }
    for (int j = mm->n0; j < mm->n1; j += W_BLOCK) {
        int rows = mm->n1 - j < W_BLOCK ? mm->n1 - j : W_BLOCK;
        __m512 sum[X_BLOCK][W_BLOCK], one[X_BLOCK];
        for (int m = 0; m < M; m++)
            for (int r = 0; r < W_BLOCK; r++)
                sum[m][r] = _mm512_setzero_ps();
        for (int r = 0; r < rows; r++) {
            dot_row(type, (const uint8_t *)mm->w + (size_t)(j + r) * row_bytes, x, mm->k, M, one);
            for (int m = 0; m < M; m++)
                sum[m][r] = one[m];
        }
        for (int m = 0; m < M; m++)
            put(mm, i + m, j, rows, sum[m]);
    }
}

INLINE void dot(const struct mk_mm *mm, enum mk_type type)
{
    int i = 0;
    for (; i + 4 <= mm->m; i += 4)
        dot_rows(mm, type, i, 4);
    if (mm->m - i == 3)
        dot_rows(mm, type, i, 3);
    if (mm->m - i == 2)
        dot_rows(mm, type, i, 2);
    if (mm->m - i == 1)
        dot_rows(mm, type, i, 1);
}

/* ------------------------------------------------------------------ the table */

#define TYPES(X)                                                                                   \
    X(Q8_0)                                                                                        \
    X(Q4_0)                                                                                        \
    X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4)

#define FUNCTION(id)                                                                               \
    static void dot_##id(const struct mk_mm *mm)                                                   \
    {                                                                                              \
        dot(mm, MK_##id);                                                                          \
    }
TYPES(FUNCTION)
#undef FUNCTION

#define ROW(id) [MK_##id] = dot_##id,
void (*const mk_avx512_dot[MK_TYPE_COUNT])(const struct mk_mm *mm) = {TYPES(ROW)};
#undef ROW
