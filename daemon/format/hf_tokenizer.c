/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json or tiktoken.model, and tokenizer_config.json, as the keys of a GGUF vocabulary.
 * See hf.h.
 *
 * Texts are borrowed from the file while it is walked and copied once into the arrays of the
 * metadata; whether they make a vocabulary is for those to judge that read it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/hf.h"
#include "format/hf_pre.h"
#include "format/hf_tiktoken.h"
#include "format/hf_vocab.h"
#include "format/json.h"
#include "format/meta.h"
#include "format/reader.h"

#define TOKENIZER "tokenizer.json"
#define CONFIG    "tokenizer_config.json"
#define RANKS     "tiktoken.model"

enum { TOKENIZER_MAX = 64 << 20, RANKS_MAX = 4 << 20, CONFIG_MAX = 4 << 20 };

/* ------------------------------------------------------------------ tokenizer.json */

/* Its id is one of its keys, or known. */
static int read_added_token(struct json *json, struct hf_vocab *vocab, const int64_t *known)
{
    struct json_text key, content = {.at = ""};
    uint64_t id = known ? (uint64_t)*known : 0;
    bool special = false, flag, has_id = known;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        if (!known && json_is(&key, "id")) {
            has_id = true;
            r = json_u64(json, &id);
        } else if (json_is(&key, "content")) {
            r = json_string(json, &content);
        } else if (json_is(&key, "special")) {
            r = json_bool(json, &special);
        } else if (json_is(&key, "lstrip") || json_is(&key, "rstrip") ||
                   json_is(&key, "single_word")) {
            r = json_bool(json, &flag);
            if (r == 0 && flag)
                return json_fail(json, -ENOTSUP, "an added token has '%s' true, expected false",
                                 key.at);
        } else {
            r = json_skip(json);
        }
    }
    if (r == 0 && (!has_id || content.bytes == 0))
        return json_fail(json, -EINVAL, "found an added token without %s",
                         has_id ? "content" : "id");
    return r < 0 ? r : hf_vocab_add(json, vocab, id, &content, special ? HF_CONTROL : HF_ADDED);
}

static int read_vocab(struct json *json, struct hf_vocab *vocab)
{
    struct json_text token;
    uint64_t id;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &token)) > 0) {
        r = json_u64(json, &id);
        if (r == 0)
            r = hf_vocab_add(json, vocab, id, &token, HF_NORMAL);
    }
    return r;
}

/* "left right", or the two apart in newer files. */
static int read_merge(struct json *json, struct hf_vocab *vocab)
{
    struct json_text one, part[2];
    enum json_kind kind;
    int n = 0;
    int r = json_peek(json, &kind);
    if (r == 0 && kind == JSON_STRING) {
        r = json_string(json, &one);
        return r < 0 ? r : hf_vocab_merge(json, vocab, &one, NULL);
    }
    if (r == 0)
        r = json_array(json);
    while (r == 0 && (r = json_item(json)) > 0) {
        if (n == 2)
            return json_fail(json, -EINVAL, "found a merge of more than two tokens");
        r = json_string(json, &part[n++]);
    }
    if (r == 0 && n < 2)
        return json_fail(json, -EINVAL, "found a merge of %d tokens, expected two", n);
    return r < 0 ? r : hf_vocab_merge(json, vocab, &part[0], &part[1]);
}

static int read_model(struct json *json, struct hf_vocab *vocab)
{
    struct json_text key, type;
    bool byte_fallback = false, has_vocab = false, has_merges = false;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        if (json_is(&key, "type")) {
            r = json_string(json, &type);
            if (r == 0 && !json_is(&type, "BPE"))
                return json_fail(json, -ENOTSUP, "found a model of type '%.40s', expected 'BPE'",
                                 type.at);
        } else if (json_is(&key, "vocab")) {
            has_vocab = true;
            r = read_vocab(json, vocab);
        } else if (json_is(&key, "merges")) {
            has_merges = true;
            r = json_array(json);
            while (r == 0 && (r = json_item(json)) > 0)
                r = read_merge(json, vocab);
        } else if (json_is(&key, "ignore_merges")) {
            r = json_bool(json, &vocab->whole);
        } else if (json_is(&key, "byte_fallback")) {
            r = json_bool(json, &byte_fallback);
            if (r == 0 && byte_fallback)
                return json_fail(json, -ENOTSUP, "found byte_fallback true, expected false");
        } else {
            r = json_skip(json);
        }
    }
    if (r == 0 && (!has_vocab || !has_merges))
        return json_fail(json, -EINVAL, "found a model without %s", has_vocab ? "merges" : "vocab");
    return r;
}

