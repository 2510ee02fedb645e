/* SPDX-License-Identifier: MIT
 *
 * Strips on AVX2: packing, rounding of x, and products of integers, of few rows and of many.
 *
 * A group of a strip is laid out as bytes in the L1 cache, where all rows of x meet it, four bytes
 * at a time. Products are added up in pairs of 16 bits as long as they fit, then in 32; what comes
 * out is exact until the block's float scale. That is mk_ref_dot() bit for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "mk.h"
#include "strip256.h"
#include "ymm.h"

enum {
    X_BLOCK = 4,  /* rows of x whose sums are in registers */
    X_ROWS = 128, /* whose sums lie ready while they meet a group */
    AHEAD = 4096, /* bytes prefetched: the hardware alone lags behind */
};

/* ------------------------------------------------------------------ packing */

/* Words of 8 rows, `words` of them from `row` on, `stride` bytes apart. */
static void turn_words(const uint8_t *row, size_t stride, int rows, int words, uint8_t *dst)
{
    for (int at = 0; at < words; at += 8) {
        __m256i v[8];
        for (int r = 0; r < 8; r++)
            v[r] = r < rows
                       ? _mm256_maskload_epi32((const void *)(row + (size_t)r * stride + 4 * at),
                                               first(words - at))
                       : _mm256_setzero_si256();
        transpose(v);
        for (int i = 0; i < 8 && at + i < words; i++)
            _mm256_storeu_si256((void *)(dst + (size_t)(at + i) * 64), v[i]);
    }
}

INLINE __m256i swap_bits(__m256i x, int by, int mask)
{
    __m256i t =
        _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi32(x, by)), _mm256_set1_epi32(mask));
    return _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi32(t, by)));
}

/* Bit 4i + b of each word of 8 rows to bit i of its byte b. */
static void turn_fifths(uint8_t *at)
{
    __m256i v = _mm256_loadu_si256((const void *)at);
    for (int twice = 0; twice < 2; twice++) {
        v = swap_bits(v, 1, 0x22222222);
        v = swap_bits(v, 2, 0x0c0c0c0c);
        v = swap_bits(v, 4, 0x00f000f0);
        v = swap_bits(v, 8, 0x0000ff00);
    }
    _mm256_storeu_si256((void *)at, v);
}

static void pack_strip(enum mk_type type, uint8_t *dst, const uint8_t *src, size_t row_bytes,
                       int rows, int k)
{
    const struct strip_lone lone = strip_lone(type);
    const size_t bytes = mk_type_info[type].block_bytes;
    const int words = strip_words(type), fifths = strip_fifths(type);
    for (int g = 0; g < k; g += MK_DOT_GROUP) {
        int blocks = (k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP) / elements_of(type);
        uint8_t *word = dst + blocks * lone.bytes * STRIP_ROWS;
        for (int b = 0; b < blocks; b++, src += bytes, word += words * 64) {
            for (int r = 0; r < STRIP_ROWS; r++, dst += lone.bytes) {
                if (r < rows)
                    memcpy(dst, src + (size_t)r * row_bytes + lone.at, (size_t)lone.bytes);
                else
                    memset(dst, 0, (size_t)lone.bytes);
            }
            for (int r = 0; r < STRIP_ROWS; r += 8) {
                turn_words(src + (size_t)r * row_bytes + (lone.at ? 0 : lone.bytes), row_bytes,
                           rows - r, words, word + 4 * r);
                if (fifths >= 0)
                    turn_fifths(word + fifths * 64 + 4 * r);
            }
        }
        dst = word;
    }
}

static void pack(enum mk_type type, uint8_t *dst, const uint8_t *src, int n, int k)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)k);
    for (int j = 0; j < n; j += STRIP_ROWS)
        pack_strip(type, dst + (size_t)j * row_bytes, src + (size_t)j * row_bytes, row_bytes,
                   n - j < STRIP_ROWS ? n - j : STRIP_ROWS, k);
}

/* ------------------------------------------------------------------ x */

