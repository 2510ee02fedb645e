/* SPDX-License-Identifier: MIT
 *
 * Strips on AVX-512 VNNI: packing, rounding of x, and products of few rows.
 *
 * A register holds the sums of 16 rows of weights. Of each part of a block the codes meet four
 * bytes of x at a time; what comes out is exact until the block's float scale. That is mk_ref_dot()
 * bit for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "mk.h"
#include "strip512.h"
#include "strip_avx512.h"

enum {
    X_BLOCK = 4,  /* x rows that share what was unpacked */
    MANY = 8,     /* fewer rows don't repay laying out a strip */
    AHEAD = 8192, /* bytes fetched to the L2 cache: the hardware alone lags behind */
};

/* ------------------------------------------------------------------ packing */

/* Words of 16 rows, `words` of them from `row` on, `stride` bytes apart. */
INLINE void turn_words(const uint8_t *row, size_t stride, int rows, int words, uint8_t *dst)
{
    for (int at = 0; at < words; at += 16) {
        __mmask16 mask = first(words - at);
        __m512i v[STRIP_ROWS];
        for (int r = 0; r < STRIP_ROWS; r++)
            v[r] = r < rows ? _mm512_maskz_loadu_epi32(mask, row + (size_t)r * stride + 4 * at)
                            : _mm512_setzero_si512();
        transpose(v);
        for (int i = 0; i < 16 && at + i < words; i++)
            _mm512_storeu_si512(dst + (size_t)(at + i) * 64, v[i]);
    }
}

INLINE __m512i swap_bits(__m512i x, unsigned by, int mask)
{
    __m512i t =
        _mm512_and_si512(_mm512_xor_si512(x, _mm512_srli_epi32(x, by)), _mm512_set1_epi32(mask));
    return _mm512_xor_si512(x, _mm512_xor_si512(t, _mm512_slli_epi32(t, by)));
}

/* Bit 4i + b of each word to bit i of its byte b. */
INLINE void turn_fifths(uint8_t *at)
{
    __m512i v = _mm512_loadu_si512(at);
    for (int twice = 0; twice < 2; twice++) {
        v = swap_bits(v, 1, 0x22222222);
        v = swap_bits(v, 2, 0x0c0c0c0c);
        v = swap_bits(v, 4, 0x00f000f0);
        v = swap_bits(v, 8, 0x0000ff00);
    }
    _mm512_storeu_si512(at, v);
}

INLINE void pack_strip(enum mk_type type, uint8_t *dst, const uint8_t *src, size_t row_bytes,
                       int rows, int k)
{
    const struct strip_lone lone = strip_lone(type);
    const size_t bytes = mk_type_info[type].block_bytes;
    const int words = strip_words(type);
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        int blocks = (k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP) / elements_of(type);
        uint8_t *word = dst + blocks * lone.bytes * STRIP_ROWS;
        for (int b = 0; b < blocks; b++, src += bytes) {
            for (int r = 0; r < STRIP_ROWS && lone.bytes; r++) {
                if (r < rows)
                    memcpy(dst, src + (size_t)r * row_bytes + lone.at, (size_t)lone.bytes);
                else
                    memset(dst, 0, (size_t)lone.bytes);
                dst += lone.bytes;
            }
            turn_words(src + (lone.at ? 0 : lone.bytes), row_bytes, rows, words, word);
            if (strip_fifths(type) >= 0)
                turn_fifths(word + strip_fifths(type) * 64);
            word += words * 64;
        }
        dst = word;
    }
}

INLINE void pack(enum mk_type type, uint8_t *dst, const uint8_t *src, int n, int k)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)k);
    for (int j = 0; j < n; j += STRIP_ROWS)
        pack_strip(type, dst + (size_t)j * row_bytes, src + (size_t)j * row_bytes, row_bytes,
                   n - j < STRIP_ROWS ? n - j : STRIP_ROWS, k);
}

/* ------------------------------------------------------------------ x */

/* A group of n ≤ 256 becomes integers; returns its step. */
INLINE float round_group(const float *x, int n, int8_t *q)
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
    for (int c = 0; c < MK_ROUNDED_K(n); c += 16) {
        __m512 v = _mm512_maskz_loadu_ps(odd ? 0 : first(n - c), x + c);
        __m512i integer = _mm512_cvtps_epi32(_mm512_mul_ps(v, by));
        _mm_storeu_si128((void *)(q + c), _mm512_cvtepi32_epi8(integer));
    }
    return odd ? NAN : none ? 0 : top / 127;
}

