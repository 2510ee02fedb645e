/* SPDX-License-Identifier: MIT
 *
 * What the renderers of chat families share. See chat_common.h. */
#include "text/chat_common.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- checks */

static int check_tools(const char *tools, const char *what, struct err *err)
{
    if (!tools)
        return 0;
    int r = jtext_check(tools, strlen(tools), JTEXT_ARRAY, what, err);
    if (r < 0)
        return r;
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    for (int i = 0; chat_next_tool(&walk, &tool); i++)
        if (!tool.name.value || tool.name.n <= 2 || *tool.name.value != '"')
            return err_set(err, -EINVAL, "%s[%d] is no function with a name", what, i);
    return 0;
}

static int check_format(const char *format, const char *what, struct err *err)
{
    return format ? jtext_check(format, strlen(format), JTEXT_ANY, what, err) : 0;
}

static int check_options(const char *family, unsigned can, const struct chat_options *options,
                         struct err *err)
{
    if (options->tools && !(can & CHAT_CAN_TOOLS))
        return err_set(err, -EINVAL, "the format of %s has no tools", family);
    if (options->response_format && !(can & CHAT_CAN_OWN))
        return err_set(err, -EINVAL, "the format of %s has no response_format", family);
    if (options->effort == CHAT_EFFORT_MAX && !(can & CHAT_CAN_REMIND))
        return err_set(err, -EINVAL, "%s knows no reasoning effort 'max'", family);
    int r = check_tools(options->tools, "tools", err);
    return r < 0 ? r : check_format(options->response_format, "response_format", err);
}

static int check_calls(const struct chat_message *message, int i, struct err *err)
{
    if (message->n_calls < 0)
        return err_set(err, -EINVAL, "messages[%d] has %d calls", i, message->n_calls);
    if (message->n_calls > CHAT_MAX_CALLS)
        return err_set(err, -EINVAL, "messages[%d] has %d calls, expected at most %d", i,
                       message->n_calls, CHAT_MAX_CALLS);
    if (message->n_calls > 0 && message->role != CHAT_ASSISTANT)
        return err_set(err, -EINVAL, "messages[%d] has tool calls; only the assistant's may", i);
    for (int call = 0; call < message->n_calls; call++) {
        const struct chat_call *c = &message->calls[call];
        if (!c->name || !*c->name || !c->arguments)
            return err_set(err, -EINVAL, "messages[%d].calls[%d] has no %s", i, call,
                           c->name && *c->name ? "arguments" : "name");
    }
    return 0;
}

static int check_role(const char *family, unsigned can, const struct chat_message *message, int i,
                      struct err *err)
{
    const char *missing = NULL;
    if (message->role < CHAT_SYSTEM || message->role > CHAT_REMINDER)
        return err_set(err, -EINVAL, "messages[%d] has the unknown role %d", i, (int)message->role);
    if (message->role == CHAT_DEVELOPER && !(can & CHAT_CAN_DEVELOPER))
        missing = "the role developer";
    else if (message->role == CHAT_REMINDER && !(can & CHAT_CAN_REMIND))
        missing = "the role latest_reminder";
    else if ((message->role == CHAT_TOOL || message->n_calls > 0) && !(can & CHAT_CAN_TOOLS))
        missing = "tools";
    else if ((message->tools || message->response_format) &&
             !((can & CHAT_CAN_OWN) &&
               (message->role == CHAT_SYSTEM || message->role == CHAT_DEVELOPER)))
        missing = "tools or response_format in this message";
    else if (message->task && !((can & CHAT_CAN_REMIND) && message->role == CHAT_USER))
        missing = "a task in this message";
    if (missing)
        return err_set(err, -EINVAL, "messages[%d]: the format of %s has no place for %s", i,
                       family, missing);
    return 0;
}

