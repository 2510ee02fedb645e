/* SPDX-License-Identifier: MIT
 *
 * Multiplication by floats on AVX2 with FMA and F16C, of types that are rows.
 *
 * A dot product is cut into chunks of 8; chunk c goes to accumulator c % 2, lane by lane, and the
 * 16 partial sums are added in one fixed tree. gemv unpacks in registers and gemm through tmp
 * (which gemv does as well for types without an unpacker here), but both do these same operations,
 * so a result depends on its own row and column alone.
 *
 * Packed rows are the rows of the file. Pure; any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "mk.h"
#include "strip.h"
#include "ymm.h"

enum {
    CHUNK = 8,        /* floats a register */
    GROUP = 4 * 8,    /* weights unpacked together */
    W_BLOCK = 4,      /* results stored at once */
    W_PAIR = 2,       /* weight rows multiplied at once by gemm */
    GEMV_X_BLOCK = 2, /* x rows that share what gemv unpacked */
    AHEAD = 4096,     /* bytes that gemv prefetches: the hardware alone lags behind */
    GEMM_X_BLOCK = 3, /* 2 × 3 × 2 accumulators and their factors fill the register file */
};

/* ------------------------------------------------------------------ unpack */

/* Types unpacked here; rows of others come from the reference, through tmp. */
INLINE bool in_registers(enum mk_type type)
{
    return type == MK_F32 || type == MK_F16 || type == MK_BF16 || type == MK_FP8_E4M3;
}

/* Only these can end within a group. */
INLINE bool has_tail(enum mk_type type)
{
    return type == MK_F32 || type == MK_F16 || type == MK_BF16;
}

INLINE __m128i load8(const uint8_t *p)
{
    return _mm_loadl_epi64((const void *)p);
}

INLINE __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const void *)p);
}

/* Eight e4m3 bytes: their bits where a float has them, and the small ones as integers. */
INLINE __m256 e4m3(const uint8_t *p)
{
    __m256i q = _mm256_cvtepu8_epi32(load8(p));
    __m256i size = _mm256_and_si256(q, _mm256_set1_epi32(0x7f));
    __m256i none = _mm256_cmpeq_epi32(size, _mm256_set1_epi32(0x7f));
    __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), size);
    __m256 few = _mm256_mul_ps(_mm256_cvtepi32_ps(size), _mm256_set1_ps(0x1p-9f));
    __m256i bits = _mm256_add_epi32(_mm256_slli_epi32(size, 20), _mm256_set1_epi32(120 << 23));
    __m256 value = _mm256_blendv_ps(_mm256_castsi256_ps(bits), few, _mm256_castsi256_ps(small));
    __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(q, 7), 31);
    __m256i mark = _mm256_or_si256(sign, _mm256_and_si256(none, _mm256_set1_epi32(0x7fc00000)));
    return _mm256_or_ps(value, _mm256_castsi256_ps(mark));
}

/* Group g of a block of FP8, or the group at w (others), as four chunks. */
INLINE void unpack_group(enum mk_type type, const uint8_t *w, int g, __m256 v[4])
{
    for (int c = 0; c < 4; c++)
        if (type == MK_F32)
            v[c] = _mm256_loadu_ps((const void *)(w + 32 * c));
        else if (type == MK_F16)
            v[c] = _mm256_cvtph_ps(load16(w + 16 * c));
        else if (type == MK_BF16)
            v[c] = _mm256_castsi256_ps(
                _mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(w + 16 * c)), 16));
        else
            v[c] =
                _mm256_mul_ps(_mm256_broadcast_ss((const void *)w), e4m3(w + 4 + 32 * g + 8 * c));
}

/* Chunk c behind the last whole group at w, of which n weights exist; the rest is zero. */
INLINE __m256 unpack_tail(enum mk_type type, const uint8_t *w, int c, int n)
{
    if (type == MK_F32)
        return _mm256_maskload_ps((const void *)(w + 32 * c), first(n));

    uint16_t half[8] = {0};
    memcpy(half, w + 16 * c, 2 * (size_t)(n < CHUNK ? n : CHUNK));
    __m128i v = load16((const void *)half);
    if (type == MK_F16)
        return _mm256_cvtph_ps(v);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

INLINE int block_elements(enum mk_type type)
{
    return type == MK_FP8_E4M3 ? 128 : GROUP;
}

INLINE void unpack_row(enum mk_type type, const uint8_t *w, int k, float *dst)
{
    if (!in_registers(type)) {
        mk_ref_unpack(type, w, dst, (size_t)k);
        return;
    }
    const int elements = block_elements(type);
    size_t bytes = mk_row_bytes(type, (size_t)elements);
    __m256 v[4];
    int c = 0;

    for (; c + elements <= k; c += elements, w += bytes) {
        for (int g = 0; g < elements / GROUP; g++) {
            unpack_group(type, w, g, v);
            for (int i = 0; i < 4; i++)
                _mm256_storeu_ps(dst + c + GROUP * g + CHUNK * i, v[i]);
        }
    }
    if (has_tail(type))
        for (int i = 0; c < k; i++, c += CHUNK)
            _mm256_maskstore_ps(dst + c, first(k - c), unpack_tail(type, w, i, k - c));
}

/* ------------------------------------------------------------------ sums */

INLINE const float *x_row(const struct mk_mm *mm, int i)
{
    return mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
}

/* Row i of the result gets the sums of `rows` weight rows from column j on. */
INLINE void put(const struct mk_mm *mm, int i, int j, int rows, const __m256 v[4])
{
    float *y = mm->y + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + (size_t)j;
    __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32(rows), _mm_setr_epi32(0, 1, 2, 3));
    __m128 sum = sum4(v);
    if (mm->add)
        sum = _mm_add_ps(_mm_maskload_ps(y, mask), sum);
    _mm_maskstore_ps(y, mask, sum);
}

