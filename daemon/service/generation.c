/* SPDX-License-Identifier: MIT
 *
 * From an engine's events to a stream's. Loop thread.
 */
#include "service/generation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/log.h"
#include "base/own.h"
#include "engine/models.h"
#include "model/model.h"
#include "service/ask.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/reading.h"
#include "service/receipt.h"
#include "service/status.h"
#include "service/turn.h"
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

struct generation {
    struct generation *next; /* hub->by_call; until DONE */
    struct hub *hub;
    struct call *call; /* NULL: nobody reads any more */
    struct engine *engine;
    const struct vocab *vocab;
    uint64_t engine_call;
    int entry;
    uint32_t uid;
    uint64_t started_ms;
    uint8_t id[GENERATION_ID_BYTES];
    char *model;
    char **stops;
    int n_stops;
    struct receipt receipt;
    struct chat_reply *reply; /* NULL: everything is text */
    uint64_t call_id;         /* of reading_call_id() */
    struct turn *turn;        /* NULL: in no session */
    bool logprobs;

    /* what waits to be sent */
    struct ttrpc_buf text, thinking;
    struct ttrpc_buf tokens; /* packed: the prompt's, the answer's, call deltas among them */
    int32_t *prompt;         /* of the first event, if asked for */
    int n_prompt;
    int n_waiting, n_fields; /* tokens in `tokens`, fields of them */
    uint64_t seq;
    int first_index;

    int n_tokens;
    XXH3_state_t *hash;    /* over thinking, then text */
    struct ttrpc_buf said; /* text, kept until thinking can no longer come */
    bool is_started;       /* the first event is out */
    bool is_paused, is_done;
    struct engine_event done; /* DONE */
    int stop_code;            /* why we stopped it; 0: we did not */
    Moed__V1__Finish stop_finish;
    const char *stop_words;
};

static const struct call_hooks hooks;

static void generation_free(struct generation *g)
{
    if (!g)
        return;
    free(g->model);
    for (int i = 0; i < g->n_stops; i++)
        free(g->stops[i]);
    free(g->stops);
    chat_reply_free(g->reply);
    turn_leave(g->turn);
    ttrpc_buf_fini(&g->text);
    ttrpc_buf_fini(&g->thinking);
    ttrpc_buf_fini(&g->tokens);
    ttrpc_buf_fini(&g->said);
    receipt_fini(&g->receipt);
    free(g->prompt);
    XXH3_freeState(g->hash);
    free(g);
}
OWN_DEFINE(generation, generation_free);

/* ---- the table of running ones */
static struct generation **bucket(struct hub *hub, uint64_t engine_call)
{
    return &hub->by_call[engine_call % HUB_CALL_BUCKETS];
}

static void enter(struct generation *g)
{
    struct generation **at = bucket(g->hub, g->engine_call);
    g->next = *at;
    *at = g;
    g->hub->n_running++;
    hub_hold(g->hub, g->entry);
    hub_count(g->hub, COUNTER_GENERATIONS);
}

static void leave(struct generation *g)
{
    struct generation **at = bucket(g->hub, g->engine_call);
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    g->hub->n_running--;
    hub_release(g->hub, g->entry);
}

static bool may_see(const struct generation *g, uint32_t uid)
{
    return uid == 0 || g->uid == uid;
}

struct generation *generation_next(struct hub *hub, struct generation *after, uint32_t uid)
{
    struct generation *g = after ? after->next : hub->by_call[0];
    size_t i = after ? (size_t)(after->engine_call % HUB_CALL_BUCKETS) : 0;
    for (;;) {
        for (; g; g = g->next)
            if (may_see(g, uid))
                return g;
        if (++i >= HUB_CALL_BUCKETS)
            return NULL;
        g = hub->by_call[i];
    }
}

struct generation *generation_find(struct hub *hub, const uint8_t *id, uint32_t uid)
{
    for (struct generation *g = generation_next(hub, NULL, uid); g;
         g = generation_next(hub, g, uid))
        if (memcmp(g->id, id, sizeof g->id) == 0)
            return g;
    return NULL;
}

/* ---- sending */
static bool is_waiting(const struct generation *g)
{
    return !g->is_started || g->tokens.n > 0 || g->text.n > 0 || g->thinking.n > 0 || g->is_done;
}

