/* SPDX-License-Identifier: MIT
 *
 * Ids that a model wrote, read as the reply that they are. Pure; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "moed/v1/generate.pb-c.h"
#include "text/chat.h"
#include "text/token.h"

struct line;

/* A text as a protobuf-c string holds it: NUL as U+FFFD. Room for three bytes each. */
size_t reading_clean(char *dst, const char *text, size_t n);
/* Hands a text, cleaned, to a reply; -ENOMEM. */
int reading_push(struct chat_reply *reply, int32_t id, const char *text, size_t n, chat_emit emit,
                 void *arg);
/* Hands ids to a reply as if they came from an engine. -ENOMEM */
int reading_feed(const struct vocab *vocab, struct chat_reply *reply, const int32_t *id, size_t n,
                 chat_emit emit, void *arg);
/* The id of an answer's call, where the model gives none. */
enum { READING_CALL_ID = 32 };
void reading_call_id(uint64_t answer, int call, char ret[READING_CALL_ID]);
/* What tells a vocabulary from another one; never 0. */
uint64_t reading_vocabulary(const struct vocab *vocab);

struct answer { /* that a session is to hold */
    const struct vocab *vocab;
    const struct chat_family *family; /* NULL: raw text */
    struct chat_options options;
    struct ids ids;
    uint64_t call_id; /* of reading_call_id() */
    Moed__V1__Finish finish;
    const char *stop; /* the string that ended it; NULL: none. It is cut off */
};
/* -ENOMEM. The ids are no longer what they were. */
int reading_line(struct answer *answer, struct line **ret);
