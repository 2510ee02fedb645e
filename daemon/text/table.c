/* SPDX-License-Identifier: MIT
 *
 * Reads tokenizer.ggml.tokens and .token_type. See table.h.
 *
 * A file decides nothing here that is not looked at: lengths of both arrays, every type, every
 * spelling. Duplicates are found where tokens are looked up (bpe.c, added.c). */
#include "text/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "text/alphabet.h"
#include "text/utf8.h"

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES  "tokenizer.ggml.token_type"

/* The types of ggml's vocabularies that occur in byte-level BPE; 2 (unknown) and 6 (byte) belong
 * to other models. */
enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5 };

enum { MAX_TOKENS = 1 << 24, MAX_TOKEN_BYTES = 4096, MAX_ADDED_BYTES = 1024 };

static bool is(const char *text, size_t bytes, const char *word)
{
    return bytes == strlen(word) && memcmp(text, word, bytes) == 0;
}

/* Converters write tokens with a meaning of their own as type 3 or 4, as their taste goes. */
static bool looks_special(const char *text, size_t bytes)
{
    return (bytes >= 2 && text[0] == '<' && text[bytes - 1] == '>') || is(text, bytes, "｜DSML｜");
}

/* Embedding matrices are larger than vocabularies; converters fill the gap. */
static bool is_padding(const char *text, size_t bytes, int32_t id)
{
    char own[24];
    snprintf(own, sizeof(own), "[PAD%" PRId32 "]", id);
    return is(text, bytes, own) || is(text, bytes, "<｜PAD▁TOKEN｜>");
}

static uint8_t flags_of(int32_t type, const char *text, size_t bytes, int32_t id)
{
    if (type == TYPE_NORMAL)
        return 0;
    if (type == TYPE_UNUSED || is_padding(text, bytes, id))
        return TOKEN_ADDED | TOKEN_UNUSED;
    if (type == TYPE_CONTROL || looks_special(text, bytes))
        return TOKEN_ADDED | TOKEN_SPECIAL;
    return TOKEN_ADDED;
}

static int read_token(const struct meta *meta, const char *text, size_t bytes, int32_t type,
                      struct token_table *ret, int32_t id, struct err *err)
{
    if (type != TYPE_NORMAL && (type < TYPE_CONTROL || type > TYPE_UNUSED))
        return err_set(err, -EINVAL,
                       "%s: " TYPES "[%" PRId32 "] is %" PRId32 ", expected 1 (normal), "
                       "3 (control), 4 (user defined) or 5 (unused)",
                       meta_path(meta), id, type);
    size_t most = type == TYPE_NORMAL ? MAX_TOKEN_BYTES : MAX_ADDED_BYTES;
    if (bytes > most || (bytes == 0 && type != TYPE_UNUSED))
        return err_set(err, -EINVAL, "%s: " TOKENS "[%" PRId32 "] has %zu bytes, expected 1 to %zu",
                       meta_path(meta), id, bytes, most);

    char *dst = ret->bytes + ret->at[id];
    size_t n = bytes;
    if (type == TYPE_NORMAL) {
        long decoded = alphabet_decode(text, bytes, dst);
        if (decoded < 0)
            return err_set(err, -EINVAL,
                           "%s: " TOKENS "[%" PRId32 "] '%.*s' has a character outside the "
                           "alphabet of byte-level BPE",
                           meta_path(meta), id, utf8_quote(text, bytes), text);
        n = (size_t)decoded;
    } else if (bytes > 0) {
        memcpy(dst, text, bytes);
    }
    ret->flags[id] = flags_of(type, text, bytes, id);
    ret->at[id + 1] = ret->at[id] + (uint32_t)n;
    if (n > ret->max_bytes)
        ret->max_bytes = n;
    return 0;
}

int token_table_read(const struct meta *meta, struct token_table *ret, struct err *err)
{
    uint64_t n = 0, n_types = 0;
    const int32_t *types = NULL;
    int r = meta_str_array(meta, TOKENS, &n, err);
    if (r == 0)
        r = meta_i32_array(meta, TYPES, &types, &n_types, err);
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "%s: no %s: the file holds no vocabulary", meta_path(meta),
                       n ? TYPES : TOKENS);
    if (r < 0)
        return r;
    if (n == 0 || n > MAX_TOKENS)
        return err_set(err, -EINVAL, "%s: " TOKENS " has %" PRIu64 " entries, expected 1 to %d",
                       meta_path(meta), n, MAX_TOKENS);
    if (n_types != n)
        return err_set(err, -EINVAL,
                       "%s: " TYPES " has %" PRIu64 " entries, expected %" PRIu64 ", one a token",
                       meta_path(meta), n_types, n);

    uint64_t all = 0; /* cannot wrap: every string lies in the file */
    for (uint64_t i = 0; i < n; i++) {
        size_t bytes;
        meta_str_at(meta, TOKENS, i, &bytes);
        all += bytes;
    }
    if (all > UINT32_MAX)
        return err_set(err, -EINVAL, "%s: " TOKENS " is %" PRIu64 " bytes long, expected < 4 GiB",
                       meta_path(meta), all);
    ret->n = (int32_t)n;
    ret->flags = calloc(n, sizeof(*ret->flags));
    ret->at = calloc(n + 1, sizeof(*ret->at));
    ret->bytes = malloc(all + 1);
    if (!ret->flags || !ret->at || !ret->bytes)
        return err_set(err, -ENOMEM, "%s: no memory for %" PRIu64 " tokens", meta_path(meta), n);

    for (int32_t id = 0; id < ret->n; id++) {
        size_t bytes;
        const char *text = meta_str_at(meta, TOKENS, (uint64_t)id, &bytes);
        r = read_token(meta, text, bytes, types[id], ret, id, err);
        if (r < 0)
            return r;
    }
    return 0;
}

void token_table_fini(struct token_table *table)
{
    free(table->flags);
    free(table->at);
    free(table->bytes);
    *table = (struct token_table){0};
}