static Moed__V1__Finish finish_of(const struct generation *g)
{
    switch (g->done.finish) {
    case ENGINE_STOP:
        return g->reply && chat_reply_n_calls(g->reply) > 0 ? MOED__V1__FINISH__FINISH_TOOL_CALLS
                                                            : MOED__V1__FINISH__FINISH_STOP;
    case ENGINE_LENGTH:
        return MOED__V1__FINISH__FINISH_LENGTH;
    case ENGINE_CANCELLED:
        return g->stop_code ? g->stop_finish : MOED__V1__FINISH__FINISH_CANCELLED;
    case ENGINE_ERROR:
        break;
    }
    return MOED__V1__FINISH__FINISH_ERROR;
}

static uint64_t hash_of(struct generation *g)
{
    if (g->said.n > 0)
        XXH3_64bits_update(g->hash, g->said.data + g->said.start, g->said.n);
    ttrpc_buf_fini(&g->said);
    return XXH3_64bits_digest(g->hash);
}

static const Moed__V1__ThinkingCut cuts[] = {
    [THINK_UNCUT] = MOED__V1__THINKING_CUT__THINKING_CUT_NONE,
    [THINK_CUT_SOFT] = MOED__V1__THINKING_CUT__THINKING_CUT_SOFT,
    [THINK_CUT_HARD] = MOED__V1__THINKING_CUT__THINKING_CUT_HARD,
};

static void fill_totals(struct generation *g, Moed__V1__GenerateEvent *ev, Moed__V1__Usage *usage)
{
    const struct engine_event *done = &g->done;
    ev->has_finish = true;
    ev->finish = finish_of(g);
    ev->has_thinking_cut = true;
    ev->thinking_cut = cuts[done->cut];
    if (done->finish == ENGINE_STOP && done->stop_index >= 0 && done->stop_index < g->n_stops)
        ev->stop = g->stops[done->stop_index];
    if (done->finish == ENGINE_ERROR)
        ev->error = g->done.text;
    usage->has_prompt_tokens = usage->has_cached_tokens = usage->has_completion_tokens = true;
    usage->prompt_tokens = done->n_prompt;
    usage->cached_tokens = done->n_cached;
    usage->completion_tokens = done->n_tokens;
    usage->has_thinking_tokens = true;
    usage->thinking_tokens = done->n_thinking;
    usage->has_queue_seconds = usage->has_prefill_seconds = usage->has_decode_seconds = true;
    usage->queue_seconds = (double)done->queue_ns * 1e-9;
    usage->prefill_seconds = (double)done->prefill_ns * 1e-9;
    usage->decode_seconds = (double)done->decode_ns * 1e-9;
    ev->usage = usage;
    ev->has_text_hash = true;
    ev->text_hash = hash_of(g);
}

/* Ends a text for protobuf-c; the NUL is not part of it. NULL: nothing to send. */
static char *as_string(struct ttrpc_buf *buf)
{
    if (buf->n == 0 || ttrpc_buf_put(buf, "", 1) < 0)
        return NULL;
    return (char *)buf->data + buf->start;
}

static void fill_session(const struct turn *turn, Moed__V1__GenerateEvent *ev)
{
    ev->has_session_revision = true;
    ev->session_revision = turn_revision(turn);
    ev->session_unkept = (char *)turn_unkept(turn);
}

static void send_event(struct generation *g, bool last)
{
    Moed__V1__GenerateEvent ev = MOED__V1__GENERATE_EVENT__INIT;
    Moed__V1__Usage usage = MOED__V1__USAGE__INIT;
    Moed__V1__Receipt receipt;
    ev.has_seq = true;
    ev.seq = g->seq++;
    if (!g->is_started) {
        ev.has_generation_id = true;
        ev.generation_id = (ProtobufCBinaryData){sizeof g->id, g->id};
        ev.model = g->model;
        ev.prompt = g->prompt;
        ev.n_prompt = g->prompt ? (size_t)g->n_prompt : 0;
    }
    if (g->n_waiting > 0) {
        ev.has_first_index = true;
        ev.first_index = g->first_index;
    }
    ev.thinking = as_string(&g->thinking);
    ev.text = as_string(&g->text);
    if (last) {
        fill_totals(g, &ev, &usage);
        receipt_tell(&g->receipt, &receipt);
        ev.receipt = &receipt;
        if (g->turn)
            fill_session(g->turn, &ev);
    }
    call_event(g->call, &ev.base, &g->tokens);
    hub_count(g->hub, COUNTER_EVENTS);
    g->hub->counters[COUNTER_TOKENS] += (uint64_t)g->n_waiting;
    g->is_started = true;
    g->first_index += g->n_waiting;
    g->n_waiting = g->n_fields = 0;
    ttrpc_buf_fini(&g->thinking);
    ttrpc_buf_fini(&g->text);
    ttrpc_buf_fini(&g->tokens);
    free(g->prompt);
    g->prompt = NULL;
}

