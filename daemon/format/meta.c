/* SPDX-License-Identifier: MIT
 *
 * Typed answers from the metadata of a model file. No raw value leaves this file: a caller says
 * which type it wants, and gets it, or words. Any thread, after the file is open.
 */
#include "format/meta.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"

int meta_new(const char *label, uint64_t room, struct meta **ret)
{
    assert(room <= META_MAX_KEYS);
    struct meta *meta = calloc(1, sizeof *meta);
    if (!meta)
        return -ENOMEM;
    meta->label = label;
    meta->room = (int)room;
    meta->value = calloc((size_t)room + 1, sizeof *meta->value);
    if (!meta->value) {
        meta_free(meta);
        return -ENOMEM;
    }
    *ret = meta;
    return 0;
}

void meta_free(struct meta *meta)
{
    if (!meta)
        return;
    for (int i = 0; i < meta->n; i++) {
        struct meta_value *v = &meta->value[i];
        free(v->key);
        free(v->text);
        free(v->start);
        free(v->ints);
    }
    free(meta->value);
    free(meta->by_key);
    free(meta);
}

struct meta_value *meta_append(struct meta *meta, char *key)
{
    assert(meta->n < meta->room);
    struct meta_value *v = &meta->value[meta->n++];
    v->key = key;
    return v;
}

static struct meta_value *put_value(struct meta *meta, const char *key, enum meta_kind kind,
                                    const char *type)
{
    if (meta->n == meta->room)
        return NULL;
    char *kept = strdup(key);
    if (!kept)
        return NULL;
    struct meta_value *v = meta_append(meta, kept);
    v->kind = kind;
    v->type = type;
    return v;
}

int meta_put_u32(struct meta *meta, const char *key, uint32_t value)
{
    struct meta_value *v = put_value(meta, key, META_UINT, "u32");
    if (!v)
        return -ENOMEM;
    v->scalar.u = value;
    return 0;
}

int meta_put_f32(struct meta *meta, const char *key, double value)
{
    struct meta_value *v = put_value(meta, key, META_FLOAT, "f32");
    if (!v)
        return -ENOMEM;
    v->scalar.f = value;
    return 0;
}

int meta_put_bool(struct meta *meta, const char *key, bool value)
{
    struct meta_value *v = put_value(meta, key, META_BOOL, "bool");
    if (!v)
        return -ENOMEM;
    v->scalar.b = value;
    return 0;
}

int meta_put_str(struct meta *meta, const char *key, const char *text, size_t bytes)
{
    struct meta_value *v = put_value(meta, key, META_STR, "string");
    if (!v)
        return -ENOMEM;
    v->text = malloc(bytes + 1);
    if (!v->text)
        return -ENOMEM;
    memcpy(v->text, text, bytes);
    v->text[bytes] = '\0';
    v->bytes = bytes;
    return 0;
}

int meta_put_strings(struct meta *meta, const char *key, char *text, uint32_t *start, uint64_t n)
{
    struct meta_value *v = put_value(meta, key, META_ARRAY, "string");
    if (!v) {
        free(text);
        free(start);
        return -ENOMEM;
    }
    v->element = META_STR;
    v->text = text;
    v->start = start;
    v->n = n;
    return 0;
}

int meta_put_ints(struct meta *meta, const char *key, int32_t *ints, uint64_t n)
{
    struct meta_value *v = put_value(meta, key, META_ARRAY, "i32");
    if (!v) {
        free(ints);
        return -ENOMEM;
    }
    v->element = META_INT;
    v->ints = ints;
    v->n = n;
    return 0;
}

static int compare_keys(const void *a, const void *b, void *arg)
{
    const struct meta *meta = arg;
    return strcmp(meta->value[*(const uint32_t *)a].key, meta->value[*(const uint32_t *)b].key);
}

int meta_seal(struct meta *meta, struct err *err)
{
    meta->by_key = malloc(((size_t)meta->n + 1) * sizeof *meta->by_key);
    if (!meta->by_key)
        return err_set(err, -ENOMEM, "'%s': no memory for %d keys", meta->label, meta->n);
    for (int i = 0; i < meta->n; i++)
        meta->by_key[i] = (uint32_t)i;
    qsort_r(meta->by_key, (size_t)meta->n, sizeof *meta->by_key, compare_keys, meta);
    for (int i = 1; i < meta->n; i++) {
        uint32_t a = meta->by_key[i - 1], b = meta->by_key[i];
        if (strcmp(meta->value[a].key, meta->value[b].key) == 0)
            return err_set(err, -EINVAL,
                           "'%s', key '%.100s': found twice (entries %u and %u), expected once",
                           meta->label, meta->value[a].key, a < b ? a : b, a < b ? b : a);
    }
    return 0;
}