/* ------------------------------------------------------------------ few rows */

/* One weight row times M rows of x, unpacked in registers. */
INLINE void dot_packed(enum mk_type type, const uint8_t *w, const float *const *x, int k, int M,
                       __m256 *ret)
{
    const int elements = block_elements(type);
    size_t bytes = mk_row_bytes(type, (size_t)elements);
    __m256 v[4], acc[GEMV_X_BLOCK][2];
    int c = 0;

    for (int m = 0; m < M; m++)
        acc[m][0] = acc[m][1] = _mm256_setzero_ps();
    for (; c + elements <= k; c += elements, w += bytes) {
        for (size_t line = 0; line < bytes; line += 64)
            _mm_prefetch((const char *)w + AHEAD + line, _MM_HINT_T0);
        for (int g = 0; g < elements / GROUP; g++) {
            unpack_group(type, w, g, v);
            for (int m = 0; m < M; m++) {
                const float *at = x[m] + c + GROUP * g;
                acc[m][0] = _mm256_fmadd_ps(v[0], _mm256_loadu_ps(at), acc[m][0]);
                acc[m][1] = _mm256_fmadd_ps(v[1], _mm256_loadu_ps(at + 8), acc[m][1]);
                acc[m][0] = _mm256_fmadd_ps(v[2], _mm256_loadu_ps(at + 16), acc[m][0]);
                acc[m][1] = _mm256_fmadd_ps(v[3], _mm256_loadu_ps(at + 24), acc[m][1]);
            }
        }
    }
    if (has_tail(type))
        for (int i = 0; c < k; i++, c += CHUNK) {
            __m256i mask = first(k - c);
            __m256 tail = unpack_tail(type, w, i, k - c);
            for (int m = 0; m < M; m++) {
                __m256 xv = _mm256_maskload_ps(x[m] + c, mask);
                if (i % 2)
                    acc[m][1] = _mm256_fmadd_ps(tail, xv, acc[m][1]);
                else
                    acc[m][0] = _mm256_fmadd_ps(tail, xv, acc[m][0]);
            }
        }
    for (int m = 0; m < M; m++)
        ret[m] = _mm256_add_ps(acc[m][0], acc[m][1]);
}

/* M rows from row i on. */
INLINE void gemv_rows(const struct mk_mm *mm, enum mk_type type, int i, int M)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k);
    const float *x[GEMV_X_BLOCK];
    for (int m = 0; m < M; m++)
        x[m] = x_row(mm, i + m);

    for (int j = mm->n0; j < mm->n1; j += W_BLOCK) {
        int rows = mm->n1 - j < W_BLOCK ? mm->n1 - j : W_BLOCK;
        __m256 sum[GEMV_X_BLOCK][W_BLOCK], one[GEMV_X_BLOCK];
        for (int m = 0; m < M; m++)
            for (int r = 0; r < W_BLOCK; r++)
                sum[m][r] = _mm256_setzero_ps();
        for (int r = 0; r < rows; r++) {
            dot_packed(type, (const uint8_t *)mm->w + (size_t)(j + r) * row_bytes, x, mm->k, M,
                       one);
            for (int m = 0; m < M; m++)
                sum[m][r] = one[m];
        }
        for (int m = 0; m < M; m++)
            put(mm, i + m, j, rows, sum[m]);
    }
}

INLINE void gemv(const struct mk_mm *mm, enum mk_type type)
{
    int i = 0;
    for (; i + 2 <= mm->m; i += 2)
        gemv_rows(mm, type, i, 2);
    if (i < mm->m)
        gemv_rows(mm, type, i, 1);
}

/* ------------------------------------------------------------------ many rows */

/* Loads once and stays in a register: GCC would rather repeat the load in each product. */
INLINE __m256 load_once(const float *p)
{
    __m256 v = _mm256_loadu_ps(p);
    __asm__("" : "+x"(v));
    return v;
}