void mk_avx512_round(void *dst, const float *x, int k)
{
    struct mk_rounded row = mk_rounded_row(dst, k);
    for (int g = 0; g < k; g += MK_DOT_GROUP)
        row.step[g / MK_DOT_GROUP] =
            round_group(x + g, k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP, row.q + g);
    const __m512i one = _mm512_set1_epi8(1), zero = _mm512_setzero_si512();
    for (int c = 0; c < MK_ROUNDED_K(k); c += 64) {
        __m512i sum = _mm512_dpbusd_epi32(zero, one, _mm512_loadu_si512(row.q + c));
        sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
        sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
        __m128i less = _mm512_castsi512_si128(
            _mm512_maskz_compress_epi32(0x1111, _mm512_sub_epi32(zero, sum)));
        _mm_storeu_si128((void *)(row.less16 + c / 16), less);
        _mm_storel_epi64((void *)(row.less32 + c / 32), _mm_hadd_epi32(less, less));
    }
}

/* ------------------------------------------------------------------ few rows */

/* One block of 16 weight rows times M rows of x, whose elements from c on it meets. */
INLINE void dot_block(enum mk_type type, struct column col, const struct mk_rounded *x, int c,
                      int M, __m512 *group)
{
    const struct counting how = counting(type);
    const int parts = elements_of(type) / how.part;
    __m512i sum[X_BLOCK], less[X_BLOCK];
    for (int m = 0; m < M; m++)
        sum[m] = less[m] = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int p = 0; p < parts; p++) {
        __m512i part[X_BLOCK], begin[X_BLOCK];
        for (int m = 0; m < M; m++) {
            begin[m] =
                broadcast(how.part == 16 ? &x[m].less16[c / 16 + p] : &x[m].less32[c / 32 + p]);
            part[m] = has_minimum(type) ? _mm512_setzero_si512()
                                        : _mm512_slli_epi32(begin[m], (unsigned)how.log_offset);
        }
#pragma GCC unroll 8
        for (int i = 0; i < how.part / 4; i++) {
            __m512i codes = code(type, col, p, i);
            for (int m = 0; m < M; m++)
                part[m] = _mm512_dpbusd_epi32(part[m], codes,
                                              broadcast(x[m].q + c + how.part * p + 4 * i));
        }
        if (parts == 1) {
            for (int m = 0; m < M; m++) {
                sum[m] = part[m];
                less[m] = begin[m];
            }
            continue;
        }
        __m512i scale = scale_of(type, col, p);
        for (int m = 0; m < M; m++)
            sum[m] = _mm512_add_epi32(sum[m], _mm512_mullo_epi32(scale, part[m]));
        if (has_minimum(type)) {
            __m512i minimum = minimum_of(type, col, p);
            for (int m = 0; m < M; m++)
                less[m] = _mm512_add_epi32(less[m], _mm512_mullo_epi32(minimum, begin[m]));
        }
    }
    __m512 d = d_of(type, col);
    for (int m = 0; m < M; m++)
        group[m] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(sum[m]), group[m]);
    if (!has_minimum(type))
        return;
    __m512 dmin = dmin_of(type, col);
    for (int m = 0; m < M; m++) {
        __m512 off = _mm512_cvtepi32_ps(less[m]);
        if (parts == 1) /* an added minimum: taken off minus once */
            group[m] = _mm512_fnmadd_ps(dmin, off, group[m]);
        else
            group[m] = _mm512_fmadd_ps(dmin, off, group[m]);
    }
}