/* A group of n ≤ 256 becomes integers; returns its step. */
static float round_group(const float *x, int n, int8_t *q)
{
    const __m256 size = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_setzero_ps(), odd_ones = most;
    for (int c = 0; c < n; c += 8) {
        __m256 v = _mm256_and_ps(_mm256_maskload_ps(x + c, first(n - c)), size);
        odd_ones = _mm256_or_ps(odd_ones, _mm256_cmp_ps(v, _mm256_set1_ps(INFINITY), _CMP_NLT_UQ));
        most = _mm256_max_ps(v, most);
    }
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    four = _mm_max_ss(four, _mm_shuffle_ps(four, four, 1));
    float top = _mm_cvtss_f32(four);
    bool odd = _mm256_movemask_ps(odd_ones);
    bool none = odd || top < MK_DOT_LEAST;
    __m256 by = _mm256_set1_ps(none ? 0 : 127 / top);
    for (int c = 0; c < MK_ROUNDED_K(n); c += 16) {
        __m256i v[2];
        for (int h = 0; h < 2; h++) {
            int there = odd ? 0 : n - c - 8 * h;
            v[h] = _mm256_cvtps_epi32(
                _mm256_mul_ps(_mm256_maskload_ps(x + c + 8 * h, first(there)), by));
        }
        __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(v[0], v[1]), 0xd8);
        _mm_storeu_si128((void *)(q + c), _mm_packs_epi16(_mm256_castsi256_si128(both),
                                                          _mm256_extracti128_si256(both, 1)));
    }
    return odd ? NAN : none ? 0 : top / 127;
}

/* Sums of four bytes. */
INLINE __m256i add_fours(const int8_t *q)
{
    __m256i v = _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_loadu_si256((const void *)q));
    return _mm256_madd_epi16(v, _mm256_set1_epi16(1));
}

static void round_row(void *dst, const float *x, int k)
{
    struct mk_rounded row = mk_rounded_row(dst, k);
    for (int g = 0; g < k; g += MK_DOT_GROUP)
        row.step[g / MK_DOT_GROUP] =
            round_group(x + g, k - g < MK_DOT_GROUP ? k - g : MK_DOT_GROUP, row.q + g);
    for (int c = 0; c < MK_ROUNDED_K(k); c += 64) {
        __m256i v = _mm256_hadd_epi32(add_fours(row.q + c), add_fours(row.q + c + 32));
        v = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_hadd_epi32(v, v));
        __m128i less =
            _mm_unpacklo_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storeu_si128((void *)(row.less16 + c / 16), less);
        _mm_storel_epi64((void *)(row.less32 + c / 32), _mm_hadd_epi32(less, less));
    }
}

/* ------------------------------------------------------------------ a group */

INLINE __m256i broadcast(const void *p)
{
    int v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Adds here and now: GCC would rather keep many products to add them in another order, and has not
 * the registers for them. */
INLINE __m256i add_now(__m256i sum, __m256i product)
{
    sum = _mm256_add_epi16(sum, product);
    __asm__("" : "+x"(sum));
    return sum;
}

/* One part's codes w times M rows of x from column c on, times its scale. */
INLINE void meet_part(struct counting how, const __m256i (*w)[2], const __m256i scale[2],
                      const struct mk_rounded *x, int c, int M, __m256i (*sum)[2])
{
    const int run = how.run ? how.run : 1;
    for (int i = 0; i < how.part / 4; i += run) {
        __m256i pairs[X_BLOCK][2];
#pragma GCC unroll 8
        for (int r = i; r < i + run; r++)
            for (int m = 0; m < M; m++) {
                __m256i four = broadcast(x[m].q + c + 4 * r);
                for (int h = 0; h < 2; h++) {
                    __m256i v = how.run ? _mm256_maddubs_epi16(w[r][h], four)
                                        : _mm256_maddubs_epi16(_mm256_abs_epi8(w[r][h]),
                                                               _mm256_sign_epi8(four, w[r][h]));
                    pairs[m][h] = r == i ? v : add_now(pairs[m][h], v);
                }
            }
        for (int m = 0; m < M; m++)
            for (int h = 0; h < 2; h++)
                sum[m][h] = _mm256_add_epi32(sum[m][h], _mm256_madd_epi16(pairs[m][h], scale[h]));
    }
}

/* Blocks of one part each. */
INLINE void meet_small(enum mk_type type, const struct panel *w, const struct mk_rounded *x, int c,
                       int n, int M, __m256 (*group)[2])
{
    const struct counting how = counting(type);
    const __m256i one[2] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
    for (int b = 0; b < n / 32; b++) {
        __m256i sum[X_BLOCK][2], less[X_BLOCK];
        for (int m = 0; m < M; m++) {
            less[m] = broadcast(&x[m].less32[c / 32 + b]);
            sum[m][0] = sum[m][1] = how.log_offset < 0 ? _mm256_setzero_si256()
                                                       : _mm256_slli_epi32(less[m], how.log_offset);
        }
        meet_part(how, w->code + 8 * b, one, x, c + 32 * b, M, sum);
        for (int m = 0; m < M; m++)
            for (int h = 0; h < 2; h++) {
                group[m][h] =
                    _mm256_fmadd_ps(w->d[b][h], _mm256_cvtepi32_ps(sum[m][h]), group[m][h]);
                if (has_minimum(type)) /* an added one: taken off minus once */
                    group[m][h] =
                        _mm256_fnmadd_ps(w->dmin[b][h], _mm256_cvtepi32_ps(less[m]), group[m][h]);
            }
    }
}

/* Minus the sums of parts of a row of x from column c on, two in 32 bits. */
INLINE void pair_sums(struct counting how, const struct mk_rounded *x, int c, int32_t ret[8])
{
    const int32_t *less = how.part == 16 ? x->less16 + c / 16 : x->less32 + c / 32;
    __m256i low = _mm256_loadu_si256((const void *)less), high = low;
    if (how.part == 16)
        high = _mm256_loadu_si256((const void *)(less + 8));
    _mm256_storeu_si256((void *)ret, _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8));
}

