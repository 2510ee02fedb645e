/* SPDX-License-Identifier: MIT */
#include "service/reading.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "service/transcript.h"
#include "text/detok.h"
#include "ttrpc.h"

size_t reading_clean(char *dst, const char *text, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i])
            dst[used++] = text[i];
        else
            used += (size_t)(stpcpy(dst + used, "\xef\xbf\xbd") - (dst + used));
    }
    return used;
}

int reading_push(struct chat_reply *reply, int32_t id, const char *text, size_t n, chat_emit emit,
                 void *arg)
{
    OWN_MEM char *clean = NULL;
    if (n > 0 && memchr(text, 0, n)) {
        clean = malloc(3 * n + 1);
        if (!clean)
            return -ENOMEM;
        n = reading_clean(clean, text, n);
        text = clean;
    }
    chat_reply_push(reply, id, text, n, emit, arg);
    return 0;
}

int reading_feed(const struct vocab *vocab, struct chat_reply *reply, const int32_t *id, size_t n,
                 chat_emit emit, void *arg)
{
    struct detok detok;
    const char *text;
    size_t bytes;
    int r = detok_init(&detok, vocab, false, NULL, 0, NULL);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++) {
        detok_push(&detok, id[i], &text, &bytes);
        r = reading_push(reply, id[i], text, bytes, emit, arg);
    }
    detok_finish(&detok, &text, &bytes);
    if (r == 0)
        r = reading_push(reply, -1, text, bytes, emit, arg);
    detok_fini(&detok);
    return r;
}

void reading_call_id(uint64_t answer, int call, char ret[READING_CALL_ID])
{
    snprintf(ret, READING_CALL_ID, "call_%016" PRIx64,
             (uint64_t)XXH3_64bits_withSeed(&call, sizeof call, answer));
}

uint64_t reading_vocabulary(const struct vocab *vocab)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (int32_t id = 0; id < vocab_size(vocab); id++) {
        size_t n;
        const char *bytes = vocab_bytes(vocab, id, &n);
        XXH3_64bits_update(&state, &n, sizeof n);
        XXH3_64bits_update(&state, bytes, n);
    }
    uint64_t digest = XXH3_64bits_digest(&state);
    return digest ? digest : 1;
}

/* ---- an answer as a line */

/* Leaves what stands before the stop string, the last bytes of it in other ids if need be. */
static int cut_stop(struct answer *a)
{
    __attribute__((cleanup(ttrpc_buf_fini))) struct ttrpc_buf spelled = {0};
    size_t n_stop = strlen(a->stop);
    for (size_t i = 0; i < a->ids.n; i++) {
        size_t n;
        const char *bytes = vocab_bytes(a->vocab, a->ids.id[i], &n);
        if (!vocab_is_special(a->vocab, a->ids.id[i]) && ttrpc_buf_put(&spelled, bytes, n) < 0)
            return -ENOMEM;
    }
    const char *text = spelled.n ? (const char *)spelled.data + spelled.start : "";
    size_t n_last = 0; /* which completed it */
    if (a->ids.n > 0)
        vocab_bytes(a->vocab, a->ids.id[a->ids.n - 1], &n_last);
    size_t end = spelled.n >= n_last + n_stop ? spelled.n - n_last - n_stop : 0;
    while (end + n_stop <= spelled.n && memcmp(text + end, a->stop, n_stop) != 0)
        end++;
    if (end + n_stop > spelled.n)
        return 0;
    size_t kept = 0, at = 0;
    for (; kept < a->ids.n; kept++) {
        size_t n;
        vocab_bytes(a->vocab, a->ids.id[kept], &n);
        if (vocab_is_special(a->vocab, a->ids.id[kept]))
            continue;
        if (n > end - at)
            break;
        at += n;
    }
    a->ids.n = kept;
    return vocab_encode(a->vocab, text + at, end - at, 0, &a->ids, NULL);
}

/* What a reply's parts add up to. */
struct told {
    struct chat_reply *reply;
    uint64_t call_id;
    struct ttrpc_buf text, thinking, arguments;
    Moed__V1__ToolCall *call, **calls;
    int n_calls;
    int code;
};

static char *as_string(struct told *told, struct ttrpc_buf *buf)
{
    if (ttrpc_buf_put(buf, "", 1) < 0) {
        told->code = -ENOMEM;
        return NULL;
    }
    return (char *)buf->data + buf->start;
}

