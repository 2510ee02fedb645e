/* SPDX-License-Identifier: MIT
 *
 * The inside of struct meta: what the reader of a container fills in, and meta.c answers from.
 *
 * Filled by the thread that opens the file; immutable after meta_seal(), so any thread may ask.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

enum meta_kind { META_UINT, META_INT, META_FLOAT, META_BOOL, META_STR, META_ARRAY };

enum { META_MAX_KEYS = 65536, META_MAX_KEY_BYTES = 65535 };

/* Integers narrower than 32 bits grow when they are kept as int32: no more than this in all. */
#define META_WIDENED_MAX ((uint64_t)8 << 20)

union meta_scalar {
    uint64_t u;
    int64_t i;
    double f;
    bool b;
};

struct meta_value {
    char *key;
    const char *type; /* as the file stores it: "u32"; of an array, its elements' */
    enum meta_kind kind;
    enum meta_kind element; /* of an array */
    union meta_scalar scalar;
    uint64_t n;         /* elements of an array */
    char *text;         /* a string, or all strings of an array, each ended by NUL */
    size_t bytes;       /* of a string, without its NUL */
    uint32_t *start;    /* strings of an array: n + 1 offsets into text */
    int32_t *ints;      /* integers of an array, if `misfit` is NULL */
    const char *misfit; /* why an array of integers was not kept */
};

struct meta {
    const char *label; /* the file, as error messages name it; owned by the format */
    struct meta_value *value;
    uint32_t *by_key; /* order of the keys, sorted */
    int n, room;
    uint64_t widened; /* bytes spent of META_WIDENED_MAX */
};

int meta_new(const char *label, uint64_t room, struct meta **ret); /* -ENOMEM */
void meta_free(struct meta *meta);
OWN_DEFINE(meta, meta_free);
/* The next, zeroed value, which adopts `key`. Room was given at meta_new(). */
struct meta_value *meta_append(struct meta *meta, char *key);
/* Sorts the keys; -EINVAL naming a key that is there twice. */
int meta_seal(struct meta *meta, struct err *err);
/* Key i of `meta` in `other`: 1 the same value, 0 another, -ENOENT no such key. */
int meta_same(const struct meta *other, const struct meta *meta, int i);

/* For containers whose keys are made up from other files: the next value. Keys and strings are
 * copied. -ENOMEM, also when the room of meta_new() is used up. */
int meta_put_u32(struct meta *meta, const char *key, uint32_t value);
int meta_put_f32(struct meta *meta, const char *key, double value);
int meta_put_bool(struct meta *meta, const char *key, bool value);
int meta_put_str(struct meta *meta, const char *key, const char *text, size_t bytes);
/* Adopts the arrays, as struct meta_value has them. */
int meta_put_strings(struct meta *meta, const char *key, char *text, uint32_t *start, uint64_t n);
int meta_put_ints(struct meta *meta, const char *key, int32_t *ints, uint64_t n);
