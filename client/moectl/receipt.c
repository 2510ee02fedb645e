/* SPDX-License-Identifier: MIT */
#include "moectl/receipt.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/screen.h"

static const struct {
    const char *key;
    size_t offset;
} word_table[] = {
    {"model", offsetof(struct moed_receipt, model)},
    {"version", offsetof(struct moed_receipt, version)},
    {"place", offsetof(struct moed_receipt, place)},
    {"isa", offsetof(struct moed_receipt, isa)},
    {"cache", offsetof(struct moed_receipt, cache)},
    {"attention", offsetof(struct moed_receipt, attention)},
    {"sampler", offsetof(struct moed_receipt, sampler)},
};
enum { N_WORDS = sizeof word_table / sizeof *word_table };

json_t *receipt_json(const struct moed_receipt *r)
{
    json_t *object = json_object();
    for (int i = 0; i < N_WORDS; i++) {
        const char *const *word = (const void *)((const char *)r + word_table[i].offset);
        json_object_set_new(object, word_table[i].key, screen_json_word(*word));
    }
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    json_object_set_new(object, "seed", r->seed ? json_string(seed) : json_null());
    json_object_set_new(object, "cached_rows", screen_json_ids(r->cached_rows, r->n_cached_rows));
    if (r->n_made_rows > 0)
        json_object_set_new(object, "made_rows", screen_json_ids(r->made_rows, r->n_made_rows));
    return object;
}

/* The list of that name behind what is in `rows`; how many, -1: it is no list of numbers. */
static int read_rows(const json_t *object, const char *key, int32_t *rows)
{
    const json_t *list = json_object_get(object, key);
    int n = (int)json_array_size(list);
    for (int i = 0; i < n; i++) {
        const json_t *number = json_array_get(list, (size_t)i);
        json_int_t value = json_integer_value(number);
        if (!json_is_integer(number) || value < 0 || value > INT32_MAX)
            return -1;
        rows[i] = (int32_t)value;
    }
    return !list || json_is_array(list) ? n : -1;
}

static bool read_seed(const json_t *object, uint64_t *ret)
{
    const json_t *seed = json_object_get(object, "seed");
    if (!json_is_string(seed))
        return !seed || json_is_null(seed);
    char *end;
    errno = 0;
    *ret = strtoull(json_string_value(seed), &end, 10);
    return errno == 0 && *end == '\0';
}

bool receipt_read(const json_t *object, struct receipt *ret)
{
    *ret = (struct receipt){.receipt.size = sizeof ret->receipt};
    if (!json_is_object(object))
        return false;
    struct moed_receipt *r = &ret->receipt;
    for (int i = 0; i < N_WORDS; i++) {
        const char **word = (void *)((char *)r + word_table[i].offset);
        *word = json_string_value(json_object_get(object, word_table[i].key));
    }
    size_t n_cached = json_array_size(json_object_get(object, "cached_rows"));
    size_t n_made = json_array_size(json_object_get(object, "made_rows"));
    ret->rows = calloc(n_cached + n_made + 1, sizeof *ret->rows);
    if (!ret->rows)
        abort();
    int cached = read_rows(object, "cached_rows", ret->rows);
    int made = read_rows(object, "made_rows", ret->rows + n_cached);
    r->cached_rows = ret->rows;
    r->n_cached_rows = n_cached;
    r->made_rows = ret->rows + n_cached;
    r->n_made_rows = n_made;
    return cached >= 0 && made >= 0 && read_seed(object, &r->seed);
}

void receipt_fini(struct receipt *receipt)
{
    free(receipt->rows);
    *receipt = (struct receipt){0};
}

json_t *receipt_difference(const json_t *was, const json_t *is)
{
    json_t *object = json_object();
    for (int i = 0; i < N_WORDS; i++) {
        json_t *a = json_object_get(was, word_table[i].key);
        json_t *b = json_object_get(is, word_table[i].key);
        if (!json_equal(a, b))
            json_object_set_new(object, word_table[i].key, json_pack("[O?,O?]", a, b));
    }
    return object;
}
