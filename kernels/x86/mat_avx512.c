/* SPDX-License-Identifier: MIT
 *
 * Multiplication on AVX-512 (F, BW, DQ, VL).
 *
 * A dot product is cut into chunks of 16; chunk c goes to accumulator c % 2, lane by lane, and the
 * 32 partial sums are added in one fixed tree. gemv unpacks in registers and gemm through tmp
 * (which gemv does as well for types without an unpacker here), but both do these same operations,
 * so a result depends on its own row and column alone. gemv of FP8 does others: a block's products
 * are added up before its scale multiplies them.
 *
 * Packed rows are the rows of the file. Pure; any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "mk.h"
#include "strip.h"
#include "zmm.h"

enum {
    CHUNK = 16,       /* floats a register */
    GROUP = 4 * 16,   /* weights unpacked together */
    W_BLOCK = 4,      /* weight rows at once */
    GEMV_X_BLOCK = 4, /* x rows that share what gemv unpacked */
    AHEAD = 4096,     /* bytes that gemv prefetches: the hardware alone lags behind */
    GEMM_X_BLOCK = 3, /* 4 × 3 × 2 accumulators fill the register file */
};

/* ------------------------------------------------------------------ unpack */

/* Types unpacked here; rows of others come from the reference, through tmp. */
INLINE bool in_registers(enum mk_type type)
{
    return type == MK_F32 || type == MK_F16 || type == MK_BF16 || type == MK_FP8_E4M3;
}

INLINE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* 32 e4m3 bytes as halves 256 times too small: both have their bits in this order, small ones too.
 */
INLINE __m512i e4m3_halves(const uint8_t *p)
{
    __m512i q = _mm512_slli_epi16(_mm512_cvtepi8_epi16(load32(p)), 7);
    return _mm512_and_si512(q, _mm512_set1_epi16((short)0xbf80));
}

/* 64 e4m3 bytes times a scale. */
INLINE void e4m3(const uint8_t *p, float scale, __m512 v[4])
{
    const __m512i size = _mm512_set1_epi8(0x7f);
    __mmask64 none = _mm512_cmpeq_epi8_mask(_mm512_and_si512(_mm512_loadu_si512(p), size), size);
    for (int half = 0; half < 2; half++) {
        __m512i q = e4m3_halves(p + 32 * half);
        v[2 * half] = _mm512_cvtph_ps(_mm512_castsi512_si256(q));
        v[2 * half + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(q, 1));
    }
    for (int c = 0; c < 4; c++)
        v[c] = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_mul_ps(v[c], _mm512_set1_ps(256)));
    if (__builtin_expect(none != 0, 0)) /* no number */
        for (int c = 0; c < 4; c++)
            v[c] = _mm512_mask_mov_ps(v[c], (__mmask16)(none >> 16 * c),
                                      _mm512_set1_ps(__builtin_nanf("")));
}

/* Group g of a block of FP8, or the group at w (others), as four chunks. */
INLINE void unpack_group(enum mk_type type, const uint8_t *w, int g, __m512 v[4])
{
    if (type == MK_F32)
        for (int c = 0; c < 4; c++)
            v[c] = _mm512_loadu_ps((const void *)(w + 64 * c));
    else if (type == MK_F16)
        for (int c = 0; c < 4; c++)
            v[c] = _mm512_cvtph_ps(load32(w + 32 * c));
    else if (type == MK_BF16)
        for (int c = 0; c < 4; c++)
            v[c] = _mm512_castsi512_ps(
                _mm512_slli_epi32(_mm512_cvtepu16_epi32(load32(w + 32 * c)), 16));
    else {
        float scale;
        memcpy(&scale, w, sizeof(scale));
        e4m3(w + 4 + 64 * g, scale, v);
    }
}

/* Chunk c behind the last whole group at w, of which n weights exist; the rest is zero. */
INLINE __m512 unpack_tail(enum mk_type type, const uint8_t *w, int c, int n)
{
    __mmask16 mask = first(n);
    if (type == MK_F32)
        return _mm512_maskz_loadu_ps(mask, (const void *)(w + 64 * c));
    if (type == MK_F16)
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const void *)(w + 32 * c)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, (const void *)(w + 32 * c))), 16));
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
    __m512 v[4];
    int c = 0;

    for (; c + elements <= k; c += elements, w += bytes) {
        for (int g = 0; g < elements / GROUP; g++) {
            unpack_group(type, w, g, v);
            for (int i = 0; i < 4; i++)
                _mm512_storeu_ps(dst + c + GROUP * g + CHUNK * i, v[i]);
        }
    }
    if (elements == GROUP)
        for (int i = 0; c < k; i++, c += CHUNK)
            _mm512_mask_storeu_ps(dst + c, first(k - c), unpack_tail(type, w, i, k - c));
}