static int read_tokenizer(struct json *json, struct hf_vocab *vocab)
{
    struct json_text key;
    bool has_model = false;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        if (json_is(&key, "added_tokens")) {
            r = json_array(json);
            while (r == 0 && (r = json_item(json)) > 0)
                r = read_added_token(json, vocab, NULL);
        } else if (json_is(&key, "model")) {
            has_model = true;
            r = read_model(json, vocab);
        } else if (json_is(&key, "pre_tokenizer")) {
            r = hf_pre_read(json, &vocab->pre);
        } else if (json_is(&key, "normalizer")) {
            r = hf_normalizer_read(json);
        } else {
            r = json_skip(json);
        }
    }
    if (r == 0 && (!has_model || !vocab->pre))
        return json_fail(json, -EINVAL, "found no '%s', expected one",
                         has_model ? "pre_tokenizer" : "model");
    return r < 0 ? r : json_end(json);
}

/* ------------------------------------------------------------------ tokenizer_config.json */

struct roles { /* borrowed from the file's text */
    struct json_text bos, eos, pad, unk, chat_template;
    bool add_bos, add_bos_said, add_eos, add_eos_said;
    struct hf_vocab *ranks; /* of tiktoken.model, which leaves the special tokens out; or NULL */
    bool has_added;
};

/* Digits alone; -1: something else, or more than any id. */
static int64_t id_of(const struct json_text *text)
{
    int64_t id = 0;
    for (size_t i = 0; i < text->bytes; i++) {
        if (text->at[i] < '0' || text->at[i] > '9' || text->bytes > 9)
            return -1;
        id = id * 10 + (text->at[i] - '0');
    }
    return text->bytes ? id : -1;
}

/* {"163584": {"content": …}, …}: some of the ids behind the ranks. */
static int read_added_tokens(struct json *json, struct roles *roles)
{
    struct json_text key;
    int64_t first = roles->ranks->n_ranks;
    roles->has_added = true;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        int64_t id = id_of(&key);
        if (id < first || id >= first + HF_TIKTOKEN_RESERVED)
            return json_fail(json, -EINVAL,
                             "found the added token '%.40s', expected an id from %" PRId64
                             " to %" PRId64 ", behind the ranks of " RANKS,
                             key.at, first, first + HF_TIKTOKEN_RESERVED - 1);
        r = read_added_token(json, roles->ranks, &id);
    }
    return r;
}

/* A token by its text, alone or as "content" of an object. */
static int read_role(struct json *json, struct json_text *ret)
{
    enum json_kind kind;
    struct json_text key;
    int r = json_peek(json, &kind);
    if (r < 0 || kind == JSON_NULL)
        return r < 0 ? r : json_null(json);
    if (kind == JSON_STRING)
        return json_string(json, ret);
    r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0)
        r = json_is(&key, "content") ? json_string(json, ret) : json_skip(json);
    return r;
}

/* A text, or a list of named ones, of which the one named "default" counts. */
static int read_template(struct json *json, struct json_text *ret)
{
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r < 0 || kind == JSON_NULL)
        return r < 0 ? r : json_null(json);
    if (kind == JSON_STRING)
        return json_string(json, ret);
    r = json_array(json);
    while (r == 0 && (r = json_item(json)) > 0) {
        struct json_text key, name = {.at = ""}, text = {.at = ""};
        r = json_object(json);
        while (r == 0 && (r = json_key(json, &key)) > 0)
            r = json_is(&key, "name")       ? json_string(json, &name)
                : json_is(&key, "template") ? json_string(json, &text)
                                            : json_skip(json);
        if (r == 0 && json_is(&name, "default"))
            *ret = text;
    }
    return r;
}

