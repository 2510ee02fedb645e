/* SPDX-License-Identifier: MIT
 *
 * The truth of multiplication: the dot product in plain C, of rows as unpack.c reads them.
 *
 * Built without contraction, so that a product and a sum round where the text says so. Nothing is
 * repacked: a packed matrix is the rows of the file. Pure; any thread.
 */
#include <string.h>

#include "mk.h"

/* ------------------------------------------------------------------ multiply */

enum { LANES = 8 }; /* partial sums of a dot product: element c goes to lane c % LANES */

static float dot(const float *w, const float *x, int k)
{
    float lane[LANES] = {0};
    int c = 0;
    for (; c + LANES <= k; c += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += w[c + l] * x[c + l];
    for (int l = 0; c + l < k; l++)
        lane[l] += w[c + l] * x[c + l];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static void multiply(const struct mk_mm *mm, enum mk_type type)
{
    size_t row_bytes = mk_row_bytes(type, (size_t)mm->k);

    for (int j = mm->n0; j < mm->n1; j++) {
        mk_ref_unpack(type, (const uint8_t *)mm->w + (size_t)j * row_bytes, mm->tmp, (size_t)mm->k);
        for (int i = 0; i < mm->m; i++) {
            size_t from = (size_t)(mm->xrow ? mm->xrow[i] : i) * (size_t)mm->ldx;
            size_t to = (size_t)(mm->yrow ? mm->yrow[i] : i) * (size_t)mm->ldy + (size_t)j;
            float sum = dot(mm->tmp, mm->x + from, mm->k);
            mm->y[to] = mm->add ? mm->y[to] + sum : sum;
        }
    }
}

/* The four functions of a number format, each the general one with the type put in. */
#define REF_FUNCTIONS(id, name, gguf, elements, bytes)                                             \
    static size_t pack_size_##id(int n, int k)                                                     \
    {                                                                                              \
        return (size_t)n * mk_row_bytes(MK_##id, (size_t)k);                                       \
    }                                                                                              \
    static void pack_##id(void *dst, const void *src, int n, int k)                                \
    {                                                                                              \
        memcpy(dst, src, pack_size_##id(n, k));                                                    \
    }                                                                                              \
    static void multiply_##id(const struct mk_mm *mm)                                              \
    {                                                                                              \
        multiply(mm, MK_##id);                                                                     \
    }                                                                                              \
    static void row_##id(float *dst, const void *w, int n, int k, int j)                           \
    {                                                                                              \
        (void)n;                                                                                   \
        mk_ref_unpack(MK_##id, (const uint8_t *)w + (size_t)j * mk_row_bytes(MK_##id, (size_t)k),  \
                      dst, (size_t)k);                                                             \
    }
MK_TYPE_MAP(REF_FUNCTIONS)
#undef REF_FUNCTIONS

#define REF_MAT(id, name, gguf, elements, bytes)                                                   \
    {.isa = "c",                                                                                   \
     .type = MK_##id,                                                                              \
     .layout = MK_ROWS,                                                                            \
     .pack_size = pack_size_##id,                                                                  \
     .pack = pack_##id,                                                                            \
     .gemv = multiply_##id,                                                                        \
     .gemm = multiply_##id,                                                                        \
     .gemm_coarse = multiply_##id,                                                                 \
     .row = row_##id},
static const struct mk_mat ref_mat[MK_TYPE_COUNT] = {MK_TYPE_MAP(REF_MAT)};
#undef REF_MAT

void mk_ref_mat(struct mk *mk)
{
    mk->round = mk_ref_round;
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        mk->mat[t] = ref_mat[t];
}
