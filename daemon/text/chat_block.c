/* SPDX-License-Identifier: MIT
 *
 * Calls that are told when they are whole: DSML of V3.2 and V4, and GLM's. See chat_parse.h.
 *
 * DSML is read by the strict rules of its official parser: one block, nothing behind it, each tag
 * as it is printed. What breaks a rule makes the block plain text, so it is held until the reply
 * ends. GLM's arguments are pairs of markers; a call is held until its own end. */
#include "text/chat_parse.h"

#include <string.h>

#define D "\xFB" /* MARK_DSML */

const char *reply_block_head(enum chat_calls calls)
{
    if (calls == CHAT_CALLS_V32)
        return "\n\n<" D "function_calls>\n";
    return calls == CHAT_CALLS_V4 ? "\n\n<" D "tool_calls>\n" : NULL;
}

/* ---- what was read: calls one after the other, name NUL arguments NUL */

static void put_zero(struct jtext_out *calls)
{
    jtext_put(calls, "", 1);
}

static void tell_calls(struct chat_reply *reply, const struct jtext_out *calls)
{
    const char *at = calls->data, *end = at + calls->n;
    while (at < end) {
        size_t name = strlen(at), arguments = strlen(at + name + 1);
        reply->n_calls++;
        reply_tell(reply, CHAT_PART_CALL, at, name);
        reply_tell(reply, CHAT_PART_ARGUMENTS, at + name + 1, arguments);
        reply_tell(reply, CHAT_PART_CALL_END, "", 0);
        at += name + arguments + 2;
    }
    reply->state = REPLY_SAYS;
    reply->n_lead = 0;
    jtext_fini(&reply->held);
}

/* The arguments so far, closed, are an object without twins. */
static bool are_arguments(const struct jtext_out *calls, size_t from)
{
    return !calls->failed &&
           jtext_check(calls->data + from, calls->n - from, JTEXT_OBJECT, "arguments", NULL) == 0;
}

static bool has_mark(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_mark(text[i]) || !text[i])
            return true;
    return false;
}

/* ---- DSML */

struct cursor {
    const char *at, *end;
};

static struct cursor held(const struct chat_reply *reply)
{
    const char *at = reply->held.data ? reply->held.data : "";
    return (struct cursor){at, at + reply->held.n};
}

static bool skip(struct cursor *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

/* What stands before a word; moves past that. */
static bool until(struct cursor *c, const char *word, const char **text, size_t *n)
{
    const char *found = memmem(c->at, (size_t)(c->end - c->at), word, strlen(word));
    if (!found)
        return false;
    *text = c->at;
    *n = (size_t)(found - c->at);
    c->at = found + strlen(word);
    return true;
}

/* In a value ｜DSML｜ is what it says. */
static void put_value(struct jtext_out *calls, const char *text, size_t n)
{
    const char *end = text + n, *mark;
    while ((mark = memchr(text, D[0], (size_t)(end - text)))) {
        jtext_escape(calls, text, (size_t)(mark - text));
        jtext_escape(calls, "｜DSML｜", strlen("｜DSML｜"));
        text = mark + 1;
    }
    jtext_escape(calls, text, (size_t)(end - text));
}

static bool read_parameter(struct cursor *c, struct jtext_out *calls)
{
    const char *key, *value;
    size_t key_n, value_n;
    if (!until(c, "\" string=\"", &key, &key_n) || has_mark(key, key_n))
        return false;
    bool is_string = skip(c, "true\">");
    if (!is_string && !skip(c, "false\">"))
        return false;
    if (!until(c, "</" D "parameter>\n", &value, &value_n))
        return false;
    jtext_quote(calls, key, key_n);
    jtext_put(calls, ": ", 2);
    if (is_string) {
        jtext_put(calls, "\"", 1);
        put_value(calls, value, value_n);
        jtext_put(calls, "\"", 1);
        return true;
    }
    if (has_mark(value, value_n) || jtext_check(value, value_n, JTEXT_ANY, "value", NULL) < 0)
        return false;
    jtext_put(calls, value, value_n);
    return true;
}

static bool read_invoke(struct cursor *c, struct jtext_out *calls)
{
    const char *name;
    size_t n;
    if (!until(c, "\">\n", &name, &n) || n == 0 || has_mark(name, n) || memchr(name, '"', n) ||
        memchr(name, '\n', n))
        return false;
    jtext_put(calls, name, n);
    put_zero(calls);
    size_t from = calls->n;
    jtext_put(calls, "{", 1);
    for (int i = 0; skip(c, "<" D "parameter name=\""); i++) {
        if (i > 0)
            jtext_put(calls, ", ", 2);
        if (!read_parameter(c, calls))
            return false;
    }
    jtext_put(calls, "}", 1);
    if (!are_arguments(calls, from))
        return false;
    put_zero(calls);
    return skip(c, "</" D "invoke>\n");
}

static bool read_dsml(const struct chat_reply *reply, struct jtext_out *calls)
{
    struct cursor c = held(reply);
    const char *close =
        reply->calls == CHAT_CALLS_V32 ? "</" D "function_calls>" : "</" D "tool_calls>";
    if (reply->held.failed || !skip(&c, "<" D "invoke name=\""))
        return false;
    do {
        if (!read_invoke(&c, calls))
            return false;
    } while (skip(&c, "<" D "invoke name=\""));
    return skip(&c, close) && c.at == c.end && !calls->failed;
}

/* ---- GLM: name, then KEY key KEY_END VALUE value VALUE_END, white space between */

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && is_blank(*c->at))
        c->at++;
}