/* A strip times M rows of x. */
INLINE void dot_strip(enum mk_type type, const uint8_t *w, const struct mk_rounded *x, int k, int M,
                      __m512 *ret)
{
    const size_t bytes = mk_type_info[type].block_bytes;
    for (int m = 0; m < M; m++)
        ret[m] = _mm512_setzero_ps();
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        __m512 group[X_BLOCK];
        int blocks = (k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP) / elements_of(type);
        for (int m = 0; m < M; m++)
            group[m] = _mm512_setzero_ps();
        for (int b = 0; b < blocks; b++) {
            for (size_t line = 0; line < STRIP_ROWS * bytes; line += 64)
                _mm_prefetch((const char *)w + (size_t)b * STRIP_ROWS * bytes + AHEAD + line,
                             _MM_HINT_T1);
            dot_block(type, column(type, w, blocks, b), x, g + b * elements_of(type), M, group);
        }
        w += (size_t)blocks * STRIP_ROWS * bytes;
        for (int m = 0; m < M; m++)
            ret[m] = _mm512_fmadd_ps(_mm512_set1_ps(x[m].step[g / MK_DOT_GROUP]), group[m], ret[m]);
    }
}

/* Row i of x, rounded: by the caller or into tmp. */
INLINE struct mk_rounded rounded_row(const struct mk_mm *mm, int i, int at)
{
    size_t row = (size_t)(mm->xrow ? mm->xrow[i] : i), bytes = mk_rounded_bytes(mm->k);
    if (mm->rounded)
        return mk_rounded_row((const uint8_t *)mm->rounded + row * bytes, mm->k);
    void *dst = (uint8_t *)mm->tmp + (size_t)at * bytes;
    mk_avx512_round(dst, mm->x + row * (size_t)mm->ldx, mm->k);
    return mk_rounded_row(dst, mm->k);
}

INLINE void dot_rows(const struct mk_mm *mm, enum mk_type type, int i, int M)
{
    struct mk_rounded x[X_BLOCK];
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k);
    for (int m = 0; m < M; m++)
        x[m] = rounded_row(mm, i + m, m);
    for (int j = mm->n0 / STRIP_ROWS * STRIP_ROWS; j < mm->n1; j += STRIP_ROWS) {
        __m512 sum[X_BLOCK];
        dot_strip(type, (const uint8_t *)mm->w + (size_t)j * row_bytes, x, mm->k, M, sum);
        for (int m = 0; m < M; m++)
            put(mm, i + m, j, sum[m]);
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

#define FUNCTIONS(id)                                                                              \
    static size_t pack_size_##id(int n, int k)                                                     \
    {                                                                                              \
        return strip_bytes(MK_##id, n, k);                                                         \
    }                                                                                              \
    static void pack_##id(void *dst, const void *src, int n, int k)                                \
    {                                                                                              \
        pack(MK_##id, dst, src, n, k);                                                             \
    }                                                                                              \
    static void dot_##id(const struct mk_mm *mm)                                                   \
    {                                                                                              \
        dot(mm, MK_##id);                                                                          \
    }                                                                                              \
    static void gemm_##id(const struct mk_mm *mm)                                                  \
    {                                                                                              \
        (mm->m < MANY ? dot_##id : mk_avx512_many[MK_##id])(mm);                                   \
    }                                                                                              \
    static void row_##id(float *dst, const void *w, int n, int k, int j)                           \
    {                                                                                              \
        (void)n;                                                                                   \
        mk_strip_unpack(MK_##id, w, dst, k, j);                                                    \
    }
STRIP_TYPES(FUNCTIONS)
#undef FUNCTIONS

#define MAT(id)                                                                                    \
    [MK_##id] = {.isa = "avx512",                                                                  \
                 .type = MK_##id,                                                                  \
                 .layout = MK_STRIPS,                                                              \
                 .pack_size = pack_size_##id,                                                      \
                 .pack = pack_##id,                                                                \
                 .gemv = dot_##id,                                                                 \
                 .gemm = gemm_##id,                                                                \
                 .gemm_coarse = gemm_##id,                                                         \
                 .few = MK_CODES,                                                                  \
                 .many = MK_CODES,                                                                 \
                 .coarse = MK_CODES,                                                               \
                 .row = row_##id},
static const struct mk_mat mat[MK_TYPE_COUNT] = {STRIP_TYPES(MAT)};
#undef MAT

void mk_avx512_strip(struct mk *mk)
{
    mk->round = mk_avx512_round;
    for (int t = 0; t < MK_TYPE_COUNT; t++) {
        if (!mat[t].isa)
            continue;
        mk->mat[t] = mat[t];
        if (mk_avx512_mul[t]) {
            mk->mat[t].gemm_coarse = mk_avx512_mul[t];
            mk->mat[t].coarse = MK_BYTES;
        }
    }
}
