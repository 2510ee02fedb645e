/* SPDX-License-Identifier: MIT
 *
 * Takes a reply apart: thinking, then the answer, then calls. Part of chat.h; see chat_parse.h.
 *
 * Only ids move the machine (and ｜DSML｜ where it is no token), so a text that spells a marker is
 * just text. Line breaks are dropped where one part begins, byte by byte. */
#include "text/chat_parse.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "text/token.h"

static const char dsml[] = "｜DSML｜";

/* The names of markers in the order of enum mark; thinking is every family's own. */
static const char *const names[][N_MARKS] = {
    [CHAT_CALLS_NONE] = {NULL},
    [CHAT_CALLS_V3] = {NULL, NULL, "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
                       "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"},
    [CHAT_CALLS_V31] = {NULL, NULL, "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
                        "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"},
    [CHAT_CALLS_V32] = {[MARK_DSML - MARK_THINK] = dsml},
    [CHAT_CALLS_V4] = {[MARK_DSML - MARK_THINK] = dsml},
    [CHAT_CALLS_KIMI] = {NULL, NULL, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
                         "<|tool_call_begin|>", "<|tool_call_end|>",
                         "<|tool_call_argument_begin|>"},
    [CHAT_CALLS_GLM] = {NULL, NULL, NULL, NULL, "<tool_call>", "</tool_call>", NULL, "<arg_key>",
                        "</arg_key>", "<arg_value>", "</arg_value>"},
};

int chat_reply_new(const struct chat_family *family, const struct vocab *vocab,
                   const struct chat_options *options, struct chat_reply **ret)
{
    struct chat_reply *reply = calloc(1, sizeof(*reply));
    if (!reply)
        return -ENOMEM;
    reply->vocab = vocab;
    reply->calls = family->calls;
    reply->trims_answer = family->trims_answer;
    reply->skip_space = family->trims_space;
    for (int i = 0; i < N_MARKS; i++) {
        const char *name = names[family->calls][i];
        int32_t id = name ? vocab_find(vocab, name) : -1;
        reply->marks[i] = vocab_is_special(vocab, id) ? id : -1;
    }
    chat_think_marks(family, vocab, &reply->marks[0], &reply->marks[1]);
    reply->spells_dsml =
        reply_block_head(family->calls) && reply->marks[MARK_DSML - MARK_THINK] < 0;
    /* a prompt that opens the thinking has printed its line break as well */
    reply->part = chat_begins_thinking(family, options) ? CHAT_PART_THINKING : CHAT_PART_TEXT;
    *ret = reply;
    return 0;
}

void chat_reply_free(struct chat_reply *reply)
{
    if (!reply)
        return;
    jtext_fini(&reply->held);
    free(reply->call_id);
    free(reply);
}

/* ---- telling: small pieces of one part go out together */

static void tell_run(struct chat_reply *reply)
{
    if (reply->n_run > 0)
        reply->emit(reply->arg, reply->run_part, reply->run, reply->n_run);
    reply->n_run = 0;
}

void reply_tell(struct chat_reply *reply, enum chat_part part, const char *text, size_t n)
{
    bool is_event = part == CHAT_PART_CALL || part == CHAT_PART_CALL_END;
    if (part != reply->run_part || is_event || n > sizeof(reply->run) - reply->n_run)
        tell_run(reply);
    if (is_event || n > sizeof(reply->run)) {
        reply->emit(reply->arg, part, text, n);
        return;
    }
    memcpy(reply->run + reply->n_run, text, n);
    reply->n_run += n;
    reply->run_part = part;
}

void reply_say(struct chat_reply *reply, char c)
{
    if (reply->skip_newlines > 0 && c == '\n') {
        reply->skip_newlines -= reply->skip_newlines != INT_MAX;
        return;
    }
    bool skip = reply->skip_space && c == ' ';
    reply->skip_newlines = 0;
    reply->skip_space = false;
    if (skip)
        return;
    reply->has_words = reply->has_words || !is_blank(c);
    reply_tell(reply, reply->part, &c, 1);
}

/* ---- text and thinking */

static void say_lead(struct chat_reply *reply, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_mark(reply->lead[i]))
            reply_say(reply, reply->lead[i]);
    reply->n_lead -= n;
    memmove(reply->lead, reply->lead + n, reply->n_lead);
}

void reply_give_up(struct chat_reply *reply)
{
    reply->state = REPLY_SAYS;
    reply->section_is_blank = false;
    say_lead(reply, reply->n_lead);
    for (size_t i = 0; i < reply->held.n; i++)
        if (!is_mark(reply->held.data[i]))
            reply_say(reply, reply->held.data[i]);
    jtext_fini(&reply->held);
}