/* The stream is over: the last event, then success or failure. */
static void end_stream(struct generation *g)
{
    struct call *call = g->call;
    send_event(g, true);
    if (g->done.finish == ENGINE_ERROR)
        call_fail(call, TTRPC_INTERNAL, "%s", g->done.text);
    else if (g->done.finish == ENGINE_CANCELLED)
        call_fail(call, g->stop_code ? g->stop_code : TTRPC_CANCELLED, "%s",
                  g->stop_words ? g->stop_words : "cancelled");
    else
        call_finish(call);
}

static void fail(struct generation *g, int code, const char *words)
{
    call_fail(g->call, code, "%s", words); /* the end hook cancels */
}

/* ---- slow readers: park above the soft limits, go on below half of them, end after a while */
static void set_pace(struct generation *g)
{
    struct call *call = g->call;
    const struct service_config *config = &g->hub->config;
    uint64_t unsent = call_unwritten(call) + g->text.n + g->thinking.n + g->tokens.n;
    size_t all = call->conn->out.n;
    if (g->is_paused && unsent < config->stream_soft_bytes / 2 &&
        all < config->connection_soft_bytes / 2) {
        g->is_paused = false;
        call->due_ms = 0;
        engine_pause(g->engine, g->engine_call, false);
    } else if (!g->is_paused &&
               (unsent > config->stream_soft_bytes || all > config->connection_soft_bytes)) {
        g->is_paused = true;
        call->due_ms = uv_now(g->hub->loop) + (uint64_t)config->slow_reader_ms;
        engine_pause(g->engine, g->engine_call, true);
        hub_count(g->hub, COUNTER_PAUSED);
    }
}

static void on_due(struct call *call)
{
    struct generation *g = call->data;
    hub_count(g->hub, COUNTER_SLOW);
    hub_complain(g->hub, CAUSE_SLOW,
                 "uid %u does not read a generation: ended with %zu bytes unsent", g->uid,
                 call->conn->out.n + g->text.n + g->thinking.n + g->tokens.n);
    fail(g, TTRPC_RESOURCE_EXHAUSTED, "slow reader: the answer was not read for too long");
}

static void on_pump(struct call *call)
{
    struct generation *g = call->data;
    if (g->is_done) {
        if (!g->turn || turn_is_over(g->turn))
            end_stream(g); /* whoever hears of the end finds it in the session */
        return;
    }
    if (is_waiting(g) && call_unwritten(call) == 0)
        send_event(g, false);
    set_pace(g);
}

/* ---- hooks: what happens to the stream */
static void on_expired(struct call *call)
{
    generation_stop(call->data, TTRPC_DEADLINE_EXCEEDED, MOED__V1__FINISH__FINISH_CANCELLED,
                    "the deadline has passed");
}

static void on_drained(struct call *call)
{
    generation_stop(call->data, TTRPC_UNAVAILABLE, MOED__V1__FINISH__FINISH_DRAINING,
                    "draining: the daemon is going away");
}

static void on_end(struct call *call)
{
    struct generation *g = call->data;
    g->call = NULL;
    if (g->is_done) {
        generation_free(g);
        return;
    }
    if (g->stop_code == 0)
        hub_count(g->hub, COUNTER_CANCELLED);
    engine_cancel(g->engine, g->engine_call); /* it is freed when DONE has come */
}

static const struct call_hooks hooks = {
    .pump = on_pump,
    .due = on_due,
    .expired = on_expired,
    .drained = on_drained,
    .end = on_end,
};