static int read_flag(struct json *json, bool *ret, bool *said)
{
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r < 0 || kind == JSON_NULL)
        return r < 0 ? r : json_null(json);
    *said = true;
    return json_bool(json, ret);
}

static int read_config(struct json *json, struct roles *roles)
{
    struct json_text key;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        if (json_is(&key, "bos_token"))
            r = read_role(json, &roles->bos);
        else if (json_is(&key, "eos_token"))
            r = read_role(json, &roles->eos);
        else if (json_is(&key, "pad_token"))
            r = read_role(json, &roles->pad);
        else if (json_is(&key, "unk_token"))
            r = read_role(json, &roles->unk);
        else if (json_is(&key, "chat_template"))
            r = read_template(json, &roles->chat_template);
        else if (json_is(&key, "add_bos_token"))
            r = read_flag(json, &roles->add_bos, &roles->add_bos_said);
        else if (json_is(&key, "add_eos_token"))
            r = read_flag(json, &roles->add_eos, &roles->add_eos_said);
        else if (roles->ranks && json_is(&key, "added_tokens_decoder"))
            r = read_added_tokens(json, roles);
        else
            r = json_skip(json);
    }
    if (r == 0 && roles->ranks && !roles->has_added)
        return json_fail(json, -EINVAL,
                         "found no 'added_tokens_decoder', expected the special tokens that " RANKS
                         " leaves out");
    return r < 0 ? r : json_end(json);
}

/* ------------------------------------------------------------------ keys */

struct target {
    const char *label;
    struct meta *meta;
    struct err *err;
};

/* A role by its text, else by the id that config.json gives it. */
static int put_role(const struct target *t, const struct hf_vocab *vocab, const char *key,
                    const char *hf, const struct json_text *text, int64_t id)
{
    if (text->bytes) {
        id = hf_vocab_find(vocab, text);
        if (id < 0)
            return err_set(t->err, -EINVAL,
                           "'%s', key '%s': found '%.60s', which is no added token", t->label, hf,
                           text->at);
    }
    if (id < 0)
        return 0;
    if (meta_put_u32(t->meta, key, (uint32_t)id) < 0)
        return err_set(t->err, -ENOMEM, "'%s': no memory for its keys", t->label);
    return 0;
}

static int put_roles(const struct target *t, const struct hf_vocab *vocab,
                     const struct roles *roles, const struct hf_config *config)
{
    int r =
        put_role(t, vocab, "tokenizer.ggml.bos_token_id", "bos_token", &roles->bos, config->bos);
    if (r == 0)
        r = put_role(t, vocab, "tokenizer.ggml.eos_token_id", "eos_token", &roles->eos,
                     config->eos);
    static const struct json_text none = {.at = ""};
    if (r == 0)
        r = put_role(t, vocab, "tokenizer.ggml.eot_token_id", "eos_token_id", &none, config->eot);
    if (r == 0 && hf_vocab_find(vocab, &roles->pad) >= 0)
        r = put_role(t, vocab, "tokenizer.ggml.padding_token_id", "pad_token", &roles->pad, -1);
    if (r == 0 && hf_vocab_find(vocab, &roles->unk) >= 0)
        r = put_role(t, vocab, "tokenizer.ggml.unknown_token_id", "unk_token", &roles->unk, -1);
    if (r < 0)
        return r;
    if (roles->add_bos_said || roles->ranks) /* the code that goes with ranks never adds one */
        r = meta_put_bool(t->meta, "tokenizer.ggml.add_bos_token", roles->add_bos);
    if (r == 0 && roles->add_eos_said)
        r = meta_put_bool(t->meta, "tokenizer.ggml.add_eos_token", roles->add_eos);
    if (r == 0 && roles->chat_template.bytes)
        r = meta_put_str(t->meta, "tokenizer.chat_template", roles->chat_template.at,
                         roles->chat_template.bytes);
    return r < 0 ? err_set(t->err, r, "'%s': no memory for its keys", t->label) : 0;
}