/* A block of 256. */
INLINE void meet_large(enum mk_type type, const struct panel *w, const struct mk_rounded *x, int c,
                       int M, __m256 (*group)[2])
{
    const struct counting how = counting(type);
    const bool begins = has_minimum(type) || how.log_offset >= 0;
    __m256i sum[X_BLOCK][2];
    for (int m = 0; m < M; m++)
        sum[m][0] = sum[m][1] = _mm256_setzero_si256();
#pragma GCC unroll 1
    for (int p = 0; p < MK_DOT_GROUP / how.part; p++)
        meet_part(how, w->code + p * how.part / 4, w->scale[p], x, c + p * how.part, M, sum);
    for (int m = 0; m < M; m++) {
        int32_t sums[8];
        if (begins)
            pair_sums(how, &x[m], c, sums);
        for (int h = 0; h < 2; h++) {
            __m256i less = _mm256_setzero_si256();
            for (int p = 0; begins && p < MK_DOT_GROUP / how.part / 2; p++)
                less =
                    _mm256_add_epi32(less, _mm256_madd_epi16(w->less[p][h], broadcast(&sums[p])));
            if (how.log_offset >= 0)
                sum[m][h] = _mm256_add_epi32(sum[m][h], _mm256_slli_epi32(less, how.log_offset));
            group[m][h] = _mm256_fmadd_ps(w->d[0][h], _mm256_cvtepi32_ps(sum[m][h]), group[m][h]);
            if (has_minimum(type))
                group[m][h] = _mm256_fmadd_ps(w->dmin[0][h], _mm256_cvtepi32_ps(less), group[m][h]);
        }
    }
}

/* Columns [c, c + n) of M rows of x times those of a strip, added to ret. */
INLINE void meet_rows(enum mk_type type, const struct panel *w, const struct mk_rounded *x, int c,
                      int n, int M, __m256 (*ret)[2])
{
    __m256 group[X_BLOCK][2];
    for (int m = 0; m < M; m++)
        group[m][0] = group[m][1] = _mm256_setzero_ps();
    if (elements_of(type) == MK_DOT_GROUP)
        meet_large(type, w, x, c, M, group);
    else
        meet_small(type, w, x, c, n, M, group);
    for (int m = 0; m < M; m++)
        for (int h = 0; h < 2; h++)
            ret[m][h] = _mm256_fmadd_ps(_mm256_set1_ps(x[m].step[c / MK_DOT_GROUP]), group[m][h],
                                        ret[m][h]);
}

/* What of a product is compiled for each type. */
struct format {
    enum mk_type type;
    void (*lay_out)(const uint8_t *group, int n, struct panel *ret);
    void (*meet)(const struct panel *w, const struct mk_rounded *x, int c, int n, int M,
                 __m256 (*ret)[2]);
};

