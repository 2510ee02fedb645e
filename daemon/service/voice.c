/* SPDX-License-Identifier: MIT
 *
 * From tokens of an engine to the fields of events. Loop thread.
 */
#include "service/voice.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/own.h"
#include "model/model.h"
#include "service/ask.h"
#include "service/hub.h"
#include "service/reading.h"
#include "text/chat.h"
#include "text/token.h"

enum {
    EVENT_FIELDS = 3500,   /* of one event: peers count fields before they unpack */
    EVENT_BYTES = 1 << 20, /* about the largest event */
    /* Fields of GenerateEvent that are packed by hand as they come: */
    TOKENS = 6,
    CALLS = 14,
    PROMPT_TOKENS = 16,
};

/* ---- birth and death */
static void told_before(void *arg, enum chat_part part, const char *text, size_t bytes)
{
    (void)arg, (void)part, (void)text, (void)bytes;
}

/* An answer that goes on is parsed from its beginning. */
static int open_reply(struct voice *a, const struct ask *ask)
{
    int r = chat_reply_new(ask->chat, a->vocab, &ask->options, &a->reply);
    return r < 0 ? r
                 : reading_feed(a->vocab, a->reply, ask->open.id, ask->open.n, told_before, NULL);
}

int voice_init(struct voice *a, struct generation *generation, const struct models_entry *model,
               const struct ask *ask, struct engine_request **taken)
{
    struct engine_request *request = a->request = TAKE(*taken);
    a->generation = generation;
    a->vocab = model_vocab(model->model);
    a->logprobs = ask->logprobs;
    a->hash = XXH3_createState();
    if (!a->hash || receipt_init(&a->receipt, model, request) < 0)
        return -ENOMEM;
    XXH3_64bits_reset(a->hash);
    hub_random(&a->call_id, sizeof a->call_id);
    return ask->chat ? open_reply(a, ask) : 0;
}

void voice_fini(struct voice *a)
{
    engine_request_free(a->request);
    chat_reply_free(a->reply);
    ttrpc_buf_fini(&a->text);
    ttrpc_buf_fini(&a->thinking);
    ttrpc_buf_fini(&a->tokens);
    ttrpc_buf_fini(&a->said);
    receipt_fini(&a->receipt);
    ttrpc_buf_fini(&a->held);
    XXH3_freeState(a->hash);
}

/* ---- packing */
static size_t put_varint(uint8_t *dst, size_t value)
{
    size_t n = 0;
    for (; value > 0x7f; value >>= 7)
        dst[n++] = (uint8_t)((value & 0x7f) | 0x80);
    dst[n++] = (uint8_t)value;
    return n;
}

/* Packs a message behind the others of the next event: tag, length, message. */
static int put_packed(struct voice *a, unsigned field, const ProtobufCMessage *message)
{
    enum { WIRE_BYTES = 2 };
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t head[12];
    size_t n_head = put_varint(head, field << 3 | WIRE_BYTES);
    n_head += put_varint(head + n_head, n);
    uint8_t *at = ttrpc_buf_add(&a->tokens, n_head + n);
    if (!at)
        return -ENOMEM;
    memcpy(at, head, n_head);
    protobuf_c_message_pack(message, at + n_head);
    return 0;
}

static ProtobufCBinaryData bytes_of(const struct voice *a, int32_t id)
{
    ProtobufCBinaryData ret;
    ret.data = (uint8_t *)vocab_bytes(a->vocab, id, &ret.len);
    return ret;
}

/* A token behind the others of its field. */
static int put_token(struct voice *a, unsigned field, bool logprobs, const struct engine_event *ev)
{
    Moed__V1__TopLogprob tops[ENGINE_MAX_TOP], *top[ENGINE_MAX_TOP];
    Moed__V1__Token token = MOED__V1__TOKEN__INIT;
    token.has_id = token.has_text = true;
    token.id = ev->id;
    token.text = bytes_of(a, ev->id);
    token.has_logprob = logprobs;
    token.logprob = ev->logprob;
    for (int i = 0; logprobs && i < ev->n_top; i++) {
        moed__v1__top_logprob__init(&tops[i]);
        tops[i].has_id = tops[i].has_logprob = tops[i].has_text = true;
        tops[i].id = ev->top[i].id;
        tops[i].logprob = ev->top[i].logprob;
        tops[i].text = bytes_of(a, ev->top[i].id);
        top[token.n_top++] = &tops[i];
    }
    token.top = top;
    a->n_fields += 4 + (int)token.n_top * 4;
    return put_packed(a, field, &token.base);
}

/* ---- taking a reply apart */
struct telling { /* of one token */
    struct voice *voice;
    int r;
};

