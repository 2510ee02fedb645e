/* SPDX-License-Identifier: MIT
 *
 * See hf_vocab.h.
 */
#include "format/hf_vocab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "format/meta.h"

enum { PAD_BYTES = 16 };

void hf_vocab_fini(struct hf_vocab *vocab)
{
    free(vocab->slot);
    free(vocab->merges);
    free(vocab->start);
    free(vocab->own);
    *vocab = (struct hf_vocab){0};
}

int hf_vocab_add(struct json *json, struct hf_vocab *vocab, uint64_t id,
                 const struct json_text *text, enum hf_token kind)
{
    if (id >= HF_MAX_TOKENS)
        return json_fail(json, -EINVAL,
                         "token '%.60s' has the id %" PRIu64 ", expected less than %d", text->at,
                         id, HF_MAX_TOKENS);
    if (id >= vocab->room) {
        uint32_t room = vocab->room ? vocab->room : 1024;
        while (room <= id)
            room *= 2;
        struct hf_slot *grown = realloc(vocab->slot, room * sizeof *grown);
        if (!grown)
            return json_fail(json, -ENOMEM, "no memory for %" PRIu32 " tokens", room);
        memset(grown + vocab->room, 0, (room - vocab->room) * sizeof *grown);
        vocab->slot = grown;
        vocab->room = room;
    }
    struct hf_slot *slot = &vocab->slot[id];
    bool same =
        slot->kind && slot->bytes == text->bytes && memcmp(slot->text, text->at, text->bytes) == 0;
    if (slot->kind && (!same || (slot->kind == HF_NORMAL) == (kind == HF_NORMAL)))
        return json_fail(json, -EINVAL, "tokens '%.60s' and '%.60s' have one id, %" PRIu64,
                         slot->text, text->at, id);
    if (slot->kind <= HF_NORMAL) /* what is added is more than a token of the vocabulary */
        *slot = (struct hf_slot){
            .text = text->at, .bytes = (uint32_t)text->bytes, .kind = (uint8_t)kind};
    if (id >= vocab->n)
        vocab->n = (uint32_t)id + 1;
    return 0;
}

int hf_vocab_merge(struct json *json, struct hf_vocab *vocab, const struct json_text *left,
                   const struct json_text *right)
{
    size_t bytes = left->bytes + (right ? right->bytes + 1 : 0) + 1;
    if (vocab->n_merges == HF_MAX_MERGES)
        return json_fail(json, -EINVAL, "found more than %d merges, the most accepted",
                         HF_MAX_MERGES);
    if (vocab->start_room < vocab->n_merges + 2) {
        uint32_t room = vocab->start_room ? vocab->start_room * 2 : 1024;
        uint32_t *grown = realloc(vocab->start, room * sizeof *grown);
        if (!grown)
            return json_fail(json, -ENOMEM, "no memory for %" PRIu32 " merges", room);
        vocab->start = grown;
        vocab->start_room = room;
        if (vocab->n_merges == 0)
            vocab->start[0] = 0;
    }
    if (vocab->merge_room - vocab->merge_bytes < bytes) {
        size_t room = (vocab->merge_bytes + bytes) * 3 / 2 + 256;
        char *grown = realloc(vocab->merges, room);
        if (!grown)
            return json_fail(json, -ENOMEM, "no memory for %zu bytes of merges", room);
        vocab->merges = grown;
        vocab->merge_room = room;
    }
    char *dst = vocab->merges + vocab->merge_bytes;
    memcpy(dst, left->at, left->bytes);
    if (right) {
        dst[left->bytes] = ' ';
        memcpy(dst + left->bytes + 1, right->at, right->bytes);
    }
    dst[bytes - 1] = '\0';
    vocab->merge_bytes += bytes; /* ≤ 3/2 of a file of at most 64 MiB */
    vocab->start[++vocab->n_merges] = (uint32_t)vocab->merge_bytes;
    return 0;
}

int64_t hf_vocab_find(const struct hf_vocab *vocab, const struct json_text *text)
{
    for (uint32_t i = 0; i < vocab->n && text->bytes; i++) {
        const struct hf_slot *slot = &vocab->slot[i];
        bool added = slot->kind == HF_CONTROL || slot->kind == HF_ADDED;
        if (added && slot->bytes == text->bytes && memcmp(slot->text, text->at, text->bytes) == 0)
            return i;
    }
    return -1;
}

/* ------------------------------------------------------------------ keys */

static int put_tokens(const struct hf_vocab *vocab, uint32_t n, struct meta *meta)
{
    size_t bytes = 0, at = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += i < vocab->n && vocab->slot[i].kind ? vocab->slot[i].bytes + 1 : PAD_BYTES;
    char *text = malloc(bytes + 1);
    uint32_t *start = malloc(((size_t)n + 1) * sizeof *start);
    int32_t *kind = malloc(((size_t)n + 1) * sizeof *kind);
    if (!text || !start || !kind) {
        free(text);
        free(start);
        free(kind);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        start[i] = (uint32_t)at;
        if (i < vocab->n && vocab->slot[i].kind) {
            kind[i] = vocab->slot[i].kind;
            memcpy(text + at, vocab->slot[i].text, vocab->slot[i].bytes);
            at += vocab->slot[i].bytes;
            text[at++] = '\0';
        } else {
            kind[i] = HF_UNUSED;
            at += (size_t)snprintf(text + at, PAD_BYTES, "[PAD%" PRIu32 "]", i) + 1;
        }
    }
    start[n] = (uint32_t)at;
    int r = meta_put_strings(meta, "tokenizer.ggml.tokens", text, start, n);
    if (r < 0)
        free(kind);
    return r < 0 ? r : meta_put_ints(meta, "tokenizer.ggml.token_type", kind, n);
}

static int put_merges(struct hf_vocab *vocab, struct meta *meta)
{
    if (!vocab->start)
        vocab->start = calloc(1, sizeof *vocab->start);
    if (!vocab->merges)
        vocab->merges = calloc(1, 1);
    if (!vocab->start || !vocab->merges)
        return -ENOMEM;
    return meta_put_strings(meta, "tokenizer.ggml.merges", TAKE(vocab->merges), TAKE(vocab->start),
                            vocab->n_merges);
}

int hf_vocab_put(struct hf_vocab *vocab, const char *label, int rows, struct meta *meta,
                 struct err *err)
{
    uint32_t n = vocab->n;
    if (n == 0)
        return err_set(err, -EINVAL, "'%s': found no tokens, expected some", label);
    if (rows > 0 && rows <= HF_MAX_TOKENS && (uint32_t)rows > n)
        n = (uint32_t)rows;
    int r = meta_put_str(meta, "tokenizer.ggml.model", "gpt2", 4);
    if (r == 0)
        r = meta_put_str(meta, "tokenizer.ggml.pre", vocab->pre, strlen(vocab->pre));
    if (r == 0) /* no key of GGUF: there the splitting rule has to tell */
        r = meta_put_bool(meta, "tokenizer.ggml.ignore_merges", vocab->whole);
    if (r == 0)
        r = put_tokens(vocab, n, meta);
    if (r == 0)
        r = put_merges(vocab, meta);
    return r < 0 ? err_set(err, r, "'%s': no memory for %" PRIu32 " tokens", label, n) : 0;
}