static bool take(struct cursor *c, enum mark mark)
{
    skip_blanks(c);
    if (c->at == c->end || (unsigned char)*c->at != mark)
        return false;
    c->at++;
    return true;
}

static bool plain(struct cursor *c, const char **text, size_t *n)
{
    *text = c->at;
    while (c->at < c->end && !is_mark(*c->at))
        c->at++;
    *n = (size_t)(c->at - *text);
    return !memchr(*text, 0, *n);
}

static bool read_pair(struct cursor *c, struct jtext_out *calls)
{
    const char *key, *value;
    size_t key_n, value_n;
    if (!plain(c, &key, &key_n) || !take(c, MARK_KEY_END) || !take(c, MARK_VALUE) ||
        !plain(c, &value, &value_n) || !take(c, MARK_VALUE_END))
        return false;
    jtext_quote(calls, key, key_n);
    jtext_put(calls, ": ", 2);
    /* Strings stand there as they are; what reads as any other value is one. */
    if (*value != '"' && jtext_check(value, value_n, JTEXT_ANY, "value", NULL) == 0)
        jtext_put(calls, value, value_n);
    else
        jtext_quote(calls, value, value_n);
    return true;
}

static bool read_glm(const struct chat_reply *reply, struct jtext_out *calls)
{
    struct cursor c = held(reply);
    const char *name;
    size_t n;
    if (reply->held.failed)
        return false;
    skip_blanks(&c);
    if (!plain(&c, &name, &n))
        return false;
    while (n > 0 && is_blank(name[n - 1]))
        n--;
    if (n == 0)
        return false;
    jtext_put(calls, name, n);
    put_zero(calls);
    size_t from = calls->n;
    jtext_put(calls, "{", 1);
    for (int i = 0; take(&c, MARK_KEY); i++) {
        if (i > 0)
            jtext_put(calls, ", ", 2);
        if (!read_pair(&c, calls))
            return false;
    }
    jtext_put(calls, "}", 1);
    if (!are_arguments(calls, from))
        return false;
    put_zero(calls);
    skip_blanks(&c);
    return c.at == c.end && !calls->failed;
}

/* ---- the machine */

static void finish(struct chat_reply *reply,
                   bool (*read)(const struct chat_reply *reply, struct jtext_out *calls))
{
    struct jtext_out calls = {0};
    if (read(reply, &calls))
        tell_calls(reply, &calls);
    else
        reply_give_up(reply);
    jtext_fini(&calls);
}

static void hold(struct chat_reply *reply, char c)
{
    jtext_put(&reply->held, &c, 1);
    if (!reply->held.failed)
        return;
    reply_give_up(reply); /* no memory to hold it: it is text from here on */
    if (!is_mark(c))
        reply_say(reply, c);
}

static void take_glm(struct chat_reply *reply, char c)
{
    bool is_open = reply->state == REPLY_BLOCK;
    switch ((unsigned char)c) {
    case MARK_CALL: /* inside of another: that one was none */
        if (is_open)
            reply_give_up(reply);
        reply->state = REPLY_BLOCK;
        return;
    case MARK_CALL_END:
        if (is_open)
            finish(reply, read_glm);
        return;
    default:
        if (is_open && (!is_mark(c) || (unsigned char)c >= MARK_KEY))
            hold(reply, c);
    }
}

void reply_take_block(struct chat_reply *reply, char c)
{
    if (reply->calls == CHAT_CALLS_GLM)
        take_glm(reply, c);
    else if (!is_mark(c) || (unsigned char)c == MARK_DSML)
        hold(reply, c);
}

void reply_end_block(struct chat_reply *reply)
{
    if (reply->calls == CHAT_CALLS_GLM)
        reply_give_up(reply);
    else
        finish(reply, read_dsml);
}