/* Two unpacked weight rows times M rows of x from row i on, into columns from j on. */
INLINE void gemm_rows(const struct mk_mm *mm, const float *const *w, int i, int j, int rows, int M)
{
    __m256 acc[GEMM_X_BLOCK][W_PAIR][2];
    const float *x[GEMM_X_BLOCK];
    int c = 0;

    for (int m = 0; m < M; m++) {
        x[m] = x_row(mm, i + m);
        for (int r = 0; r < W_PAIR; r++)
            acc[m][r][0] = acc[m][r][1] = _mm256_setzero_ps();
    }
    for (; c + 2 * CHUNK <= mm->k; c += 2 * CHUNK)
        for (int a = 0; a < 2; a++) {
            __m256 w0 = load_once(w[0] + c + CHUNK * a), w1 = load_once(w[1] + c + CHUNK * a);
            for (int m = 0; m < M; m++) {
                __m256 xv = load_once(x[m] + c + CHUNK * a);
                acc[m][0][a] = _mm256_fmadd_ps(w0, xv, acc[m][0][a]);
                acc[m][1][a] = _mm256_fmadd_ps(w1, xv, acc[m][1][a]);
            }
        }
    if (c < mm->k)
        for (int a = 0; a < 2 && c + CHUNK * a < mm->k; a++) {
            __m256i mask = first(mm->k - c - CHUNK * a);
            for (int r = 0; r < W_PAIR; r++) {
                __m256 wv = _mm256_maskload_ps(w[r] + c + CHUNK * a, mask);
                for (int m = 0; m < M; m++)
                    acc[m][r][a] = _mm256_fmadd_ps(
                        wv, _mm256_maskload_ps(x[m] + c + CHUNK * a, mask), acc[m][r][a]);
            }
        }
    for (int m = 0; m < M; m++) {
        __m256 zero = _mm256_setzero_ps();
        __m256 sum[W_BLOCK] = {_mm256_add_ps(acc[m][0][0], acc[m][0][1]),
                               _mm256_add_ps(acc[m][1][0], acc[m][1][1]), zero, zero};
        put(mm, i + m, j, rows, sum);
    }
}

static void gemm_unpacked(const struct mk_mm *mm, const float *const *w, int j, int rows)
{
    int i = 0;
    for (; i + 3 <= mm->m; i += 3)
        gemm_rows(mm, w, i, j, rows, 3);
    if (mm->m - i == 2)
        gemm_rows(mm, w, i, j, rows, 2);
    if (mm->m - i == 1)
        gemm_rows(mm, w, i, j, rows, 1);
}

INLINE void gemm(const struct mk_mm *mm, enum mk_type type)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k);
    size_t stride = ((size_t)mm->k + 15) / 16 * 16;

    for (int j = mm->n0; j < mm->n1; j += W_PAIR) {
        int rows = mm->n1 - j < W_PAIR ? mm->n1 - j : W_PAIR;
        const float *w[W_PAIR] = {mm->tmp, mm->tmp + (size_t)(rows - 1) * stride};
        for (int r = 0; r < rows; r++)
            unpack_row(type, (const uint8_t *)mm->w + (size_t)(j + r) * row_bytes, mm->k,
                       mm->tmp + (size_t)r * stride);
        gemm_unpacked(mm, w, j, rows);
    }
}

/* ------------------------------------------------------------------ the table */

enum { GEMM_LEAST = 3 }; /* fewer rows don't repay the way through tmp */

#define FUNCTIONS(id)                                                                              \
    static size_t pack_size_##id(int n, int k)                                                     \
    {                                                                                              \
        return (size_t)n * mk_row_bytes(MK_##id, (size_t)k);                                       \
    }                                                                                              \
    static void pack_##id(void *dst, const void *src, int n, int k)                                \
    {                                                                                              \
        memcpy(dst, src, pack_size_##id(n, k));                                                    \
    }                                                                                              \
    static void gemv_##id(const struct mk_mm *mm)                                                  \
    {                                                                                              \
        if (in_registers(MK_##id))                                                                 \
            gemv(mm, MK_##id);                                                                     \
        else                                                                                       \
            gemm(mm, MK_##id);                                                                     \
    }                                                                                              \
    static void gemm_##id(const struct mk_mm *mm)                                                  \
    {                                                                                              \
        if (mm->m < GEMM_LEAST)                                                                    \
            gemv_##id(mm);                                                                         \
        else                                                                                       \
            gemm(mm, MK_##id);                                                                     \
    }                                                                                              \
    static void row_##id(float *dst, const void *w, int n, int k, int j)                           \
    {                                                                                              \
        (void)n;                                                                                   \
        unpack_row(MK_##id, (const uint8_t *)w + (size_t)j * mk_row_bytes(MK_##id, (size_t)k), k,  \
                   dst);                                                                           \
    }
PLAIN_TYPES(FUNCTIONS)
#undef FUNCTIONS

#define MAT(id)                                                                                    \
    [MK_##id] = {.isa = "avx2",                                                                    \
                 .type = MK_##id,                                                                  \
                 .layout = MK_ROWS,                                                                \
                 .pack_size = pack_size_##id,                                                      \
                 .pack = pack_##id,                                                                \
                 .gemv = gemv_##id,                                                                \
                 .gemm = gemm_##id,                                                                \
                 .gemm_coarse = gemm_##id,                                                         \
                 .row = row_##id},
static const struct mk_mat mat[MK_TYPE_COUNT] = {PLAIN_TYPES(MAT)};
#undef MAT

void mk_avx2_mat(struct mk *mk)
{
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        if (mat[t].isa)
            mk->mat[t] = mat[t];
}