void generation_stop(struct generation *g, int code, Moed__V1__Finish finish, const char *words)
{
    if (g->stop_code || g->is_done)
        return;
    g->stop_code = code;
    g->stop_finish = finish;
    g->stop_words = words;
    hub_count(g->hub, COUNTER_CANCELLED);
    engine_cancel(g->engine, g->engine_call);
}

void generation_stop_all(struct hub *hub, int entry, int code, const char *words)
{
    for (struct generation *g = generation_next(hub, NULL, 0); g; g = generation_next(hub, g, 0))
        if (g->entry == entry)
            generation_stop(g, code, MOED__V1__FINISH__FINISH_CANCELLED, words);
}

void generation_forget_all(struct hub *hub)
{
    for (struct generation *g = generation_next(hub, NULL, 0); g;) {
        struct generation *next = generation_next(hub, g, 0);
        generation_free(g);
        g = next;
    }
    memset(hub->by_call, 0, sizeof hub->by_call);
}

void generation_describe(const struct generation *g, Moed__V1__Generation *ret)
{
    moed__v1__generation__init(ret);
    ret->has_generation_id = true;
    ret->generation_id = (ProtobufCBinaryData){sizeof g->id, (uint8_t *)g->id};
    ret->model = g->model;
    ret->has_uid = true;
    ret->uid = g->uid;
    ret->has_prompt_tokens = ret->has_completion_tokens = ret->has_seconds = true;
    ret->prompt_tokens = g->n_prompt;
    ret->completion_tokens = g->n_tokens;
    ret->seconds = (double)(uv_now(g->hub->loop) - g->started_ms) * 1e-3;
}

/* ---- the engine's events */
static bool keep(struct generation *g, struct ttrpc_buf *buf, const void *bytes, size_t n)
{
    if (ttrpc_buf_put(buf, bytes, n) == 0)
        return true;
    if (g->call)
        generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR,
                        "no memory for the answer");
    return false;
}

static size_t put_varint(uint8_t *dst, size_t value)
{
    size_t n = 0;
    for (; value > 0x7f; value >>= 7)
        dst[n++] = (uint8_t)((value & 0x7f) | 0x80);
    dst[n++] = (uint8_t)value;
    return n;
}

/* Packs a message behind the others of the next event: tag, length, message. */
static bool put_packed(struct generation *g, unsigned field, const ProtobufCMessage *message)
{
    enum { WIRE_BYTES = 2 };
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t head[12];
    size_t n_head = put_varint(head, field << 3 | WIRE_BYTES);
    n_head += put_varint(head + n_head, n);
    uint8_t *at = ttrpc_buf_add(&g->tokens, n_head + n);
    if (!at) {
        if (g->call)
            generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR,
                            "no memory for the answer");
        return false;
    }
    memcpy(at, head, n_head);
    protobuf_c_message_pack(message, at + n_head);
    return true;
}

/* A piece of a tool call; the model's own name for it, where it gives one, else ours. */
static void put_call(struct generation *g, enum chat_part part, const char *text, size_t bytes)
{
    Moed__V1__CallDelta delta = MOED__V1__CALL_DELTA__INIT;
    OWN_MEM char *copy = strndup(text, bytes);
    char id[READING_CALL_ID];
    delta.has_index = true;
    delta.index = chat_reply_n_calls(g->reply) - 1;
    if (part == CHAT_PART_CALL) {
        reading_call_id(g->call_id, delta.index, id);
        const char *own = chat_reply_call_id(g->reply);
        delta.id = own ? (char *)own : id;
        delta.name = copy;
    } else if (part == CHAT_PART_ARGUMENTS) {
        delta.arguments = copy;
    }
    delta.has_done = delta.done = part == CHAT_PART_CALL_END;
    if (copy && put_packed(g, CALLS, &delta.base))
        g->n_fields += 6;
    else if (!copy && g->call)
        generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR,
                        "no memory for the answer");
}

static void on_reply(void *arg, enum chat_part part, const char *text, size_t bytes)
{
    struct generation *g = arg;
    if (part == CHAT_PART_THINKING) {
        if (keep(g, &g->thinking, text, bytes))
            XXH3_64bits_update(g->hash, text, bytes);
    } else if (part != CHAT_PART_TEXT) {
        put_call(g, part, text, bytes);
    } else if (keep(g, &g->text, text, bytes)) {
        keep(g, &g->said, text, bytes); /* hashed after all thinking */
    }
}

