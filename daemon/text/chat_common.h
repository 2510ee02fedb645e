/* SPDX-License-Identifier: MIT
 *
 * What the renderers of chat families share: checks of a conversation, tools, places in it. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "text/chat.h"
#include "text/jtext.h"
#include "text/prompt.h"

/* What a family's format has a place for; messages and options beyond it are refused by name. */
enum chat_can {
    CHAT_CAN_TOOLS = 1, /* definitions in the request, calls and their results */
    CHAT_CAN_OWN = 2,   /* tools and response_format, also of a message */
    CHAT_CAN_DEVELOPER = 4,
    CHAT_CAN_REMIND = 8, /* latest_reminder, tasks, effort max */
};

/* Calls of one message, and results between two answers; so that matching them stays cheap. */
enum { CHAT_MAX_CALLS = 128 };

/* -EINVAL names the first thing that cannot be said; -ENOMEM. */
int chat_check(const char *family, unsigned can, const struct chat_message *messages, int n,
               const struct chat_options *options, struct err *err);

/* Its last message is an assistant's that the reply continues. */
bool chat_ends_in_prefix(const struct chat_message *messages, int n_messages);
/* The last message of a user or developer; -1: none. */
int chat_last_user(const struct chat_message *messages, int n);
/* The assistant's message whose calls a tool's message answers; -1: none. */
int chat_asker(const struct chat_message *messages, int at);

/* Which of its calls: by the id both have, else by its place among the results; -1: none. */
int chat_answered(const struct chat_message *messages, int at, int asker);

/* All system messages, joined by an empty line. Returns whether there was one. */
bool chat_put_systems(struct prompt *prompt, const struct chat_message *messages, int n);
void chat_put_content(struct prompt *prompt, const struct chat_message *message);

/* A definition; pieces of JSON as they stand, checked. */
struct chat_tool {
    const char *whole, *function;
    size_t whole_n, function_n;
    bool bare; /* `whole` is the function without the object around it */
    struct jtext_item name, description, parameters; /* value NULL: absent */
};
bool chat_has_tools(const char *tools);
struct jtext_walk chat_open_tools(const char *tools); /* NULL: none */
bool chat_next_tool(struct jtext_walk *walk, struct chat_tool *ret);
