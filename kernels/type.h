/* SPDX-License-Identifier: MIT
 *
 * The number formats a weight may have: one row each, and nothing else to edit to name one.
 *
 * Block layouts are those of the GGUF container (the ids are its tensor type ids) but where said; a
 * row of k weights is k / block elements blocks one after the other. Free to every floor.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The id of formats that GGUF files cannot hold. A file may well hold this number: it means nothing
 * there, and mk_type_of_gguf() does not find it. */
#define MK_NO_GGUF_ID UINT32_MAX

/*  X(enumerator, name, GGUF id, elements a block, bytes a block)
 *
 * FP8_E4M3 is the house's own row layout for safetensors, whose scales lie apart: float32 scale,
 * then 128 bytes e4m3fn (no infinities, 0x7f and 0xff are NaN); a weight is scale · byte. */
#define MK_TYPE_MAP(X)                                                                             \
    X(F32, "F32", 0, 1, 4)                                                                         \
    X(F16, "F16", 1, 1, 2)                                                                         \
    X(BF16, "BF16", 30, 1, 2)                                                                      \
    X(Q8_0, "Q8_0", 8, 32, 34)                                                                     \
    X(Q4_0, "Q4_0", 2, 32, 18)                                                                     \
    X(Q4_1, "Q4_1", 3, 32, 20)                                                                     \
    X(Q5_0, "Q5_0", 6, 32, 22)                                                                     \
    X(Q5_1, "Q5_1", 7, 32, 24)                                                                     \
    X(Q2_K, "Q2_K", 10, 256, 84)                                                                   \
    X(Q3_K, "Q3_K", 11, 256, 110)                                                                  \
    X(Q4_K, "Q4_K", 12, 256, 144)                                                                  \
    X(Q5_K, "Q5_K", 13, 256, 176)                                                                  \
    X(Q6_K, "Q6_K", 14, 256, 210)                                                                  \
    X(IQ1_S, "IQ1_S", 19, 256, 50)                                                                 \
    X(IQ1_M, "IQ1_M", 29, 256, 56)                                                                 \
    X(IQ2_XXS, "IQ2_XXS", 16, 256, 66)                                                             \
    X(IQ2_XS, "IQ2_XS", 17, 256, 74)                                                               \
    X(IQ2_S, "IQ2_S", 22, 256, 82)                                                                 \
    X(IQ3_XXS, "IQ3_XXS", 18, 256, 98)                                                             \
    X(IQ3_S, "IQ3_S", 21, 256, 110)                                                                \
    X(IQ4_NL, "IQ4_NL", 20, 32, 18)                                                                \
    X(IQ4_XS, "IQ4_XS", 23, 256, 136)                                                              \
    X(MXFP4, "MXFP4", 39, 32, 17)                                                                  \
    X(NVFP4, "NVFP4", 40, 64, 36)                                                                  \
    X(FP8_E4M3, "FP8_E4M3", MK_NO_GGUF_ID, 128, 132)

enum mk_type {
#define MK_TYPE_ENUM(id, name, gguf, elements, bytes) MK_##id,
    MK_TYPE_MAP(MK_TYPE_ENUM)
#undef MK_TYPE_ENUM
        MK_TYPE_COUNT
};

struct mk_type_info {
    const char *name;
    uint32_t gguf_id;
    uint32_t block_elements;
    uint32_t block_bytes;
};

static const struct mk_type_info mk_type_info[MK_TYPE_COUNT] = {
#define MK_TYPE_ROW(id, name, gguf, elements, bytes) {name, gguf, elements, bytes},
    MK_TYPE_MAP(MK_TYPE_ROW)
#undef MK_TYPE_ROW
};

/* The format of a GGUF tensor type id; MK_TYPE_COUNT if there is none. */
static inline enum mk_type mk_type_of_gguf(uint32_t id)
{
    int type = 0;
    while (type < MK_TYPE_COUNT && (id == MK_NO_GGUF_ID || mk_type_info[type].gguf_id != id))
        type++;
    return (enum mk_type)type;
}

/* Bytes of one row of k weights; k must be a multiple of the type's block. */
static inline size_t mk_row_bytes(enum mk_type type, size_t k)
{
    return k / mk_type_info[type].block_elements * mk_type_info[type].block_bytes;
}
