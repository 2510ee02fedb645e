/* SPDX-License-Identifier: MIT
 *
 * What was said in a session, a line each: a message, or a run of raw tokens. Every line is a
 * packed GenerateRequest, so that all of them, the settings in front, add up to a request.
 *
 * Lines never change and are shared by sessions that began as one. Their references are counted on
 * the loop thread alone; whoever is given a transcript there may read it on another.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/own.h"
#include "moed/v1/generate.pb-c.h"

enum line_kind {
    LINE_MESSAGE,
    LINE_ANSWER, /* a message with its ids */
    LINE_CUT,    /* the same, which may go on */
    LINE_TOKENS, /* raw text */
    N_LINE_KINDS
};

struct line {
    int refs;
    enum line_kind kind;
    uint32_t n_tokens; /* ids in it */
    size_t n;
    uint8_t data[];
};

/* NULL: no memory. */
struct line *line_new(enum line_kind kind, uint32_t n_tokens, const void *data, size_t n);
/* A line of one message, its kind by what is in it; a line of ids. NULL: no memory. */
struct line *line_of_message(Moed__V1__Message *message);
struct line *line_of_tokens(int32_t *ids, size_t n);
struct line *line_ref(struct line *line);
void line_unref(struct line *line);           /* NULL is taken */
uint64_t line_bytes(const struct line *line); /* that count; 0 of NULL */
OWN_DEFINE(line, line_unref);

struct transcript {        /* zeroed is empty */
    struct line *settings; /* what comes before all; NULL: nothing */
    struct line **line;
    int n, room;
    uint64_t bytes; /* of it all */
};

/* Adds a line and takes it, also if that fails; -ENOMEM. */
int transcript_add(struct transcript *t, struct line *line);
/* Takes new ones for the old. */
void transcript_set(struct transcript *t, struct line *settings);
/* The first n lines and the settings, shared, into an empty one. */
int transcript_copy(struct transcript *dst, const struct transcript *src, int n);
uint64_t transcript_tokens(const struct transcript *t);
void transcript_fini(struct transcript *t);
