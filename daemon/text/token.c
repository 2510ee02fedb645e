/* SPDX-License-Identifier: MIT
 *
 * A vocabulary: added tokens first, then pieces, then merges. See token.h. */
#include "text/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/format.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/pretok.h"
#include "text/table.h"
#include "text/utf8.h"

struct vocab {
    struct token_table table;
    struct added added;
    struct bpe *bpe;
    struct pretok *pretok;
    const char *pre; /* of pretok_table */
    int32_t bos, eos;
    bool add_bos;
    bool whole; /* pieces that are a token become it */
};

/* Markers that end a turn beside the eos of the file: Coder's, Kimi's, GLM's. */
static const char *const end_markers[] = {
    "<｜end▁of▁sentence｜>", "<|EOT|>",  "<|im_end|>",      "[EOS]", "[EOT]",
    "<|endoftext|>",         "<|user|>", "<|observation|>", NULL,
};

/* ---- ids */

int ids_append(struct ids *ids, const int32_t *id, size_t n)
{
    if (n > ids->room - ids->n) {
        size_t room = ids->room ? ids->room : 64;
        while (room - ids->n < n) {
            if (room > SIZE_MAX / 2)
                return -ENOMEM;
            room *= 2;
        }
        int32_t *grown = reallocarray(ids->id, room, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        ids->id = grown;
        ids->room = room;
    }
    if (n > 0)
        memcpy(ids->id + ids->n, id, n * sizeof(*id));
    ids->n += n;
    return 0;
}

int ids_push(struct ids *ids, int32_t id)
{
    return ids_append(ids, &id, 1);
}

void ids_fini(struct ids *ids)
{
    free(ids->id);
    *ids = (struct ids){0};
}

/* ---- opening */

/* The rules of the file, by the names it gives. */
static int open_rules(struct vocab *vocab, const struct meta *meta, struct err *err)
{
    const char *model = NULL, *pre = NULL;
    size_t bytes;
    int r = meta_str(meta, "tokenizer.ggml.model", &model, &bytes, err);
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "%s: no tokenizer.ggml.model: the file holds no vocabulary",
                       meta_path(meta));
    if (r < 0)
        return r;
    if (strcmp(model, "gpt2") != 0)
        return err_set(err, -ENOTSUP,
                       "%s: tokenizer.ggml.model is '%.*s', expected 'gpt2' (byte-level BPE)",
                       meta_path(meta), utf8_quote(model, bytes), model);
    r = meta_str(meta, "tokenizer.ggml.pre", &pre, &bytes, err);
    if (r == -ENOENT)
        return err_set(err, -ENOTSUP, "%s: no tokenizer.ggml.pre: how to split text is not known",
                       meta_path(meta));
    if (r < 0)
        return r;
    const struct pretok_rules *rules = pretok_find(pre);
    if (!rules) {
        char known[128] = "";
        for (int i = 0; pretok_table[i].name; i++)
            snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s",
                     pretok_table[i].name);
        return err_set(err, -ENOTSUP, "%s: tokenizer.ggml.pre is '%.*s', expected one of%s",
                       meta_path(meta), utf8_quote(pre, bytes), pre, known);
    }
    vocab->pre = rules->name;
    vocab->whole = rules->whole;
    r = meta_bool(meta, "tokenizer.ggml.ignore_merges", &vocab->whole, err);
    if (r < 0 && r != -ENOENT)
        return r;
    return pretok_open(rules, &vocab->pretok, err);
}

