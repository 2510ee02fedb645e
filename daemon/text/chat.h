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

enum chat_role {
    CHAT_SYSTEM,
    CHAT_USER,
    CHAT_ASSISTANT,
    CHAT_TOOL,
    CHAT_DEVELOPER, /* V3.2 and V4: a user's turn that may define tools */
    CHAT_REMINDER,  /* V4: latest_reminder, what the model shall know of now */
};

struct chat_call { /* a tool call in an assistant message */
    const char *name;
    const char *arguments; /* JSON text */
    const char *id;        /* what its result refers to; may be NULL */
};

struct chat_message {
    enum chat_role role;
    const char *content; /* UTF-8, may be NULL for an assistant with calls */
    size_t bytes;
    const struct chat_call *calls;
    int n_calls;
    bool prefix;           /* last assistant message: the reply continues it */
    const char *reasoning; /* an assistant's thinking, of families that replay it; may be NULL */
    size_t reasoning_bytes;
    const char *call_id; /* a tool's result: the id of its call; NULL: they come in order */
    /* An assistant's: the ids it was written with, taken where they spell what the format replays
     * of it, so that a cache finds them. NULL: none */
    const int32_t *written;
    int n_written;
    /* V3.2 and V4; elsewhere tools and the format of the reply belong to the request */
    const char *tools;           /* JSON array, as in chat_options; may be NULL */
    const char *response_format; /* JSON schema; may be NULL */
    const char *task;            /* V4: "action", "title" …: an internal task; may be NULL */
};

enum chat_effort { CHAT_EFFORT_NONE, CHAT_EFFORT_HIGH, CHAT_EFFORT_MAX };

struct chat_options {
    bool thinking; /* ask for thinking where the family can */
    bool
        add_generation_prompt; /* end with the opening of the assistant's turn, unless it is open */
    bool continues_thinking;   /* set by chat_options_for: the prompt ends in an open thinking */
    enum chat_effort effort;   /* MAX: V4 alone */
    const char *tools;         /* JSON array of {"type":"function","function":{…}} or of the inner
                                * objects, NUL-terminated; may be NULL */
    const char *response_format; /* JSON schema; may be NULL. V3.2 and V4 */
};

struct chat_family;

/* ---- parsing a reply: what the model writes, as events */
enum chat_part {
    CHAT_PART_TEXT,
    CHAT_PART_THINKING,
    CHAT_PART_CALL,      /* a tool call begins: its whole name. Calls are counted from 0 */
    CHAT_PART_ARGUMENTS, /* a piece of the call's arguments, JSON if the model wrote JSON */
    CHAT_PART_CALL_END,  /* no text */
};

/* How a family writes tool calls. */
enum chat_calls {
    CHAT_CALLS_NONE,
    CHAT_CALLS_V3,
    CHAT_CALLS_V31,
    CHAT_CALLS_V32, /* DSML */
    CHAT_CALLS_V4,  /* DSML */
    CHAT_CALLS_KIMI,
    CHAT_CALLS_GLM,
};

struct chat_reply; /* incremental parser; owned by one stream */
typedef void (*chat_emit)(void *arg, enum chat_part part, const char *text, size_t bytes);

struct chat_family {
    const char *name; /* "deepseek-v3", "kimi-k2" … */
    /* Appends the prompt, BOS once in front. -EINVAL names the message that the family cannot
     * express, or the marker that the vocabulary lacks; then *ret is as it was. */
    int (*render)(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err);
    /* Whether a reply to a prompt rendered so begins inside the thinking. */
    bool (*opens_thinking)(const struct chat_options *options);
    bool can_think; /* replies may hold a <think> block */
    /* Whether the conversation ends so that the prompt opens nothing: inside the assistant's turn
     * (a prefix, in some families tool results). */
    bool (*is_open)(const struct chat_message *messages, int n_messages);
    /* Whether a conversation that is open ends inside its thinking; NULL: never. */
    bool (*is_open_thinking)(const struct chat_message *messages, int n_messages,
                             const struct chat_options *options);
    enum chat_calls calls;
    bool trims_answer; /* line breaks after thinking are not the answer's */
    bool trims_space;  /* nor is the one space at its head */
};

extern const struct chat_family *const chat_table[]; /* ended by NULL */
/* NULL: none. Points in the name do not count: "deepseek-v31" is "deepseek-v3.1". */
const struct chat_family *chat_by_name(const char *name);
/* Chooses by the template text, else by vocabulary; NULL: the file holds no chat model, or one of a
 * family that is recognised and not in the table. */
const struct chat_family *chat_detect(const struct meta *meta, const struct vocab *vocab);
/* The name chat_detect goes by, also of families that are not in the table ("deepseek-coder",
 * "glm"), so that a refusal can name them. NULL: none of those known. */
const char *chat_recognise(const struct meta *meta, const struct vocab *vocab);
/* The options as this conversation takes them: what render() does by itself and chat_reply_new()
 * has to be told, so that a reply which continues a turn is not taken for thinking. */
struct chat_options chat_options_for(const struct chat_family *family,
                                     const struct chat_message *messages, int n_messages,
                                     const struct chat_options *options);

/* Whether a reply to a prompt rendered with such options begins inside the thinking. */
bool chat_begins_thinking(const struct chat_family *family, const struct chat_options *options);
/* The ids of <think> and </think>; false: replies of this family hold no thinking, or the
 * vocabulary lacks the tokens. */
bool chat_think_marks(const struct chat_family *family, const struct vocab *vocab, int32_t *open,
                      int32_t *close);

/* The parser is fed tokens with the text that may be sent for them; split at any byte it gives the
 * same events, pieces of one part aside. Markers act by id and never reach the text; if the
 * vocabulary has no token <think>, the letters are ordinary text. ｜DSML｜ alone acts as text too,
 * where the vocabulary does not have it. One line break goes after <think>.
 *
 * What looks like a call and is none comes as plain text, without the markers: of DSML the whole
 * block (it is held until the reply ends), of GLM the call, of the others what precedes the
 * arguments. A call that the end cuts off is ended; of DSML and GLM it comes as text.
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
/* How many calls have begun, with the one whose name is just told, and how the model itself names
 * the latest (Kimi; else NULL). */
int chat_reply_n_calls(const struct chat_reply *reply);
const char *chat_reply_call_id(const struct chat_reply *reply);

/* ---- fill in the middle
 *
 * BOS, then what stands before the hole and after it, between the markers of models that were
 * trained to fill one.
 *
 *   fails   -EINVAL the vocabulary lacks the markers; -ENOMEM; then *ret is as it was */
int chat_render_hole(const struct vocab *vocab, const char *prefix, size_t prefix_bytes,
                     const char *suffix, size_t suffix_bytes, struct ids *ret, struct err *err);