static const struct meta_value *find(const struct meta *meta, const char *key)
{
    int low = 0, high = meta->n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct meta_value *v = &meta->value[meta->by_key[middle]];
        int order = strcmp(key, v->key);
        if (order == 0)
            return v;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int meta_same(const struct meta *other, const struct meta *meta, int i)
{
    const struct meta_value *a = &meta->value[i], *b = find(other, a->key);
    if (!b)
        return -ENOENT;
    if (a->kind != b->kind)
        return 0;
    switch (a->kind) {
    case META_UINT:
    case META_INT:
        return a->scalar.u == b->scalar.u;
    case META_FLOAT:
        return memcmp(&a->scalar.f, &b->scalar.f, sizeof a->scalar.f) == 0;
    case META_BOOL:
        return a->scalar.b == b->scalar.b;
    case META_STR:
        return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
    case META_ARRAY:
        break;
    }
    if (a->n != b->n || a->element != b->element || a->misfit || b->misfit)
        return 0;
    if (a->element == META_STR)
        return memcmp(a->start, b->start, (size_t)(a->n + 1) * sizeof *a->start) == 0 &&
               (a->n == 0 || memcmp(a->text, b->text, a->start[a->n]) == 0);
    return a->ints && b->ints && memcmp(a->ints, b->ints, (size_t)a->n * sizeof *a->ints) == 0;
}

static int wrong_type(const struct meta *meta, const struct meta_value *v, const char *expected,
                      struct err *err)
{
    return err_set(err, -EINVAL, "'%s', key '%.100s': found %s%s, expected %s", meta->label, v->key,
                   v->kind == META_ARRAY ? "an array of " : "type ", v->type, expected);
}

int meta_u32(const struct meta *meta, const char *key, uint32_t *ret, struct err *err)
{
    const struct meta_value *v = find(meta, key);
    if (!v)
        return -ENOENT;
    if (v->kind != META_UINT && v->kind != META_INT)
        return wrong_type(meta, v, "an integer", err);
    if (v->kind == META_INT && v->scalar.i < 0)
        return err_set(err, -EINVAL, "'%s', key '%.100s': found %" PRId64 ", expected 0 to %u",
                       meta->label, v->key, v->scalar.i, UINT32_MAX);
    uint64_t u = v->kind == META_INT ? (uint64_t)v->scalar.i : v->scalar.u;
    if (u > UINT32_MAX)
        return err_set(err, -EINVAL, "'%s', key '%.100s': found %" PRIu64 ", expected 0 to %u",
                       meta->label, v->key, u, UINT32_MAX);
    *ret = (uint32_t)u;
    return 0;
}

int meta_f32(const struct meta *meta, const char *key, float *ret, struct err *err)
{
    const struct meta_value *v = find(meta, key);
    if (!v)
        return -ENOENT;
    if (v->kind != META_FLOAT)
        return wrong_type(meta, v, "f32 or f64", err);
    if (!isfinite(v->scalar.f) || fabs(v->scalar.f) > FLT_MAX)
        return err_set(err, -EINVAL, "'%s', key '%.100s': found %g, expected a finite f32",
                       meta->label, v->key, v->scalar.f);
    *ret = (float)v->scalar.f;
    return 0;
}

int meta_bool(const struct meta *meta, const char *key, bool *ret, struct err *err)
{
    const struct meta_value *v = find(meta, key);
    if (!v)
        return -ENOENT;
    if (v->kind != META_BOOL)
        return wrong_type(meta, v, "bool", err);
    *ret = v->scalar.b;
    return 0;
}

int meta_str(const struct meta *meta, const char *key, const char **ret, size_t *bytes,
             struct err *err)
{
    const struct meta_value *v = find(meta, key);
    if (!v)
        return -ENOENT;
    if (v->kind != META_STR)
        return wrong_type(meta, v, "a string", err);
    *ret = v->text;
    if (bytes)
        *bytes = v->bytes;
    return 0;
}

bool meta_has(const struct meta *meta, const char *key)
{
    return find(meta, key) != NULL;
}

const char *meta_path(const struct meta *meta)
{
    return meta->label;
}

int meta_str_array(const struct meta *meta, const char *key, uint64_t *n, struct err *err)
{
    const struct meta_value *v = find(meta, key);
    if (!v)
        return -ENOENT;
    if (v->kind != META_ARRAY || v->element != META_STR)
        return wrong_type(meta, v, "an array of strings", err);
    *n = v->n;
    return 0;
}

const char *meta_str_at(const struct meta *meta, const char *key, uint64_t i, size_t *bytes)
{
    const struct meta_value *v = find(meta, key);
    if (!v || v->kind != META_ARRAY || v->element != META_STR || i >= v->n)
        return NULL;
    if (bytes)
        *bytes = v->start[i + 1] - v->start[i] - 1;
    return v->text + v->start[i];
}

int meta_i32_array(const struct meta *meta, const char *key, const int32_t **ret, uint64_t *n,
                   struct err *err)
{
    const struct meta_value *v = find(meta, key);
    if (!v)
        return -ENOENT;
    if (v->kind != META_ARRAY || (v->element != META_UINT && v->element != META_INT))
        return wrong_type(meta, v, "an array of integers", err);
    if (v->misfit)
        return err_set(err, -EINVAL, "'%s', key '%.100s': found %" PRIu64 " %s, %s", meta->label,
                       v->key, v->n, v->type, v->misfit);
    *ret = v->ints;
    *n = v->n;
    return 0;
}

int meta_n_keys(const struct meta *meta)
{
    return meta->n;
}

const char *meta_key(const struct meta *meta, int i)
{
    return i >= 0 && i < meta->n ? meta->value[i].key : NULL;
}

/* snprintf that goes on at *at; what does not fit whole is left out, so no character is cut. */
static void put(char *dst, size_t size, size_t *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void put(char *dst, size_t size, size_t *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(dst + *at, size - *at, fmt, args);
    va_end(args);
    if (n > 0 && (size_t)n < size - *at)
        *at += (size_t)n;
    dst[*at] = '\0';
}

/* One line of at most `most` bytes, cut between characters; control bytes become spaces. */
static void put_text(char *dst, size_t size, size_t *at, const char *text, size_t bytes,
                     size_t most)
{
    bool cut = bytes > most;
    size_t n = cut ? most : bytes;
    while (cut && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    if (size - *at <= n + 4) /* room for the ellipsis and NUL */
        return;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        dst[(*at)++] = c < 0x20 || c == 0x7f ? ' ' : text[i];
    }
    dst[*at] = '\0';
    if (cut)
        put(dst, size, at, "…");
}

size_t meta_text(const struct meta *meta, int i, char *dst, size_t size)
{
    enum { SHOWN = 4, ELEMENT_BYTES = 24, TEXT_BYTES = 200 };
    if (size == 0)
        return 0;
    dst[0] = '\0';
    if (i < 0 || i >= meta->n)
        return 0;
    const struct meta_value *v = &meta->value[i];
    size_t at = 0;
    switch (v->kind) {
    case META_UINT:
        put(dst, size, &at, "%" PRIu64, v->scalar.u);
        break;
    case META_INT:
        put(dst, size, &at, "%" PRId64, v->scalar.i);
        break;
    case META_FLOAT:
        put(dst, size, &at, "%.9g", v->scalar.f);
        break;
    case META_BOOL:
        put(dst, size, &at, "%s", v->scalar.b ? "true" : "false");
        break;
    case META_STR:
        put_text(dst, size, &at, v->text, v->bytes, size / 2 < TEXT_BYTES ? size / 2 : TEXT_BYTES);
        break;
    case META_ARRAY:
        put(dst, size, &at, "[%" PRIu64 "] %s", v->n, v->type);
        for (uint64_t k = 0; k < v->n && k < SHOWN; k++) {
            const char *comma = k ? ", " : ": ";
            if (v->ints) {
                put(dst, size, &at, "%s%" PRId32, comma, v->ints[k]);
            } else if (v->start) {
                put(dst, size, &at, "%s", comma);
                put_text(dst, size, &at, v->text + v->start[k], v->start[k + 1] - v->start[k] - 1,
                         ELEMENT_BYTES);
            }
        }
        if (v->n > SHOWN && (v->ints || v->start))
            put(dst, size, &at, ", …");
        break;
    }
    return at;
}