static void begin_call(struct told *told, const char *name, size_t n)
{
    size_t more = (size_t)told->n_calls + 1;
    Moed__V1__ToolCall *call = reallocarray(told->call, more, sizeof *call);
    if (!call) {
        told->code = -ENOMEM;
        return;
    }
    told->call = call;
    call += told->n_calls;
    moed__v1__tool_call__init(call);
    char id[READING_CALL_ID];
    reading_call_id(told->call_id, told->n_calls, id);
    const char *own = chat_reply_call_id(told->reply);
    call->name = strndup(name, n);
    call->id = strdup(own ? own : id);
    told->n_calls++;
    if (!call->name || !call->id)
        told->code = -ENOMEM;
}

static void end_call(struct told *told)
{
    Moed__V1__ToolCall *call = &told->call[told->n_calls - 1];
    const char *text = as_string(told, &told->arguments);
    if (!text)
        return;
    free(call->arguments);
    call->arguments = strdup(text);
    if (!call->arguments)
        told->code = -ENOMEM;
    ttrpc_buf_fini(&told->arguments);
}

static void on_part(void *arg, enum chat_part part, const char *text, size_t n)
{
    struct told *told = arg;
    struct ttrpc_buf *to = part == CHAT_PART_TEXT       ? &told->text
                           : part == CHAT_PART_THINKING ? &told->thinking
                                                        : &told->arguments;
    if (told->code < 0)
        return;
    if (part == CHAT_PART_CALL)
        begin_call(told, text, n);
    else if (part == CHAT_PART_CALL_END)
        end_call(told);
    else if (ttrpc_buf_put(to, text, n) < 0)
        told->code = -ENOMEM;
}

static void told_fini(struct told *told)
{
    for (int i = 0; i < told->n_calls; i++) {
        free(told->call[i].name);
        free(told->call[i].id);
        free(told->call[i].arguments);
    }
    free(told->call);
    free(told->calls);
    ttrpc_buf_fini(&told->text);
    ttrpc_buf_fini(&told->thinking);
    ttrpc_buf_fini(&told->arguments);
    chat_reply_free(told->reply);
}

static int read_reply(const struct answer *a, struct told *told)
{
    told->call_id = a->call_id;
    int r = chat_reply_new(a->family, a->vocab, &a->options, &told->reply);
    if (r == 0)
        r = reading_feed(a->vocab, told->reply, a->ids.id, a->ids.n, on_part, told);
    if (r == 0)
        chat_reply_finish(told->reply, on_part, told);
    if (r < 0 || told->code < 0)
        return -ENOMEM;
    told->calls = calloc((size_t)told->n_calls + 1, sizeof *told->calls);
    if (!told->calls)
        return -ENOMEM;
    for (int i = 0; i < told->n_calls; i++)
        told->calls[i] = &told->call[i];
    return 0;
}

static bool is_cut(const struct answer *a)
{
    return a->finish != MOED__V1__FINISH__FINISH_STOP &&
           a->finish != MOED__V1__FINISH__FINISH_TOOL_CALLS;
}

static int message_line(const struct answer *a, struct line **ret)
{
    __attribute__((cleanup(told_fini))) struct told told = {0};
    Moed__V1__Message message = MOED__V1__MESSAGE__INIT;
    int r = read_reply(a, &told);
    if (r < 0)
        return r;
    message.has_role = message.has_finish = true;
    message.role = MOED__V1__ROLE__ROLE_ASSISTANT;
    message.finish = a->finish;
    message.has_prefix = message.prefix = is_cut(a);
    message.has_thinking = message.thinking = a->options.thinking;
    message.content = as_string(&told, &told.text);
    message.reasoning = told.thinking.n > 0 ? as_string(&told, &told.thinking) : NULL;
    message.calls = told.calls;
    message.n_calls = (size_t)told.n_calls;
    message.tokens = a->ids.id;
    message.n_tokens = a->ids.n;
    if (told.code < 0)
        return -ENOMEM;
    *ret = line_of_message(&message);
    return *ret ? 0 : -ENOMEM;
}

int reading_line(struct answer *a, struct line **ret)
{
    if (!is_cut(a) && a->ids.n > 0 && vocab_is_end(a->vocab, a->ids.id[a->ids.n - 1]))
        a->ids.n--;
    int r = a->stop ? cut_stop(a) : 0;
    if (r < 0)
        return -ENOMEM;
    if (a->family)
        return message_line(a, ret);
    *ret = line_of_tokens(a->ids.id, a->ids.n);
    return *ret ? 0 : -ENOMEM;
}
