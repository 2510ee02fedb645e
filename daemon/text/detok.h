/* SPDX-License-Identifier: MIT
 *
 * Streams the text of tokens: whole UTF-8 characters only, and never a part of a stop string.
 *
 * Owned by one sequence. Bytes that may still become a character (at most 3) or a stop string wait
 * inside; a byte that cannot belong to a character becomes U+FFFD, one a maximal invalid subpart.
 * After init nothing allocates: detok_push is called once a token.
 *
 * A hidden special token is a border: neither a character nor a stop string reaches across it. What
 * was held comes out with it and belongs before it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct vocab;

enum { DETOK_MAX_STOPS = 16, DETOK_MAX_STOP_BYTES = 256 };

struct detok {
    const struct vocab *vocab;
    bool show_special; /* special tokens print their text instead of nothing */
    bool stopped;      /* a stop string was found: nothing more comes out */
    int stop;          /* which one; -1: none */
    int n_stops;
    char *stops[DETOK_MAX_STOPS]; /* owned copies, non-empty, valid UTF-8 */
    size_t stop_bytes[DETOK_MAX_STOPS];
    char *held; /* text not yet given out; room for any token and a partial stop string */
    size_t n_held, held_room;
    size_t n_given;        /* of the held bytes: out with the last call, forgotten at the next */
    unsigned char tail[4]; /* an unfinished character */
    int n_tail;
};

/* -EINVAL names a stop that is empty, too long or not UTF-8, or too many of them. */
int detok_init(struct detok *d, const struct vocab *vocab, bool show_special,
               const char *const *stops, int n_stops, struct err *err);
void detok_fini(struct detok *d);

/**
 * Feed one token; *text points at what may be sent now (borrowed until the next call; may be
 * empty). When a stop string completes, the text before it is what comes out and d->stopped is set;
 * the one that is complete first wins, of two that end together the longer. An id outside the
 * vocabulary stands for nothing.
 */
void detok_push(struct detok *d, int32_t id, const char **text, size_t *bytes);
/* The end: what was held back, an unfinished character as one U+FFFD. */
void detok_finish(struct detok *d, const char **text, size_t *bytes);
