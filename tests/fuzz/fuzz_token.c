/* SPDX-License-Identifier: MIT
 *
 * Vocabularies and text: any bytes as changes to a small vocabulary, and as text for it.
 *
 *     byte 0        the pre-tokenizer
 *     byte 1        how many changes, 0 to 15, of 4 bytes each: what, where (2 bytes), with what
 *     the rest      the text
 *
 * What opens must take every text back out as it went in, and turn no content into a marker.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"
#include "target.h"
#include "text/chat.h"
#include "text/detok.h"
#include "text/token.h"
#include "text/utf8.h"

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES  "tokenizer.ggml.token_type"
#define MERGES "tokenizer.ggml.merges"

static const char *const pre[] = {"deepseek-v3", "deepseek-llm", "deepseek-coder", "unknown"};

static void change(struct meta *meta, const uint8_t *data)
{
    static const char *const words[] = {"",    "Ġ",       "x y",      "中",       "ab",
                                        "Ġab", "<think>", "<thinkx>", "[PAD7]",   "Ċ",
                                        "aa",  "<",       "｜DSML｜", "\xC5\x84", "ü"};
    uint64_t n = keys_count(meta, TOKENS);
    uint64_t where = (uint64_t)(data[1] | data[2] << 8) % n;
    const char *word = words[data[3] % (sizeof(words) / sizeof(words[0]))];
    size_t bytes;
    switch (data[0] % 8) {
    case 0:
        keys_merge(meta, meta_str_at(meta, TOKENS, where, &bytes),
                   meta_str_at(meta, TOKENS, data[3] % n, &bytes));
        break;
    case 1:
        keys_set(meta, TOKENS, where, word);
        break;
    case 2:
        keys_set_i32(meta, TYPES, where, data[3] % 8);
        break;
    case 3:
        keys_token(meta, word, 1 + data[1] % 5);
        break;
    case 4:
        keys_push(meta, MERGES, word);
        break;
    case 5:
        keys_u32(meta, data[3] % 2 ? "tokenizer.ggml.bos_token_id" : "tokenizer.ggml.eos_token_id",
                 (uint32_t)(data[1] | data[2] << 8));
        break;
    case 6:
        keys_drop(meta, data[3] % 2 ? "tokenizer.ggml.bos_token_id" : MERGES);
        break;
    default:
        keys_push_i32(meta, TYPES, data[3]);
        break;
    }
}

static struct vocab *open_changed(const uint8_t *data, int n_changes)
{
    OWN(meta) *meta = keys_toy(pre[data[0] % 4]);
    for (int i = 0; i < n_changes; i++)
        change(meta, data + 2 + 4 * i);
    struct vocab *vocab = NULL;
    struct err err = {0};
    int r = vocab_open(meta, &vocab, &err);
    PROMISE(r == 0 || (r < 0 && err.code == r && *err.text && !vocab));
    return vocab;
}

static void check_round_trip(const struct vocab *vocab, const char *text, size_t bytes,
                             const struct ids *ids, bool content)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        PROMISE(ids->id[i] >= 0 && ids->id[i] < vocab_size(vocab));
        PROMISE(!vocab_is_unused(vocab, ids->id[i]));
        PROMISE(!content || !vocab_is_special(vocab, ids->id[i]));
        const char *s = vocab_bytes(vocab, ids->id[i], &n);
        PROMISE(n > 0 && n <= bytes - at && memcmp(s, text + at, n) == 0);
        at += n;
    }
    PROMISE(at == bytes);
}

/* As a stream: valid chunks, and a valid text comes out whole. */
static void check_stream(const struct vocab *vocab, const char *text, size_t bytes,
                         const struct ids *ids)
{
    static const char *const stops[] = {"never, never \xEE\x80\x80", "\xEE\x80\x80\xEE\x80\x80"};
    struct detok d;
    PROMISE(detok_init(&d, vocab, true, stops, 2, NULL) == 0);
    bool valid = utf8_valid(text, bytes) == bytes;
    size_t at = 0;
    for (size_t i = 0; i <= ids->n; i++) {
        const char *s;
        size_t n;
        if (i < ids->n)
            detok_push(&d, ids->id[i], &s, &n);
        else
            detok_finish(&d, &s, &n);
        PROMISE(utf8_valid(s, n) == n);
        PROMISE(!valid || d.stopped || (n <= bytes - at && memcmp(s, text + at, n) == 0));
        at += n;
    }
    PROMISE(!valid || d.stopped || at == bytes);
    detok_fini(&d);
}

/* As the words of a user: the template's markers and no more. */
static void check_prompt(const struct vocab *vocab, const char *text, size_t bytes)
{
    const struct chat_message message = {.role = CHAT_USER, .content = text, .bytes = bytes};
    const struct chat_options options = {.add_generation_prompt = true};
    struct ids ids = {0};
    if (chat_by_name("deepseek-v3")->render(vocab, &message, 1, &options, &ids, NULL) == 0) {
        int n_special = 0;
        for (size_t i = 0; i < ids.n; i++)
            n_special += vocab_is_special(vocab, ids.id[i]);
        PROMISE(n_special == 3);
    } else {
        PROMISE(ids.n == 0);
    }
    ids_fini(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct vocab *plain[4]; /* immutable, so that text alone runs fast */
    if (bytes < 2)
        return 0;
    int n_changes = data[1] % 16;
    if (bytes < 2 + 4 * (size_t)n_changes)
        return 0;
    struct vocab *vocab = n_changes ? NULL : plain[data[0] % 4];
    if (!vocab)
        vocab = open_changed(data, n_changes);
    if (!vocab)
        return 0;
    if (n_changes == 0)
        plain[data[0] % 4] = vocab;

    const char *text = (const char *)data + 2 + 4 * n_changes;
    bytes -= 2 + 4 * (size_t)n_changes;
    for (unsigned flags = 0; flags <= VOCAB_SPECIAL; flags++) {
        struct ids ids = {0};
        struct err err = {0};
        int r = vocab_encode(vocab, text, bytes, flags, &ids, &err);
        if (r == 0) {
            check_round_trip(vocab, text, bytes, &ids, flags == 0);
            check_stream(vocab, text, bytes, &ids);
        } else { /* only for a byte that cannot be UTF-8 and has lost its token */
            PROMISE(r == -EINVAL && ids.n == 0 && utf8_valid(text, bytes) < bytes);
        }
        ids_fini(&ids);
    }
    check_prompt(vocab, text, bytes);
    if (n_changes)
        vocab_close(vocab);
    return 0;
}
