/* SPDX-License-Identifier: MIT
 *
 * The inside of a chat_reply: one machine over bytes, shared by chat_reply.c (thinking and text),
 * chat_calls.c (calls told as they are written) and chat_block.c (calls told when they are whole).
 *
 * Markers travel as bytes that UTF-8 never uses, so that one stream holds both and a buffer of it
 * can be put back as plain text. Text that has such bytes is no UTF-8 and gets U+FFFD for them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "text/chat.h"
#include "text/jtext.h"

enum mark {
    MARK_THINK = 0xF5,
    MARK_THINK_END,
    MARK_SECTION,
    MARK_SECTION_END,
    MARK_CALL,
    MARK_CALL_END,
    MARK_SEP, /* between a call's name and its arguments; in DSML ｜DSML｜ itself */
    MARK_KEY,
    MARK_KEY_END,
    MARK_VALUE,
    MARK_VALUE_END,
    MARK_DSML = MARK_SEP,
};
enum { N_MARKS = MARK_VALUE_END - MARK_THINK + 1 };

enum reply_state {
    REPLY_SAYS,  /* thinking or text */
    REPLY_HEAD,  /* a call's type, or its name where there is no type; held */
    REPLY_NAME,  /* V3: the name after the type; held */
    REPLY_FENCE, /* V3: what opens the arguments; held */
    REPLY_ARGUMENTS,
    REPLY_BLOCK, /* held until it is whole */
};

struct chat_reply {
    enum chat_calls calls;
    const struct vocab *vocab;
    int32_t marks[N_MARKS]; /* ids; -1: the family or the vocabulary has none */
    bool trims_answer;
    enum chat_part part;
    bool has_words;    /* something but white space was said: <think> comes too late */
    int skip_newlines; /* still to be dropped at the head of this part */
    bool skip_space;   /* and one space */

    enum reply_state state;
    bool in_section, section_is_blank; /* white space between calls is no text */
    struct jtext_out held;
    size_t name_at, fence_at; /* in held */
    size_t n_tail;            /* how much of what closes V3's arguments was seen */
    char lead[32];            /* DSML: what may be the head of a block */
    size_t n_lead;
    char spelled[16]; /* DSML, where the vocabulary lacks the token: what may be its letters */
    size_t n_spelled;
    bool spells_dsml;

    int n_calls;
    char *call_id;

    char run[512]; /* said and not yet told, of one part */
    size_t n_run;
    enum chat_part run_part;
    chat_emit emit;
    void *arg;
};

static inline bool is_mark(char c)
{
    return (unsigned char)c >= MARK_THINK;
}
static inline bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void reply_tell(struct chat_reply *reply, enum chat_part part, const char *text, size_t n);
/* Text of the part we are in. */
void reply_say(struct chat_reply *reply, char c);
/* What was held comes as text, without its markers. */
void reply_give_up(struct chat_reply *reply);
/* A byte or a marker, whatever the state. */
void reply_take(struct chat_reply *reply, char c);

/* chat_calls.c: V3, V3.1, Kimi. In REPLY_SAYS markers alone. */
void reply_take_call(struct chat_reply *reply, char c);
void reply_end_call(struct chat_reply *reply); /* the reply ends inside of one */

/* chat_block.c: V3.2, V4, GLM. */
const char *reply_block_head(enum chat_calls calls); /* DSML: what opens a block */
void reply_take_block(struct chat_reply *reply, char c);
void reply_end_block(struct chat_reply *reply);
