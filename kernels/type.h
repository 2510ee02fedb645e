/* SPDX-License-Identifier: MIT
 *
 * The number formats a weight may have: one row each, and nothing else to edit to name one.
 *
 * Block layouts are those of the GGUF container (the ids are its tensor type ids); a row of k
 * weights is k / block elements blocks one after the other. Free to every floor.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*  X(enumerator, name, GGUF id, elements a block, bytes a block) */
#define MK_TYPE_MAP(X)                                                                             \
    X(F32, "F32", 0, 1, 4)                                                                         \
    X(F16, "F16", 1, 1, 2)                                                                         \
    X(BF16, "BF16", 30, 1, 2)                                                                      \
    X(Q8_0, "Q8_0", 8, 32, 34)                                                                     \
    X(Q4_K, "Q4_K", 12, 256, 144)                                                                  \
    X(Q6_K, "Q6_K", 14, 256, 210)

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

/* Bytes of one row of k weights; k must be a multiple of the type's block. */
static inline size_t mk_row_bytes(enum mk_type type, size_t k)
{
    return k / mk_type_info[type].block_elements * mk_type_info[type].block_bytes;
}
