/* SPDX-License-Identifier: MIT
 *
 * See vocabulary.h.
 */
#include "vocabulary.h"

#include <string.h>

#include "folder.h"
#include "format/format.h"
#include "target.h"
#include "text/token.h"

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES  "tokenizer.ggml.token_type"
#define MERGES "tokenizer.ggml.merges"

/* As many types as tokens, and texts that end where they say. */
static void ask(const struct meta *meta)
{
    uint64_t n, n_types, n_merges;
    const int32_t *types;
    PROMISE(meta_str_array(meta, TOKENS, &n, NULL) == 0 && n > 0);
    PROMISE(meta_i32_array(meta, TYPES, &types, &n_types, NULL) == 0 && n_types == n);
    PROMISE(meta_str_array(meta, MERGES, &n_merges, NULL) == 0);
    size_t bytes;
    for (uint64_t i = 0; i < n; i++) {
        const char *text = meta_str_at(meta, TOKENS, i, &bytes);
        PROMISE(strlen(text) == bytes && types[i] >= 1 && types[i] <= 5);
    }
    for (uint64_t i = 0; i < n_merges; i++) {
        const char *text = meta_str_at(meta, MERGES, i, &bytes);
        PROMISE(strlen(text) == bytes);
    }
}

static void round_trip(const struct vocab *vocab, const char *text, size_t bytes, unsigned flags)
{
    struct ids ids = {0};
    size_t at = 0;
    int r = vocab_encode(vocab, text, bytes, flags, &ids, NULL);
    for (size_t i = 0; i < ids.n; i++) {
        size_t n;
        PROMISE(ids.id[i] >= 0 && ids.id[i] < vocab_size(vocab));
        PROMISE(!vocab_is_unused(vocab, ids.id[i]));
        PROMISE(flags == VOCAB_SPECIAL || !vocab_is_special(vocab, ids.id[i]));
        const char *piece = vocab_bytes(vocab, ids.id[i], &n);
        PROMISE(n > 0 && n <= bytes - at && memcmp(piece, text + at, n) == 0);
        at += n;
    }
    PROMISE(r == 0 ? at == bytes : ids.n == 0);
    ids_fini(&ids);
}

static void use(const struct meta *meta, const uint8_t *data, size_t bytes)
{
    static const char text[] =
        "Is it the fox's forest? [EOS] 12345\n  \xE4\xBD\xA0\xE5\xA5\xBD <|im_end|>";
    struct vocab *vocab = NULL;
    struct err err = {0};
    int r = vocab_open(meta, &vocab, &err);
    PROMISE(r == err.code && (r == 0) == (vocab != NULL));
    size_t tail = bytes < 64 ? bytes : 64;
    for (unsigned flags = 0; r == 0 && flags <= VOCAB_SPECIAL; flags++) {
        round_trip(vocab, text, sizeof text - 1, flags);
        round_trip(vocab, (const char *)data + bytes - tail, tail, flags);
    }
    vocab_close(vocab);
}

void vocabulary_try(const uint8_t *data, size_t bytes, const char *first, const char *second,
                    const char *named)
{
    const uint8_t *cut = bytes ? memrchr(data, 0, bytes) : NULL;
    size_t n = cut ? (size_t)(cut - data) : bytes;
    folder_write(first, data, n);
    if (cut)
        folder_write(second, cut + 1, bytes - n - 1);
    folder_settle();
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder_path(), named);
    struct err err = {0};
    struct format *format = NULL;
    int r = format_open(path, &format, &err);
    PROMISE(r == err.code && (r == 0) == (format != NULL));
    PROMISE(r == 0 || (r < 0 && strstr(err.text, folder_path())));
    if (r == 0) {
        if (strncmp(format_kind(format), "GGUF", 4)) /* first bytes count for more than names */
            ask(format_meta(format));
        use(format_meta(format), data, n);
    }
    format_close(format);
}
