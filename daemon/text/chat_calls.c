/* SPDX-License-Identifier: MIT
 *
 * Calls that are told as they are written: V3, V3.1 and Kimi. See chat_parse.h.
 *
 *     V3     CALL type SEP name ⏎ ```json ⏎ arguments ⏎ ``` CALL_END
 *     V3.1   CALL name SEP arguments CALL_END
 *     Kimi   CALL functions.name:number SEP arguments CALL_END
 *
 * A section's markers around them may be missing. Up to the arguments everything is held, so that
 * what is no call can come as text; arguments go out at once. */
#include "text/chat_parse.h"

#include <stdio.h>
#include <string.h>

enum { HEAD_BYTES = 1024 }; /* of type and name; no function has a longer one */

static const char fence[] = "```json\n", closing[] = "\n```";

/* ---- the name */

static void trim(const char **text, size_t *n)
{
    while (*n > 0 && is_blank(**text)) {
        ++*text;
        --*n;
    }
    while (*n > 0 && is_blank((*text)[*n - 1]))
        --*n;
}

/* "functions.get_weather:0" is Kimi's own name for the call. */
static void strip_id(struct chat_reply *reply, const char **text, size_t *n)
{
    static const char prefix[] = "functions.";
    free(reply->call_id);
    reply->call_id = strndup(*text, *n); /* lost for want of memory, it is as if there were none */
    size_t digits = 0;
    while (digits < *n && (*text)[*n - 1 - digits] >= '0' && (*text)[*n - 1 - digits] <= '9')
        digits++;
    if (digits > 0 && digits < *n && (*text)[*n - 1 - digits] == ':')
        *n -= digits + 1;
    if (*n >= sizeof(prefix) - 1 && memcmp(*text, prefix, sizeof(prefix) - 1) == 0) {
        *text += sizeof(prefix) - 1;
        *n -= sizeof(prefix) - 1;
    }
}

static void begin(struct chat_reply *reply, const char *name, size_t n)
{
    trim(&name, &n);
    if (reply->calls == CHAT_CALLS_KIMI && n > 0)
        strip_id(reply, &name, &n);
    if (n == 0 || reply->held.failed) {
        reply_give_up(reply);
        return;
    }
    reply->n_calls++;
    reply_tell(reply, CHAT_PART_CALL, name, n);
    reply->n_tail = 0;
    reply->state = REPLY_ARGUMENTS;
    jtext_fini(&reply->held);
}

/* ---- the arguments */

static void end(struct chat_reply *reply)
{
    if (reply->n_tail < sizeof(closing) - 1)
        reply_tell(reply, CHAT_PART_ARGUMENTS, closing, reply->n_tail);
    reply_tell(reply, CHAT_PART_CALL_END, "", 0);
    reply->state = REPLY_SAYS;
    reply->section_is_blank = true;
}

static void take_argument(struct chat_reply *reply, char c)
{
    if (reply->calls != CHAT_CALLS_V3) {
        reply_tell(reply, CHAT_PART_ARGUMENTS, &c, 1);
        return;
    }
    /* Only the first byte of the closing is a line break, so a mismatch can only begin anew. */
    if (reply->n_tail == sizeof(closing) - 1 || c != closing[reply->n_tail]) {
        reply_tell(reply, CHAT_PART_ARGUMENTS, closing, reply->n_tail);
        reply->n_tail = 0;
    }
    if (c == closing[reply->n_tail])
        reply->n_tail++;
    else
        reply_tell(reply, CHAT_PART_ARGUMENTS, &c, 1);
}

/* ---- the machine */

static void hold(struct chat_reply *reply, char c)
{
    jtext_put(&reply->held, &c, 1);
    if (reply->held.n > HEAD_BYTES || reply->held.failed)
        reply_give_up(reply);
}

static void take_held(struct chat_reply *reply, char c)
{
    hold(reply, c);
    if (reply->state == REPLY_NAME && c == '\n') {
        reply->state = REPLY_FENCE;
        reply->fence_at = reply->held.n;
    } else if (reply->state == REPLY_FENCE) {
        size_t n = reply->held.n - reply->fence_at;
        if (memcmp(reply->held.data + reply->fence_at, fence, n) != 0)
            reply_give_up(reply);
        else if (n == sizeof(fence) - 1)
            begin(reply, reply->held.data + reply->name_at, reply->fence_at - reply->name_at);
    }
}

static void take_separator(struct chat_reply *reply)
{
    if (reply->state != REPLY_HEAD)
        return;
    if (reply->calls == CHAT_CALLS_V3) {
        reply->state = REPLY_NAME;
        reply->name_at = reply->held.n;
    } else {
        begin(reply, reply->held.data ? reply->held.data : "", reply->held.n);
    }
}

void reply_take_call(struct chat_reply *reply, char c)
{
    if (!is_mark(c)) {
        if (reply->state == REPLY_ARGUMENTS)
            take_argument(reply, c);
        else
            take_held(reply, c);
        return;
    }
    switch ((unsigned char)c) {
    case MARK_SEP:
        take_separator(reply);
        return;
    case MARK_SECTION:
    case MARK_SECTION_END:
    case MARK_CALL:
    case MARK_CALL_END:
        if (reply->state != REPLY_SAYS)
            reply_end_call(reply);
        break;
    default:
        return; /* thinking is over; its markers mean nothing here */
    }
    if ((unsigned char)c == MARK_CALL)
        reply->state = REPLY_HEAD;
    else if ((unsigned char)c != MARK_CALL_END)
        reply->in_section = reply->section_is_blank = (unsigned char)c == MARK_SECTION;
}

void reply_end_call(struct chat_reply *reply)
{
    if (reply->state == REPLY_ARGUMENTS)
        end(reply);
    else
        reply_give_up(reply);
}