/* A piece of a tool call; the model's own name for it, where it gives one, else ours. */
static int put_call(struct voice *a, enum chat_part part, const char *text, size_t bytes)
{
    Moed__V1__CallDelta delta = MOED__V1__CALL_DELTA__INIT;
    OWN_MEM char *copy = strndup(text, bytes);
    char id[READING_CALL_ID];
    if (!copy)
        return -ENOMEM;
    delta.has_index = true;
    delta.index = chat_reply_n_calls(a->reply) - 1;
    if (part == CHAT_PART_CALL) {
        reading_call_id(a->call_id, delta.index, id);
        const char *own = chat_reply_call_id(a->reply);
        delta.id = own ? (char *)own : id;
        delta.name = copy;
    } else if (part == CHAT_PART_ARGUMENTS) {
        delta.arguments = copy;
    }
    delta.has_done = delta.done = part == CHAT_PART_CALL_END;
    a->n_fields += 6;
    return put_packed(a, CALLS, &delta.base);
}

static int put_text(struct voice *a, enum chat_part part, const char *text, size_t bytes)
{
    int r = ttrpc_buf_put(part == CHAT_PART_THINKING ? &a->thinking : &a->text, text, bytes);
    if (r == 0 && part == CHAT_PART_TEXT && a->reply)
        return ttrpc_buf_put(&a->said, text, bytes); /* hashed after all thinking */
    if (r == 0)
        XXH3_64bits_update(a->hash, text, bytes);
    return r;
}

static void on_reply(void *arg, enum chat_part part, const char *text, size_t bytes)
{
    struct telling *telling = arg;
    bool is_text = part == CHAT_PART_THINKING || part == CHAT_PART_TEXT;
    int r = is_text ? put_text(telling->voice, part, text, bytes)
                    : put_call(telling->voice, part, text, bytes);
    if (r < 0)
        telling->r = r;
}

static int take_text(struct voice *a, int32_t id, const struct engine_event *ev)
{
    if (a->reply) {
        struct telling telling = {.voice = a};
        int r = reading_push(a->reply, id, ev->text, ev->n_text, on_reply, &telling);
        return r < 0 ? r : telling.r;
    }
    char clean[3 * ENGINE_TEXT_BYTES + 1];
    size_t n = reading_clean(clean, ev->text, ev->n_text);
    return n > 0 ? put_text(a, CHAT_PART_TEXT, clean, n) : 0;
}

/* ---- the engine's events */
static int take_token(struct voice *a, const struct engine_event *ev)
{
    int r = put_token(a, TOKENS, a->logprobs, ev);
    if (r < 0)
        return r;
    a->n_waiting++;
    return take_text(a, ev->id, ev);
}

bool voice_has_room(const struct voice *a, const struct engine_event *ev)
{
    return a->n_fields + 4 + ev->n_top * 4 <= EVENT_FIELDS && voice_unsent(a) <= EVENT_BYTES;
}

int voice_take(struct voice *a, const struct engine_event *ev)
{
    switch (ev->kind) {
    case ENGINE_KNOWN:
        return receipt_know(&a->receipt, ev);
    case ENGINE_PROMPT:
        return put_token(a, PROMPT_TOKENS, true, ev);
    case ENGINE_TOKEN:
        return take_token(a, ev);
    case ENGINE_MORE:
        return take_text(a, -1, ev);
    case ENGINE_ESTIMATE:
        a->estimate = *ev;
        a->is_estimated = true;
        return 0;
    case ENGINE_READING:
    case ENGINE_VALUES:
    case ENGINE_DONE:
        break;
    }
    return 0;
}

int voice_end(struct voice *a)
{
    struct telling telling = {.voice = a};
    a->is_done = true;
    if (a->reply)
        chat_reply_finish(a->reply, on_reply, &telling);
    return telling.r;
}

/* ---- keeping for later: of an event what it says, and no more */
struct record {
    int32_t id;
    float logprob;
    uint16_t n_text;
    uint8_t kind, n_top;
};

int voice_hold(struct voice *a, const struct engine_event *ev)
{
    struct record record = {ev->id, ev->logprob, ev->n_text, (uint8_t)ev->kind, (uint8_t)ev->n_top};
    size_t n_top = ev->n_top * sizeof *ev->top;
    if (ev->kind == ENGINE_TOKEN) {
        a->logprob_sum += (double)ev->logprob;
        a->n_scored++;
    }
    uint8_t *at = ttrpc_buf_add(&a->held, sizeof record + n_top + ev->n_text);
    if (!at)
        return -ENOMEM;
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, ev->top, n_top);
    memcpy(at + sizeof record + n_top, ev->text, ev->n_text);
    return 0;
}

static void read_held(const struct voice *a, struct engine_event *ev, size_t *n)
{
    const uint8_t *at = a->held.data + a->held.start;
    struct record record;
    memcpy(&record, at, sizeof record);
    *ev = (struct engine_event){.kind = (enum engine_event_kind)record.kind,
                                .id = record.id,
                                .logprob = record.logprob,
                                .n_top = record.n_top,
                                .n_text = record.n_text};
    size_t n_top = record.n_top * sizeof *ev->top;
    memcpy(ev->top, at + sizeof record, n_top);
    memcpy(ev->text, at + sizeof record + n_top, record.n_text);
    *n = sizeof record + n_top + record.n_text;
}

