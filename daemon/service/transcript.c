/* SPDX-License-Identifier: MIT */
#include "service/transcript.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct line *line_new(enum line_kind kind, uint32_t n_tokens, const void *data, size_t n)
{
    struct line *line = malloc(sizeof *line + n);
    if (!line)
        return NULL;
    *line = (struct line){.refs = 1, .kind = kind, .n_tokens = n_tokens, .n = n};
    if (n > 0 && data)
        memcpy(line->data, data, n);
    return line;
}

static struct line *pack(enum line_kind kind, size_t n_tokens,
                         const Moed__V1__GenerateRequest *request)
{
    size_t n = moed__v1__generate_request__get_packed_size(request);
    struct line *line = line_new(kind, (uint32_t)n_tokens, NULL, n);
    if (line)
        moed__v1__generate_request__pack(request, line->data);
    return line;
}

struct line *line_of_message(Moed__V1__Message *message)
{
    Moed__V1__GenerateRequest request = MOED__V1__GENERATE_REQUEST__INIT;
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    enum line_kind kind = message->n_tokens == 0 ? LINE_MESSAGE
                          : message->prefix      ? LINE_CUT
                                                 : LINE_ANSWER;
    chat.messages = &message;
    chat.n_messages = 1;
    request.chat = &chat;
    return pack(kind, message->n_tokens, &request);
}

struct line *line_of_tokens(int32_t *ids, size_t n)
{
    Moed__V1__GenerateRequest request = MOED__V1__GENERATE_REQUEST__INIT;
    Moed__V1__Tokens tokens = MOED__V1__TOKENS__INIT;
    tokens.ids = ids;
    tokens.n_ids = n;
    request.tokens = &tokens;
    return pack(LINE_TOKENS, n, &request);
}

struct line *line_ref(struct line *line)
{
    line->refs++;
    return line;
}

void line_unref(struct line *line)
{
    if (line && --line->refs == 0)
        free(line);
}

uint64_t line_bytes(const struct line *line)
{
    return line ? sizeof line + sizeof *line + line->n : 0;
}

int transcript_add(struct transcript *t, struct line *taken)
{
    OWN(line) *line = taken;
    if (t->n == t->room) {
        int room = t->room ? 2 * t->room : 8;
        struct line **more = reallocarray(t->line, (size_t)room, sizeof *more);
        if (!more)
            return -ENOMEM;
        t->line = more;
        t->room = room;
    }
    t->bytes += line_bytes(line);
    t->line[t->n++] = TAKE(line);
    return 0;
}

void transcript_set(struct transcript *t, struct line *settings)
{
    t->bytes += line_bytes(settings) - line_bytes(t->settings);
    line_unref(t->settings);
    t->settings = settings;
}

int transcript_copy(struct transcript *dst, const struct transcript *src, int n)
{
    if (src->settings)
        transcript_set(dst, line_ref(src->settings));
    for (int i = 0; i < n; i++)
        if (transcript_add(dst, line_ref(src->line[i])) < 0)
            return -ENOMEM;
    return 0;
}

uint64_t transcript_tokens(const struct transcript *t)
{
    uint64_t n = 0;
    for (int i = 0; i < t->n; i++)
        n += t->line[i]->n_tokens;
    return n;
}

void transcript_fini(struct transcript *t)
{
    for (int i = 0; i < t->n; i++)
        line_unref(t->line[i]);
    free(t->line);
    line_unref(t->settings);
    *t = (struct transcript){0};
}