static int check_message(const char *family, unsigned can, const struct chat_message *message,
                         int i, bool last, struct err *err)
{
    int r = check_calls(message, i, err);
    if (r < 0)
        return r;
    r = check_role(family, can, message, i, err);
    if (r < 0)
        return r;
    if (!message->content && message->n_calls == 0)
        return err_set(err, -EINVAL, "messages[%d] has no content", i);
    if (message->prefix && (message->role != CHAT_ASSISTANT || !last || message->n_calls > 0))
        return err_set(err, -EINVAL,
                       "messages[%d] is a prefix; only the last message may be, from the "
                       "assistant and without tool calls",
                       i);
    char what[64];
    snprintf(what, sizeof(what), "messages[%d].tools", i);
    r = check_tools(message->tools, what, err);
    if (r < 0)
        return r;
    snprintf(what, sizeof(what), "messages[%d].response_format", i);
    return check_format(message->response_format, what, err);
}

int chat_check(const char *family, unsigned can, const struct chat_message *messages, int n,
               const struct chat_options *options, struct err *err)
{
    if (n < 1)
        return err_set(err, -EINVAL, "no messages, expected at least one");
    int r = check_options(family, can, options, err);
    int results = 0; /* since the last answer */
    for (int i = 0; i < n && r == 0; i++) {
        r = check_message(family, can, &messages[i], i, i + 1 == n, err);
        results =
            messages[i].role == CHAT_ASSISTANT ? 0 : results + (messages[i].role == CHAT_TOOL);
        if (r == 0 && results > CHAT_MAX_CALLS)
            r = err_set(err, -EINVAL, "messages[%d] is one result too many, expected at most %d", i,
                        CHAT_MAX_CALLS);
    }
    return r;
}

/* ---- places */

bool chat_ends_in_prefix(const struct chat_message *messages, int n_messages)
{
    return n_messages > 0 && messages[n_messages - 1].prefix;
}

int chat_last_user(const struct chat_message *messages, int n)
{
    while (--n >= 0)
        if (messages[n].role == CHAT_USER || messages[n].role == CHAT_DEVELOPER)
            return n;
    return -1;
}

int chat_asker(const struct chat_message *messages, int at)
{
    while (at >= 0 && messages[at].role == CHAT_TOOL)
        at--;
    return at >= 0 && messages[at].role == CHAT_ASSISTANT && messages[at].n_calls > 0 ? at : -1;
}

int chat_answered(const struct chat_message *messages, int at, int asker)
{
    const struct chat_message *asking = &messages[asker];
    bool has_ids = false;
    for (int i = 0; i < asking->n_calls && messages[at].call_id; i++) {
        has_ids = has_ids || asking->calls[i].id;
        if (asking->calls[i].id && strcmp(asking->calls[i].id, messages[at].call_id) == 0)
            return i;
    }
    int place = at - asker - 1;
    return !has_ids && place < asking->n_calls ? place : -1;
}

void chat_put_content(struct prompt *prompt, const struct chat_message *message)
{
    if (message->content)
        prompt_text(prompt, message->content, message->bytes);
}

bool chat_put_systems(struct prompt *prompt, const struct chat_message *messages, int n)
{
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (messages[i].role != CHAT_SYSTEM)
            continue;
        if (any)
            prompt_string(prompt, "\n\n");
        chat_put_content(prompt, &messages[i]);
        any = true;
    }
    return any;
}

/* ---- tools */

struct jtext_walk chat_open_tools(const char *tools)
{
    return jtext_open(tools ? tools : "", tools ? strlen(tools) : 0);
}

bool chat_next_tool(struct jtext_walk *walk, struct chat_tool *ret)
{
    struct jtext_item item, function;
    if (!jtext_next(walk, &item))
        return false;
    *ret = (struct chat_tool){.whole = item.value, .whole_n = item.n};
    ret->bare = !jtext_member(item.value, item.n, "function", &function) || *function.value != '{';
    ret->function = ret->bare ? item.value : function.value;
    ret->function_n = ret->bare ? item.n : function.n;
    if (!jtext_member(ret->function, ret->function_n, "name", &ret->name))
        ret->name = (struct jtext_item){0};
    if (!jtext_member(ret->function, ret->function_n, "description", &ret->description))
        ret->description = (struct jtext_item){0};
    if (!jtext_member(ret->function, ret->function_n, "parameters", &ret->parameters))
        ret->parameters = (struct jtext_item){0};
    return true;
}

bool chat_has_tools(const char *tools)
{
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    return chat_next_tool(&walk, &tool);
}