int voice_feed(struct voice *a)
{
    while (a->held.n > 0) {
        struct engine_event ev;
        size_t n;
        read_held(a, &ev, &n);
        if (!voice_has_room(a, &ev))
            return 0;
        int r = voice_take(a, &ev);
        if (r < 0)
            return r;
        ttrpc_buf_drop(&a->held, n);
    }
    return voice_end(a);
}

double voice_score(const struct voice *a)
{
    enum engine_finish how = a->done.finish;
    bool is_whole = how == ENGINE_STOP || how == ENGINE_LENGTH || how == ENGINE_TIME;
    return a->n_scored > 0 && is_whole ? a->logprob_sum / a->n_scored : -INFINITY;
}

/* ---- sending */
bool voice_is_waiting(const struct voice *a)
{
    return a->tokens.n > 0 || a->text.n > 0 || a->thinking.n > 0 || a->is_estimated;
}

size_t voice_unsent(const struct voice *a)
{
    return a->text.n + a->thinking.n + a->tokens.n;
}

/* Ends a text for protobuf-c; the NUL is not part of it. NULL: nothing to send. */
static char *as_string(struct ttrpc_buf *buf)
{
    if (buf->n == 0 || ttrpc_buf_put(buf, "", 1) < 0)
        return NULL;
    return (char *)buf->data + buf->start;
}

static void fill_estimate(const struct engine_event *from, Moed__V1__Estimate *ret)
{
    moed__v1__estimate__init(ret);
    ret->has_prefill_seconds = from->estimate.prefill_seconds > 0;
    ret->prefill_seconds = from->estimate.prefill_seconds;
    ret->has_tokens_per_second = ret->has_thinking_tokens = ret->has_answer_tokens =
        from->estimate.tokens_per_second > 0;
    ret->tokens_per_second = from->estimate.tokens_per_second;
    ret->thinking_tokens = from->estimate.thinking_tokens;
    ret->answer_tokens = from->estimate.answer_tokens;
}

void voice_fill(struct voice *a, Moed__V1__GenerateEvent *ev, Moed__V1__Estimate *estimate)
{
    if (a->is_estimated) {
        fill_estimate(&a->estimate, estimate);
        ev->estimate = estimate;
    }
    if (a->n_waiting > 0) {
        ev->has_first_index = true;
        ev->first_index = a->first_index;
    }
    ev->thinking = as_string(&a->thinking);
    ev->text = as_string(&a->text);
}

void voice_sent(struct voice *a)
{
    a->first_index += a->n_waiting;
    a->n_waiting = a->n_fields = 0;
    a->is_estimated = false;
    ttrpc_buf_fini(&a->thinking);
    ttrpc_buf_fini(&a->text);
    ttrpc_buf_fini(&a->tokens);
}

static uint64_t hash_of(struct voice *a)
{
    if (a->said.n > 0)
        XXH3_64bits_update(a->hash, a->said.data + a->said.start, a->said.n);
    ttrpc_buf_fini(&a->said);
    return XXH3_64bits_digest(a->hash);
}

Moed__V1__Finish voice_finish(const struct voice *a)
{
    static const Moed__V1__Finish finishes[] = {
        [ENGINE_STOP] = MOED__V1__FINISH__FINISH_STOP,
        [ENGINE_LENGTH] = MOED__V1__FINISH__FINISH_LENGTH,
        [ENGINE_TIME] = MOED__V1__FINISH__FINISH_TIME,
        [ENGINE_CANCELLED] = MOED__V1__FINISH__FINISH_CANCELLED,
        [ENGINE_ERROR] = MOED__V1__FINISH__FINISH_ERROR,
        [ENGINE_REFUSED] = MOED__V1__FINISH__FINISH_REFUSED,
    };
    bool calls = a->done.finish == ENGINE_STOP && a->reply && chat_reply_n_calls(a->reply) > 0;
    return calls ? MOED__V1__FINISH__FINISH_TOOL_CALLS : finishes[a->done.finish];
}

void voice_fill_end(struct voice *a, Moed__V1__GenerateEvent *ev, Moed__V1__Receipt *receipt)
{
    static const Moed__V1__ThinkingCut cuts[] = {
        [THINK_UNCUT] = MOED__V1__THINKING_CUT__THINKING_CUT_NONE,
        [THINK_CUT_SOFT] = MOED__V1__THINKING_CUT__THINKING_CUT_SOFT,
        [THINK_CUT_HARD] = MOED__V1__THINKING_CUT__THINKING_CUT_HARD,
        [THINK_CUT_TIME] = MOED__V1__THINKING_CUT__THINKING_CUT_TIME,
    };
    ev->has_finish = ev->has_thinking_cut = ev->has_text_hash = true;
    ev->finish = voice_finish(a);
    ev->thinking_cut = cuts[a->done.cut];
    ev->text_hash = hash_of(a);
    if (a->done.finish == ENGINE_ERROR || a->done.finish == ENGINE_REFUSED)
        ev->error = a->done.text;
    ev->has_mean_logprob = isfinite(voice_score(a));
    ev->mean_logprob = (float)voice_score(a);
    receipt_tell(&a->receipt, receipt);
    ev->receipt = receipt;
}