/* ------------------------------------------------------------------ sums */

INLINE const float *x_row(const struct mk_mm *mm, int i)
{
    return mm->x + (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
}

/* Row i of the result gets the sums of `rows` weight rows from column j on. */
INLINE void put(const struct mk_mm *mm, int i, int j, int rows, const __m512 v[4])
{
    float *y = mm->y + (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + (size_t)j;
    __mmask8 mask = (__mmask8)((1u << rows) - 1);
    __m128 sum = sum4(v);
    if (mm->add)
        sum = _mm_add_ps(_mm_maskz_loadu_ps(mask, y), sum);
    _mm_mask_storeu_ps(y, mask, sum);
}

/* ------------------------------------------------------------------ few rows */

/* One weight row times M rows of x, unpacked in registers. */
INLINE void dot_packed(enum mk_type type, const uint8_t *w, const float *const *x, int k, int M,
                       __m512 *ret)
{
    __m512 v[4], acc[GEMV_X_BLOCK][2];
    int c = 0;

    for (int m = 0; m < M; m++)
        acc[m][0] = acc[m][1] = _mm512_setzero_ps();
    for (; c + GROUP <= k; c += GROUP, w += mk_row_bytes(type, GROUP)) {
        for (size_t line = 0; line < mk_row_bytes(type, GROUP); line += 64)
            _mm_prefetch((const char *)w + AHEAD + line, _MM_HINT_T0);
        unpack_group(type, w, 0, v);
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++)
                acc[m][i % 2] =
                    _mm512_fmadd_ps(v[i], _mm512_loadu_ps(x[m] + c + CHUNK * i), acc[m][i % 2]);
    }
    for (int i = 0; c < k; i++, c += CHUNK) {
        __mmask16 mask = first(k - c);
        __m512 tail = unpack_tail(type, w, i, k - c);
        for (int m = 0; m < M; m++) {
            __m512 xv = _mm512_maskz_loadu_ps(mask, x[m] + c);
            acc[m][i % 2] = _mm512_fmadd_ps(tail, xv, acc[m][i % 2]);
        }
    }
    for (int m = 0; m < M; m++)
        ret[m] = _mm512_add_ps(acc[m][0], acc[m][1]);
}

/* The same of FP8, whose scales multiply the sums of blocks. Halves go by way of the cache, from
 * where they become floats without a shuffle. */
INLINE void dot_e4m3(const uint8_t *w, const float *const *x, int k, int M, __m512 *ret)
{
    enum { BLOCK = 128, BYTES = 4 + BLOCK };
    const __m512i size = _mm512_set1_epi8(0x7f);
    _Alignas(64) uint8_t half[2 * BLOCK];

    for (int m = 0; m < M; m++)
        ret[m] = _mm512_setzero_ps();
    for (int c = 0; c < k; c += BLOCK, w += BYTES) {
        __m512 acc[GEMV_X_BLOCK][2];
        __m512i most = _mm512_setzero_si512();
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
        for (int i = 0; i < BLOCK; i += 32)
            _mm512_store_si512(half + 2 * i, e4m3_halves(w + 4 + i));
        for (int i = 0; i < BLOCK; i += 64)
            most = _mm512_max_epu8(most, _mm512_and_si512(_mm512_loadu_si512(w + 4 + i), size));
        __asm__("" : "+m"(half)); /* GCC would keep them in registers and shuffle */
        for (int i = 0; i < BLOCK / CHUNK; i++) {
            __m512 v = _mm512_cvtph_ps(load32(half + 2 * CHUNK * i));
            for (int m = 0; m < M; m++) {
                __m512 xv = _mm512_loadu_ps(x[m] + c + CHUNK * i);
                acc[m][i % 2] =
                    i < 2 ? _mm512_mul_ps(v, xv) : _mm512_fmadd_ps(v, xv, acc[m][i % 2]);
            }
        }
        float scale;
        memcpy(&scale, w, sizeof scale);
        bool none = _mm512_cmpeq_epi8_mask(most, size); /* one is no number, so is the sum */
        __m512 by = _mm512_set1_ps(none ? __builtin_nanf("") : scale * 256);
        for (int m = 0; m < M; m++)
            ret[m] = _mm512_fmadd_ps(_mm512_add_ps(acc[m][0], acc[m][1]), by, ret[m]);
    }
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
        __m512 sum[GEMV_X_BLOCK][W_BLOCK], one[GEMV_X_BLOCK];
        for (int m = 0; m < M; m++)
            for (int r = 0; r < W_BLOCK; r++)
                sum[m][r] = _mm512_setzero_ps();
        for (int r = 0; r < rows; r++) {
            const uint8_t *w = (const uint8_t *)mm->w + (size_t)(j + r) * row_bytes;
            if (type == MK_FP8_E4M3)
                dot_e4m3(w, x, mm->k, M, one);
            else
                dot_packed(type, w, x, mm->k, M, one);
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
    for (; i + 4 <= mm->m; i += 4)
        gemv_rows(mm, type, i, 4);
    if (mm->m - i == 3)
        gemv_rows(mm, type, i, 3);
    if (mm->m - i == 2)
        gemv_rows(mm, type, i, 2);
    if (mm->m - i == 1)
        gemv_rows(mm, type, i, 1);
}

/* ------------------------------------------------------------------ many rows */

/* Loads once and stays in a register: GCC would rather repeat the load in each product. */
INLINE __m512 load_once(const float *p)
{
    __m512 v = _mm512_loadu_ps(p);
    __asm__("" : "+v"(v));
    return v;
}

/* Four unpacked weight rows times M rows of x from row i on, into columns from j on. */
INLINE void gemm_rows(const struct mk_mm *mm, const float *const *w, int i, int j, int rows, int M)
{
    __m512 acc[GEMM_X_BLOCK][W_BLOCK][2];
    const float *x[GEMM_X_BLOCK];
    int c = 0;

    for (int m = 0; m < M; m++) {
        x[m] = x_row(mm, i + m);
        for (int r = 0; r < W_BLOCK; r++)
            acc[m][r][0] = acc[m][r][1] = _mm512_setzero_ps();
    }
    for (; c + 2 * CHUNK <= mm->k; c += 2 * CHUNK)
        for (int a = 0; a < 2; a++) {
            __m512 xv[GEMM_X_BLOCK];
            for (int m = 0; m < M; m++)
                xv[m] = load_once(x[m] + c + CHUNK * a);
            for (int r = 0; r < W_BLOCK; r++) {
                __m512 wv = load_once(w[r] + c + CHUNK * a);
                for (int m = 0; m < M; m++)
                    acc[m][r][a] = _mm512_fmadd_ps(wv, xv[m], acc[m][r][a]);
            }
        }
    if (c < mm->k)
        for (int a = 0; a < 2; a++)
            for (int r = 0; r < W_BLOCK; r++) {
                int left = mm->k - c - CHUNK * a;
                __mmask16 mask = left > 0 ? first(left) : 0;
                __m512 wv = _mm512_maskz_loadu_ps(mask, w[r] + c + CHUNK * a);
                for (int m = 0; m < M; m++)
                    acc[m][r][a] = _mm512_mask3_fmadd_ps(
                        wv, _mm512_maskz_loadu_ps(mask, x[m] + c + CHUNK * a), acc[m][r][a], mask);
            }
    for (int m = 0; m < M; m++) {
        __m512 sum[W_BLOCK];
        for (int r = 0; r < W_BLOCK; r++)
            sum[r] = _mm512_add_ps(acc[m][r][0], acc[m][r][1]);
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

    for (int j = mm->n0; j < mm->n1; j += W_BLOCK) {
        int rows = mm->n1 - j < W_BLOCK ? mm->n1 - j : W_BLOCK;
        const float *w[W_BLOCK]; /* a missing row is the first one again; nobody stores it */
        for (int r = 0; r < W_BLOCK; r++)
            w[r] = mm->tmp + (size_t)(r < rows ? r : 0) * stride;
        for (int r = 0; r < rows; r++)
            unpack_row(type, (const uint8_t *)mm->w + (size_t)(j + r) * row_bytes, mm->k,
                       mm->tmp + (size_t)r * stride);
        gemm_unpacked(mm, w, j, rows);
    }
}

/* ------------------------------------------------------------------ the table */

enum { GEMM_LEAST = 5 }; /* fewer rows don't repay the way through tmp */

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
        if (mm->m < GEMM_LEAST && in_registers(MK_##id) && MK_##id != MK_FP8_E4M3)                 \
            gemv(mm, MK_##id);                                                                     \
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
    [MK_##id] = {.isa = "avx512",                                                                  \
                 .type = MK_##id,                                                                  \
                 .layout = MK_ROWS,                                                                \
                 .pack_size = pack_size_##id,                                                      \
                 .pack = pack_##id,                                                                \
                 .gemv = gemv_##id,                                                                \
                 .gemm = gemm_##id,                                                                \
                 .gemm_coarse = gemm_##id,                                                         \
                 .row = row_##id},
const struct mk_mat mk_avx512_rows[MK_TYPE_COUNT] = {PLAIN_TYPES(MAT)};
#undef MAT

void mk_avx512_mat(struct mk *mk)
{
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        if (mk_avx512_rows[t].isa)
            mk->mat[t] = mk_avx512_rows[t];
}