static void take_text(struct generation *g, int32_t id, const struct engine_event *ev)
{
    if (g->reply) {
        if (reading_push(g->reply, id, ev->text, ev->n_text, on_reply, g) < 0 && g->call)
            generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR,
                            "no memory for the answer");
        return;
    }
    char clean[3 * ENGINE_TEXT_BYTES + 1];
    size_t n = reading_clean(clean, ev->text, ev->n_text);
    if (n > 0 && keep(g, &g->text, clean, n))
        XXH3_64bits_update(g->hash, clean, n);
}

static ProtobufCBinaryData bytes_of(const struct generation *g, int32_t id)
{
    ProtobufCBinaryData ret;
    ret.data = (uint8_t *)vocab_bytes(g->vocab, id, &ret.len);
    return ret;
}

/* A token behind the others of its field. */
static bool put_token(struct generation *g, unsigned field, bool logprobs,
                      const struct engine_event *ev)
{
    Moed__V1__TopLogprob tops[ENGINE_MAX_TOP], *top[ENGINE_MAX_TOP];
    Moed__V1__Token token = MOED__V1__TOKEN__INIT;
    token.has_id = token.has_text = true;
    token.id = ev->id;
    token.text = bytes_of(g, ev->id);
    token.has_logprob = logprobs;
    token.logprob = ev->logprob;
    for (int i = 0; logprobs && i < ev->n_top; i++) {
        moed__v1__top_logprob__init(&tops[i]);
        tops[i].has_id = tops[i].has_logprob = tops[i].has_text = true;
        tops[i].id = ev->top[i].id;
        tops[i].logprob = ev->top[i].logprob;
        tops[i].text = bytes_of(g, ev->top[i].id);
        top[token.n_top++] = &tops[i];
    }
    token.top = top;
    g->n_fields += 4 + (int)token.n_top * 4;
    return put_packed(g, field, &token.base);
}

/* Sends what waits if the event would become too large with a token more. */
static void make_room(struct generation *g, const struct engine_event *ev)
{
    if (g->n_fields + 4 + ev->n_top * 4 > EVENT_FIELDS ||
        g->text.n + g->thinking.n + g->tokens.n > EVENT_BYTES)
        send_event(g, false);
}

static void take_known(struct generation *g, const struct engine_event *ev)
{
    if (receipt_know(&g->receipt, ev) < 0 && g->call)
        generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR,
                        "no memory for the answer");
}

static void take_prompt(struct generation *g, const struct engine_event *ev)
{
    if (!g->call)
        return;
    make_room(g, ev);
    put_token(g, PROMPT_TOKENS, true, ev);
    conn_touch(g->call->conn);
}

static void take_token(struct generation *g, const struct engine_event *ev)
{
    g->n_tokens++;
    if (g->turn)
        turn_token(g->turn, ev->id);
    if (!g->call)
        return;
    make_room(g, ev);
    if (put_token(g, TOKENS, g->logprobs, ev))
        g->n_waiting++;
    take_text(g, ev->id, ev);
    conn_touch(g->call->conn);
}

static void on_turned(void *arg)
{
    struct generation *g = arg;
    if (g->call)
        conn_touch(g->call->conn);
}

/* What was written becomes a part of its session, whether anybody reads it or not. */
static void end_turn(struct generation *g)
{
    if (g->done.finish == ENGINE_ERROR)
        turn_leave(TAKE(g->turn));
    else
        turn_end(g->turn, finish_of(g),
                 g->done.finish == ENGINE_STOP && g->done.stop_index >= 0 &&
                         g->done.stop_index < g->n_stops
                     ? g->stops[g->done.stop_index]
                     : NULL,
                 on_turned, g);
}

static void take_done(struct generation *g, const struct engine_event *ev)
{
    leave(g);
    g->is_done = true;
    g->done = *ev;
    g->done.text[sizeof g->done.text - 1] = '\0';
    if (ev->finish == ENGINE_ERROR)
        hub_complain(g->hub, CAUSE_ENGINE, "a generation of model '%s' failed: %s", g->model,
                     g->done.text);
    if (g->call && g->reply)
        chat_reply_finish(g->reply, on_reply, g);
    if (g->turn)
        end_turn(g);
    if (!g->call) {
        generation_free(g);
        return;
    }
    conn_touch(g->call->conn);
}