/* DSML: text goes out as soon as it cannot be the head of a block. */
static void take_lead(struct chat_reply *reply, char c)
{
    const char *head = reply_block_head(reply->calls);
    reply->lead[reply->n_lead++] = c;
    while (reply->n_lead > 0 && memcmp(reply->lead, head, reply->n_lead) != 0)
        say_lead(reply, 1);
    if (reply->n_lead == strlen(head))
        reply->state = REPLY_BLOCK; /* the lead stays, for giving up */
}

static void take_mark(struct chat_reply *reply, char c)
{
    unsigned char mark = (unsigned char)c;
    if (mark == MARK_THINK && reply->part == CHAT_PART_TEXT && !reply->has_words) {
        say_lead(reply, reply->n_lead);
        reply->part = CHAT_PART_THINKING;
        reply->has_words = true;
        reply->skip_newlines = 1;
    } else if (mark == MARK_THINK_END && reply->part == CHAT_PART_THINKING) {
        reply->part = CHAT_PART_TEXT;
        reply->has_words = true; /* a second block of thinking is none */
        reply->skip_newlines = reply->trims_answer ? INT_MAX : 0;
    } else if (mark > MARK_THINK_END && reply->part == CHAT_PART_TEXT) {
        if (reply_block_head(reply->calls))
            take_lead(reply, c);
        else if (reply->calls == CHAT_CALLS_GLM)
            reply_take_block(reply, c);
        else
            reply_take_call(reply, c);
    }
}

static void take_text(struct chat_reply *reply, char c)
{
    if (reply->part == CHAT_PART_TEXT && reply_block_head(reply->calls))
        take_lead(reply, c);
    else if (!reply->in_section || !reply->section_is_blank || !is_blank(c)) {
        reply->section_is_blank = false;
        reply_say(reply, c);
    }
}

void reply_take(struct chat_reply *reply, char c)
{
    if (reply->state == REPLY_BLOCK)
        reply_take_block(reply, c);
    else if (reply->state != REPLY_SAYS)
        reply_take_call(reply, c);
    else if (is_mark(c))
        take_mark(reply, c);
    else
        take_text(reply, c);
}

/* ---- bytes in */

static void take_spelled(struct chat_reply *reply, size_t n)
{
    char text[sizeof(reply->spelled)];
    memcpy(text, reply->spelled, n);
    reply->n_spelled -= n;
    memmove(reply->spelled, reply->spelled + n, reply->n_spelled);
    for (size_t i = 0; i < n; i++)
        reply_take(reply, text[i]);
}

/* ｜DSML｜ in letters becomes what the token would be. */
static void spell(struct chat_reply *reply, char c)
{
    const size_t n = sizeof(dsml) - 1;
    reply->spelled[reply->n_spelled++] = c;
    while (reply->n_spelled > 0 && memcmp(reply->spelled, dsml, reply->n_spelled) != 0)
        take_spelled(reply, 1);
    if (reply->n_spelled == n) {
        reply->n_spelled = 0;
        reply_take(reply, (char)MARK_DSML);
    }
}

static void take_byte(struct chat_reply *reply, char c)
{
    if (reply->spells_dsml && reply->part == CHAT_PART_TEXT)
        spell(reply, c);
    else
        reply_take(reply, c);
}

/* The model has ended its reply: what is held has found its meaning. */
static void end_reply(struct chat_reply *reply)
{
    take_spelled(reply, reply->n_spelled);
    if (reply->state == REPLY_BLOCK)
        reply_end_block(reply);
    else if (reply->state != REPLY_SAYS)
        reply_end_call(reply);
    say_lead(reply, reply->n_lead);
    reply->in_section = false;
}

void chat_reply_push(struct chat_reply *reply, int32_t id, const char *text, size_t bytes,
                     chat_emit emit, void *arg)
{
    reply->emit = emit;
    reply->arg = arg;
    for (size_t i = 0; i < bytes; i++) {
        if (!is_mark(text[i])) {
            take_byte(reply, text[i]);
            continue;
        }
        for (const char *replacement = "\xEF\xBF\xBD"; *replacement; replacement++)
            take_byte(reply, *replacement);
    }
    for (int i = 0; i < N_MARKS && id >= 0; i++)
        if (reply->marks[i] == id) {
            take_spelled(reply, reply->n_spelled);
            reply_take(reply, (char)(MARK_THINK + i));
        }
    if (id >= 0 && vocab_is_end(reply->vocab, id))
        end_reply(reply);
    tell_run(reply);
}

void chat_reply_finish(struct chat_reply *reply, chat_emit emit, void *arg)
{
    reply->emit = emit;
    reply->arg = arg;
    end_reply(reply);
    tell_run(reply);
}

int chat_reply_n_calls(const struct chat_reply *reply)
{
    return reply->n_calls;
}

const char *chat_reply_call_id(const struct chat_reply *reply)
{
    return reply->call_id;
}