/* A key that names a token: in range and not one that ordinary text may become. */
static int read_id(struct vocab *vocab, const struct meta *meta, const char *key, int32_t *ret,
                   struct err *err)
{
    uint32_t id;
    *ret = -1;
    int r = meta_u32(meta, key, &id, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (id >= (uint32_t)vocab->table.n)
        return err_set(err, -EINVAL, "%s: %s is %" PRIu32 ", expected less than %" PRId32,
                       meta_path(meta), key, id, vocab->table.n);
    uint8_t *flags = &vocab->table.flags[id];
    if (!(*flags & TOKEN_ADDED) || (*flags & TOKEN_UNUSED))
        return err_set(
            err, -EINVAL, "%s: %s is %" PRIu32 ", which is %s token, expected a control token",
            meta_path(meta), key, id, *flags & TOKEN_UNUSED ? "an unused" : "an ordinary");
    *flags |= TOKEN_SPECIAL;
    *ret = (int32_t)id;
    return 0;
}

static int open_markers(struct vocab *vocab, const struct meta *meta, struct err *err)
{
    int32_t eot;
    int r = read_id(vocab, meta, "tokenizer.ggml.bos_token_id", &vocab->bos, err);
    if (r == 0)
        r = read_id(vocab, meta, "tokenizer.ggml.eos_token_id", &vocab->eos, err);
    if (r == 0)
        r = read_id(vocab, meta, "tokenizer.ggml.eot_token_id", &eot, err);
    if (r < 0)
        return r;
    if (vocab->eos >= 0)
        vocab->table.flags[vocab->eos] |= TOKEN_END;
    if (eot >= 0)
        vocab->table.flags[eot] |= TOKEN_END;
    for (int i = 0; end_markers[i]; i++) {
        int32_t id = vocab_find(vocab, end_markers[i]);
        if (id >= 0)
            vocab->table.flags[id] |= TOKEN_END;
    }

    /* Files of these families that do not say were converted before the key existed; the models
     * were all trained with BOS in front and degrade without. */
    vocab->add_bos = vocab->bos >= 0;
    bool says = false;
    r = meta_bool(meta, "tokenizer.ggml.add_bos_token", &says, err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (says && vocab->bos < 0)
        return err_set(err, -EINVAL,
                       "%s: tokenizer.ggml.add_bos_token is true, and there is no "
                       "tokenizer.ggml.bos_token_id",
                       meta_path(meta));
    vocab->add_bos = says;
    return 0;
}

int vocab_open(const struct meta *meta, struct vocab **ret, struct err *err)
{
    OWN(vocab) *vocab = calloc(1, sizeof(*vocab));
    if (!vocab)
        return err_set(err, -ENOMEM, "no memory for a vocabulary");
    int r = open_rules(vocab, meta, err);
    if (r == 0)
        r = token_table_read(meta, &vocab->table, err);
    if (r == 0) {
        r = added_init(&vocab->added, &vocab->table, err);
        if (r < 0)
            return err_prefix(err, r, "%s: tokenizer.ggml.tokens", meta_path(meta));
        r = bpe_open(meta, &vocab->table, vocab->whole, &vocab->bpe, err);
    }
    if (r == 0)
        r = open_markers(vocab, meta, err);
    if (r < 0)
        return r;
    *ret = TAKE(vocab);
    return 0;
}

void vocab_close(struct vocab *vocab)
{
    if (!vocab)
        return;
    pretok_close(vocab->pretok);
    bpe_close(vocab->bpe);
    added_fini(&vocab->added);
    token_table_fini(&vocab->table);
    free(vocab);
}

/* ---- encoding */

struct encode { /* one call */
    const struct vocab *vocab;
    struct bpe_work work;
    struct ids *ret;
    struct err *err;
};

static void encode_fini(struct encode *encode)
{
    bpe_work_fini(&encode->work);
}

static int encode_piece(void *arg, const char *piece, size_t bytes)
{
    struct encode *encode = arg;
    return bpe_encode(encode->vocab->bpe, &encode->work, piece, bytes, encode->ret, encode->err);
}

static int encode_text(struct encode *encode, const char *text, size_t bytes, bool special)
{
    const struct vocab *vocab = encode->vocab;
    size_t at = 0;
    while (at < bytes) {
        size_t start = bytes - at, end = bytes - at;
        int32_t id = added_search(&vocab->added, &vocab->table, text + at, bytes - at, special,
                                  &start, &end);
        int r = pretok_split(vocab->pretok, text + at, start, encode_piece, encode, encode->err);
        if (r == 0 && id >= 0) {
            r = ids_push(encode->ret, id);
            if (r < 0)
                err_set(encode->err, r, "no memory to encode a text of %zu bytes", bytes);
        }
        if (r < 0)
            return r;
        at += end;
    }
    return 0;
}

int vocab_encode(const struct vocab *vocab, const char *text, size_t bytes, unsigned flags,
                 struct ids *ret, struct err *err)
{
    __attribute__((cleanup(encode_fini))) struct encode encode = {
        .vocab = vocab, .ret = ret, .err = err};
    size_t before = ret->n;
    int r = encode_text(&encode, text, bytes, flags & VOCAB_SPECIAL);
    if (r < 0)
        ret->n = before;
    return r;
}

/* ---- looking up */

int32_t vocab_size(const struct vocab *vocab)
{
    return vocab->table.n;
}

const char *vocab_pre(const struct vocab *vocab)
{
    return vocab->pre;
}

int32_t vocab_bos(const struct vocab *vocab)
{
    return vocab->bos;
}

int32_t vocab_eos(const struct vocab *vocab)
{
    return vocab->eos;
}

bool vocab_add_bos(const struct vocab *vocab)
{
    return vocab->add_bos;
}

static bool has_flag(const struct vocab *vocab, int32_t id, uint8_t flag)
{
    return id >= 0 && id < vocab->table.n && vocab->table.flags[id] & flag;
}

bool vocab_is_end(const struct vocab *vocab, int32_t id)
{
    return has_flag(vocab, id, TOKEN_END);
}

bool vocab_is_special(const struct vocab *vocab, int32_t id)
{
    return has_flag(vocab, id, TOKEN_SPECIAL);
}

bool vocab_is_unused(const struct vocab *vocab, int32_t id)
{
    return has_flag(vocab, id, TOKEN_UNUSED);
}

int32_t vocab_find(const struct vocab *vocab, const char *text)
{
    return added_find(&vocab->added, text, strlen(text));
}

const char *vocab_bytes(const struct vocab *vocab, int32_t id, size_t *bytes)
{
    if (id < 0 || id >= vocab->table.n) {
        *bytes = 0;
        return "";
    }
    return token_table_bytes(&vocab->table, id, bytes);
}

size_t vocab_max_bytes(const struct vocab *vocab)
{
    return vocab->table.max_bytes;
}