void generation_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev)
{
    struct generation *g = *bucket(hub, ev->call);
    while (g && (g->engine_call != ev->call || g->engine != engine))
        g = g->next;
    if (!g)
        return;
    if (ev->kind == ENGINE_DONE)
        take_done(g, ev);
    else if (ev->kind == ENGINE_TOKEN)
        take_token(g, ev);
    else if (ev->kind == ENGINE_KNOWN)
        take_known(g, ev);
    else if (ev->kind == ENGINE_PROMPT)
        take_prompt(g, ev);
    else if (g->call) {
        take_text(g, -1, ev);
        conn_touch(g->call->conn);
    }
}

/* ---- birth */
static void told_before(void *arg, enum chat_part part, const char *text, size_t bytes)
{
    (void)arg, (void)part, (void)text, (void)bytes;
}

/* An answer that goes on is parsed from its beginning. */
static int open_reply(struct generation *g, const struct ask *ask)
{
    int r = chat_reply_new(ask->chat, g->vocab, &ask->options, &g->reply);
    return r < 0 ? r
                 : reading_feed(g->vocab, g->reply, ask->open.id, ask->open.n, told_before, NULL);
}

static int copy_request(struct generation *g, const struct ask *ask)
{
    const struct engine_request *request = ask->request;
    g->logprobs = ask->logprobs;
    g->n_prompt = request->n_prompt;
    if (ask->return_prompt) {
        g->prompt = malloc((size_t)g->n_prompt * sizeof *g->prompt);
        if (!g->prompt)
            return -ENOMEM;
        memcpy(g->prompt, request->prompt, (size_t)g->n_prompt * sizeof *g->prompt);
    }
    if (request->n_stops == 0)
        return 0;
    g->stops = calloc((size_t)request->n_stops, sizeof *g->stops);
    for (int i = 0; g->stops && i < request->n_stops; i++, g->n_stops++) {
        g->stops[i] = strdup(request->stops[i]);
        if (!g->stops[i])
            return -ENOMEM;
    }
    return g->stops ? 0 : -ENOMEM;
}

static int generation_new(struct call *call, int entry, const char *model, const struct ask *ask,
                          struct generation **ret)
{
    OWN(generation) *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    struct models_entry *e = models_at(call->hub->models, entry);
    g->hub = call->hub;
    g->entry = entry;
    g->engine = e->engine;
    g->vocab = model_vocab(e->model);
    g->uid = call->conn->uid;
    g->started_ms = call->received_ms;
    hub_random(g->id, sizeof g->id);
    g->model = strdup(model);
    g->hash = XXH3_createState();
    if (!g->model || !g->hash || copy_request(g, ask) < 0 ||
        receipt_init(&g->receipt, e, ask->request) < 0)
        return -ENOMEM;
    XXH3_64bits_reset(g->hash);
    hub_random(&g->call_id, sizeof g->call_id);
    int r = ask->chat ? open_reply(g, ask) : 0;
    if (r == 0)
        *ret = TAKE(g);
    return r;
}

int generation_start(struct call *call, int entry, const char *model, struct ask *taken,
                     struct turn *turn)
{
    OWN(ask) *ask = taken;
    OWN(generation) *g = NULL;
    int r = generation_new(call, entry, model, ask, &g);
    if (r < 0) {
        turn_leave(turn);
        call_fail(call, status_of(r), "no memory for another generation");
        return r;
    }
    struct err err = {0};
    g->turn = turn;
    if (ask->receipt)
        r = receipt_meets(&g->receipt, ask->receipt, &err);
    if (r == 0 && turn)
        r = turn_take(turn, entry, model, g->vocab, ask, &err);
    if (r < 0) {
        call_fail(call, status_of(r), "%s", err.text);
        return r;
    }
    if (turn)
        g->call_id = turn_call_id(turn);
    ask->request->uid = g->uid;
    r = engine_submit(g->engine, ask->request, &g->engine_call, &err);
    if (r < 0) {
        call_fail(call, status_of(r), "%s", err.text);
        return r;
    }
    ask->request = NULL; /* the engine's now */
    enter(g);
    g->call = call;
    call->data = TAKE(g);
    call->hooks = &hooks;
    conn_touch(call->conn);
    return 0;
}