/* A file that may be missing leaves text->at NULL. */
static int read_optional(const struct hf_folder *folder, const char *name, size_t most,
                         struct hf_text *text, struct err *err)
{
    struct err none;
    int r = hf_read(folder, name, most, text, &none);
    if (r < 0)
        text->at = NULL;
    if (r < 0 && r != -ENOENT && err)
        *err = none;
    return r == -ENOENT ? 0 : r;
}

/* tokenizer.json, or else tiktoken.model. */
static int read_vocabulary(const struct hf_folder *folder, struct hf_vocab *vocab,
                           struct hf_text *file, struct err *err)
{
    struct err none;
    int r = hf_read(folder, TOKENIZER, TOKENIZER_MAX, file, &none);
    if (r == -ENOENT) {
        r = hf_read(folder, RANKS, RANKS_MAX, file, err);
        if (r == 0)
            return hf_tiktoken_read(file, vocab, err);
        if (r != -ENOENT)
            return r;
    }
    if (r < 0 && err)
        *err = none;
    if (r < 0)
        return r;
    struct json json;
    json_init(&json, file->label, file->at, file->bytes, err);
    r = read_tokenizer(&json, vocab);
    json_fini(&json);
    return r;
}

static int read_settings(const struct hf_folder *folder, struct roles *roles,
                         struct hf_text *settings, struct err *err)
{
    int r = roles->ranks ? hf_read(folder, CONFIG, CONFIG_MAX, settings, err)
                         : read_optional(folder, CONFIG, CONFIG_MAX, settings, err);
    if (r < 0 || !settings->at)
        return r;
    struct json json;
    json_init(&json, settings->label, settings->at, settings->bytes, err);
    r = read_config(&json, roles);
    json_fini(&json);
    return r;
}

/* As many of the ids behind the ranks as the embedding has rows for. */
static void reserve(struct hf_vocab *vocab, const struct hf_config *config)
{
    uint32_t end = vocab->n_ranks + HF_TIKTOKEN_RESERVED;
    hf_tiktoken_reserve(
        vocab, config->vocab > 0 && (uint32_t)config->vocab < end ? (uint32_t)config->vocab : end);
}

int hf_tokenizer_read(const struct hf_folder *folder, const struct hf_config *config,
                      struct meta *meta, struct err *err)
{
    struct hf_vocab vocab = {0};
    struct hf_text file = {.at = NULL}, settings = {.at = NULL}, jinja = {.at = NULL};
    struct roles roles = {0};
    int r = read_vocabulary(folder, &vocab, &file, err);
    if (vocab.n_ranks)
        roles.ranks = &vocab;
    if (r == 0)
        r = read_settings(folder, &roles, &settings, err);
    if (r == 0 && roles.ranks)
        reserve(&vocab, config);
    if (r == 0 && !roles.chat_template.bytes)
        r = read_optional(folder, "chat_template.jinja", CONFIG_MAX, &jinja, err);
    if (r == 0 && jinja.at &&
        (memchr(jinja.at, '\0', jinja.bytes) || !reader_is_utf8(jinja.at, jinja.bytes)))
        r = err_set(err, -EINVAL, "'%s': found bytes that are no text of UTF-8", jinja.label);
    if (r == 0 && jinja.at)
        roles.chat_template = (struct json_text){.at = jinja.at, .bytes = jinja.bytes};
    if (r == 0)
        r = hf_vocab_put(&vocab, file.label, config->vocab, meta, err);
    struct target t = {
        .label = settings.at ? settings.label : file.label, .meta = meta, .err = err};
    if (r == 0)
        r = put_roles(&t, &vocab, &roles, config);
    hf_vocab_fini(&vocab);
    hf_text_fini(&file);
    hf_text_fini(&settings);
    hf_text_fini(&jinja);
    return r;
}
