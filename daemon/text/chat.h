/* SPDX-License-Identifier: MIT
 *
 * Chat families: how a conversation becomes token ids, and how a reply is taken apart again.
 *
 * Template and content meet only as ids: the template's own text may produce special tokens, the
 * content of messages never can. A file's own Jinja template is looked at to choose the family
 * and never run. One family is one file and one line in chat_table[]. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct meta;
struct vocab;
struct ids;

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL };

struct chat_call { /* a tool call in an assistant message */
    const char *name;
    const char *arguments; /* JSON text */
};

struct chat_message {
    enum chat_role role;
    const char *content; /* UTF-8, may be NULL for an assistant with calls */
    size_t bytes;
    const struct chat_call *calls;
    int n_calls;
    bool prefix; /* last assistant message: the reply continues it */
};

struct chat_options {
    bool thinking; /* ask for thinking where the family can */
    bool
        add_generation_prompt; /* end with the opening of the assistant's turn, unless it is open */
};

struct chat_family;

/* ---- parsing a reply: what the model writes, as events */
enum chat_part { CHAT_PART_TEXT, CHAT_PART_THINKING };

struct chat_reply; /* incremental parser; owned by one stream */
typedef void (*chat_emit)(void *arg, enum chat_part part, const char *text, size_t bytes);

struct chat_family {
    const char *name; /* "deepseek-v3", "deepseek-r1", "deepseek-r1-0528" */
    /* Appends the prompt, BOS once in front. -EINVAL names the message that the family cannot
     * express, or the marker that the vocabulary lacks; then *ret is as it was. */
    int (*render)(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err);
    /* Whether a reply to a prompt rendered so begins inside the thinking. */
    bool (*opens_thinking)(const struct chat_options *options);
    bool can_think; /* replies may hold a <think> block */
    /* Whether the conversation ends inside the assistant's turn (tool results, a prefix): then the
     * prompt opens nothing. */
    bool (*is_open)(const struct chat_message *messages, int n_messages);
};

extern const struct chat_family *const chat_table[];      /* ended by NULL */
const struct chat_family *chat_by_name(const char *name); /* NULL: none */
/* Chooses by the template text, else by vocabulary; NULL: the file holds no chat model, or one of a
 * family that is recognised and not in the table. */
const struct chat_family *chat_detect(const struct meta *meta, const struct vocab *vocab);
/* The name chat_detect goes by, also of families that are not in the table ("deepseek-v3.1",
 * "kimi-k2" …), so that a refusal can name them. NULL: none of those known. */
const char *chat_recognise(const struct meta *meta, const struct vocab *vocab);
/* The options as this conversation takes them: what render() does by itself and chat_reply_new()
 * has to be told, so that a reply which continues a turn is not taken for thinking. */
struct chat_options chat_options_for(const struct chat_family *family,
                                     const struct chat_message *messages, int n_messages,
                                     const struct chat_options *options);

/* The parser is fed tokens with the text that may be sent for them; split at any byte it gives the
 * same text for each part. Markers act by id and never reach the text; if the vocabulary has no
 * token <think>, the letters are ordinary text. Line breaks go after <think> (one) and before the
 * answer (all).
 * The markers of tool calls are dropped; what stands between them comes as text.
 *
 *   fails   -ENOMEM */
int chat_reply_new(const struct chat_family *family, const struct vocab *vocab,
                   const struct chat_options *options, struct chat_reply **ret);
void chat_reply_free(struct chat_reply *reply);
OWN_DEFINE(chat_reply, chat_reply_free);
/* `id` -1: only text. A special token acts by id, after the text that comes with it (detok may have
 * held that back until the marker ended it). */
void chat_reply_push(struct chat_reply *reply, int32_t id, const char *text, size_t bytes,
                     chat_emit emit, void *arg);
void chat_reply_finish(struct chat_reply *reply, chat_emit emit, void *arg);
bool chat_reply_is_thinking(const struct chat_reply *reply);
