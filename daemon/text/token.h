/* SPDX-License-Identifier: MIT
 *
 * A vocabulary: text to token ids and back, by byte-level BPE.
 *
 * Immutable once open, so any thread may use it. Encoding splits by the rules of the vocabulary's
 * pre-tokenizer (pretok.c), then merges pairs by rank. Content can never become a special token
 * unless the caller asks for it by VOCAB_SPECIAL.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct meta;
struct vocab;

/* A growing list of token ids; zeroed is empty. */
struct ids {
    int32_t *id;
    size_t n, room;
};
int ids_push(struct ids *ids, int32_t id); /* -ENOMEM */
int ids_append(struct ids *ids, const int32_t *id, size_t n);
void ids_fini(struct ids *ids);

enum vocab_flags {
    VOCAB_SPECIAL =
        1, /* parse control tokens in the text: for a template's or a user's own raw text */
};

/* -ENOTSUP names an unknown tokenizer.ggml.model or .pre; -EINVAL a broken table. */
int vocab_open(const struct meta *meta, struct vocab **ret, struct err *err);
void vocab_close(struct vocab *vocab);
OWN_DEFINE(vocab, vocab_close);

/**
 * Append the ids of a text. Invalid UTF-8 is encoded byte by byte as it stands.
 *
 *   fails   -ENOMEM; -EINVAL naming a text the splitting rules cannot take (match limit)
 */
int vocab_encode(const struct vocab *vocab, const char *text, size_t bytes, unsigned flags,
                 struct ids *ret, struct err *err);

int32_t vocab_size(const struct vocab *vocab); /* ids are 0 … size-1 */
const char *vocab_pre(const struct vocab *vocab);
int32_t vocab_bos(const struct vocab *vocab); /* -1: none */
int32_t vocab_eos(const struct vocab *vocab);
bool vocab_add_bos(const struct vocab *vocab);
/* Any token that ends a generation: eos, eot, and the markers of its family. */
bool vocab_is_end(const struct vocab *vocab, int32_t id);
/* Control tokens, and added ones that look like markers: hidden from plain answers. */
bool vocab_is_special(const struct vocab *vocab, int32_t id);
/* Padding entries are never matched and must never be sampled. */
bool vocab_is_unused(const struct vocab *vocab, int32_t id);
/* The id of a special or added token by its exact text, -1 if there is none. */
int32_t vocab_find(const struct vocab *vocab, const char *text);
/* The bytes a token stands for (a special token: its text). Borrowed. Out of range: empty. */
const char *vocab_bytes(const struct vocab *vocab, int32_t id, size_t *bytes);
/* The longest of them. */
size_t vocab_max_bytes(const struct vocab *vocab);