#define FORMAT(id)                                                                                 \
    static void lay_out_##id(const uint8_t *group, int n, struct panel *ret)                       \
    {                                                                                              \
        lay_out_group(MK_##id, group, n, ret);                                                     \
    }                                                                                              \
    static void meet_##id(const struct panel *w, const struct mk_rounded *x, int c, int n, int M,  \
                          __m256(*ret)[2])                                                         \
    {                                                                                              \
        if (M == 4)                                                                                \
            meet_rows(MK_##id, w, x, c, n, 4, ret);                                                \
        else if (M == 3)                                                                           \
            meet_rows(MK_##id, w, x, c, n, 3, ret);                                                \
        else if (M == 2)                                                                           \
            meet_rows(MK_##id, w, x, c, n, 2, ret);                                                \
        else                                                                                       \
            meet_rows(MK_##id, w, x, c, n, 1, ret);                                                \
    }                                                                                              \
    static const struct format format_##id = {MK_##id, lay_out_##id, meet_##id};
STRIP_TYPES(FORMAT)
#undef FORMAT

/* ------------------------------------------------------------------ products */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* A strip's sums from column j on to row i of y, as far as the tile has them. */
static void put(const struct mk_mm *mm, int i, int j, const __m256 v[2])
{
    float *y = mm->y + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy;
    for (int h = 0; h < 2; h++) {
        int at = j + 8 * h;
        __m256i mask = _mm256_andnot_si256(first(mm->n0 - at), first(mm->n1 - at));
        __m256 sum = v[h];
        if (mm->add)
            sum = _mm256_add_ps(_mm256_maskload_ps(y + at, mask), sum);
        _mm256_maskstore_ps(y + at, mask, sum);
    }
}

/* Up to X_ROWS rows of x from row i on; those that come unrounded lie at `rows` in order. */
static int take_rows(const struct mk_mm *mm, const uint8_t *rows, int i, struct mk_rounded *ret)
{
    int M = least(X_ROWS, mm->m - i);
    for (int m = 0; m < M; m++) {
        size_t at = (size_t)(mm->rounded && mm->xrow ? mm->xrow[i + m] : i + m);
        const uint8_t *from = mm->rounded ? mm->rounded : rows;
        ret[m] = mk_rounded_row(from + at * mk_rounded_bytes(mm->k), mm->k);
    }
    return M;
}

struct area { /* how mm->tmp is cut */
    struct panel panel;
    __m256 sum[X_ROWS][2];
    uint8_t rows[]; /* rounded here, where the caller has none */
};

/* M rows of x times the strip of column j: each group is laid out, and all rows meet it. */
static void multiply_strip(const struct mk_mm *mm, const struct format *format, struct area *area,
                           const struct mk_rounded *x, int M, int j)
{
    const uint8_t *w =
        (const uint8_t *)mm->w + (size_t)j * mk_row_bytes(format->type, (size_t)mm->k);
    for (int m = 0; m < M; m++)
        area->sum[m][0] = area->sum[m][1] = _mm256_setzero_ps();
    for (int g = 0; g < mm->k; g += MK_DOT_GROUP) {
        int n = least(mm->k - g, MK_DOT_GROUP);
        size_t bytes = STRIP_ROWS * mk_row_bytes(format->type, (size_t)n);
        for (size_t line = 0; line < bytes; line += 64)
            _mm_prefetch((const char *)w + AHEAD + line, _MM_HINT_T0);
        format->lay_out(w, n, &area->panel);
        for (int m = 0; m < M; m += X_BLOCK)
            format->meet(&area->panel, x + m, g, n, least(X_BLOCK, M - m), area->sum + m);
        w += bytes;
    }
}

static void multiply(const struct mk_mm *mm, const struct format *format)
{
    struct area *area = (void *)mm->tmp;
    struct mk_rounded x[X_ROWS];
    for (int i = 0; i < mm->m && !mm->rounded; i++)
        round_row(area->rows + (size_t)i * mk_rounded_bytes(mm->k),
                  mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx, mm->k);
    for (int i = 0; i < mm->m; i += X_ROWS) {
        int M = take_rows(mm, area->rows, i, x);
        for (int j = mm->n0 / STRIP_ROWS * STRIP_ROWS; j < mm->n1; j += STRIP_ROWS) {
            multiply_strip(mm, format, area, x, M, j);
            for (int m = 0; m < M; m++)
                put(mm, i + m, j, area->sum[m]);
        }
    }
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
    static void multiply_##id(const struct mk_mm *mm)                                              \
    {                                                                                              \
        multiply(mm, &format_##id);                                                                \
    }                                                                                              \
    static void row_##id(float *dst, const void *w, int n, int k, int j)                           \
    {                                                                                              \
        (void)n;                                                                                   \
        mk_strip_unpack(MK_##id, w, dst, k, j);                                                    \
    }
STRIP_TYPES(FUNCTIONS)
#undef FUNCTIONS

#define MAT(id)                                                                                    \
    [MK_##id] = {.isa = "avx2",                                                                    \
                 .type = MK_##id,                                                                  \
                 .layout = MK_STRIPS,                                                              \
                 .pack_size = pack_size_##id,                                                      \
                 .pack = pack_##id,                                                                \
                 .gemv = multiply_##id,                                                            \
                 .gemm = multiply_##id,                                                            \
                 .gemm_coarse = multiply_##id,                                                     \
                 .few = MK_CODES,                                                                  \
                 .many = MK_CODES,                                                                 \
                 .coarse = MK_CODES,                                                               \
                 .row = row_##id},
static const struct mk_mat mat[MK_TYPE_COUNT] = {STRIP_TYPES(MAT)};
#undef MAT

void mk_avx2_strip(struct mk *mk)
{
    mk->round = round_row;
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        if (mat[t].isa)
            mk->mat[t] = mat[t];
}
