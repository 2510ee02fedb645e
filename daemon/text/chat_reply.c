/* SPDX-License-Identifier: MIT
 *
 * Takes a reply apart: thinking, then the answer. Part of chat.h.
 *
 * Only ids move the parser, so nothing has to be held back and a text that spells a marker is
 * just text. Line breaks are dropped where one part begins, byte by byte. */
#include "text/chat.h"

#include <limits.h>

#include "text/token.h"

struct chat_reply {
    int32_t think, think_end; /* -1: the family or the vocabulary has none */
    enum chat_part part;
    bool has_words;    /* something but white space was said: <think> comes too late */
    int skip_newlines; /* still to be dropped at the head of this part */
};

int chat_reply_new(const struct chat_family *family, const struct vocab *vocab,
                   const struct chat_options *options, struct chat_reply **ret)
{
    struct chat_reply *reply = calloc(1, sizeof(*reply));
    if (!reply)
        return -ENOMEM;
    reply->think = family->can_think ? vocab_find(vocab, "<think>") : -1;
    reply->think_end = family->can_think ? vocab_find(vocab, "</think>") : -1;
    /* a prompt that opens the thinking has printed its line break as well */
    reply->part = family->opens_thinking(options) ? CHAT_PART_THINKING : CHAT_PART_TEXT;
    *ret = reply;
    return 0;
}

void chat_reply_free(struct chat_reply *reply)
{
    free(reply);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void take_text(struct chat_reply *reply, const char *text, size_t bytes, chat_emit emit,
                      void *arg)
{
    while (bytes > 0 && reply->skip_newlines > 0) {
        if (*text != '\n') {
            reply->skip_newlines = 0;
            break;
        }
        text++;
        bytes--;
        if (reply->skip_newlines != INT_MAX)
            reply->skip_newlines--;
    }
    if (bytes == 0)
        return;
    for (size_t i = 0; i < bytes && !reply->has_words; i++)
        reply->has_words = !is_space(text[i]);
    emit(arg, reply->part, text, bytes);
}

void chat_reply_push(struct chat_reply *reply, int32_t id, const char *text, size_t bytes,
                     chat_emit emit, void *arg)
{
    take_text(reply, text, bytes, emit, arg);
    if (id < 0)
        return;
    if (id == reply->think && reply->part == CHAT_PART_TEXT && !reply->has_words) {
        reply->part = CHAT_PART_THINKING;
        reply->has_words = true;
        reply->skip_newlines = 1;
    } else if (id == reply->think_end && reply->part == CHAT_PART_THINKING) {
        reply->part = CHAT_PART_TEXT;
        reply->has_words = true; /* a second block of thinking is none */
        reply->skip_newlines = INT_MAX;
    }
}

void chat_reply_finish(struct chat_reply *reply, chat_emit emit, void *arg)
{
    /* No part holds anything back. */
    (void)reply;
    (void)emit;
    (void)arg;
}

bool chat_reply_is_thinking(const struct chat_reply *reply)
{
    return reply->part == CHAT_PART_THINKING;
}
