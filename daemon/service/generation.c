/* SPDX-License-Identifier: MIT
 *
 * From a request to the events of an engine, and from those to what is told. Loop thread.
 */
#include "service/generation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"
#include "engine/models.h"
#include "model/model.h"
#include "service/ask.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/generation_parts.h"
#include "service/hub.h"
#include "service/session.h"
#include "service/status.h"
#include "service/telling.h"
#include "service/turn.h"

static const struct call_hooks hooks;
static const char no_memory[] = "no memory for the answer";

static void generation_free(struct generation *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_answers; i++)
        voice_fini(&g->voice[i]);
    turn_leave(g->turn);
    free(g->model);
    for (int i = 0; i < g->n_stops; i++)
        free(g->stops[i]);
    free(g->stops);
    free(g->prompt);
    free(g);
}
OWN_DEFINE(generation, generation_free);

static bool is_over(const struct generation *g)
{
    return g->n_over == g->n_answers;
}

/* Nothing is told until all are over. */
static bool is_choosing(const struct generation *g)
{
    return g->n_asked < g->n_answers;
}

/* ---- the tables of running ones */
static void enter(struct generation *g)
{
    g->next = g->hub->generations;
    g->hub->generations = g;
    g->hub->n_running++;
    hub_hold(g->hub, g->entry);
    hub_count(g->hub, COUNTER_GENERATIONS);
}

static void leave(struct generation *g)
{
    struct generation **at = &g->hub->generations;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    g->hub->n_running--;
    hub_release_worked(g->hub, g->entry);
}

static struct voice **bucket(struct hub *hub, uint64_t engine_call)
{
    return &hub->by_call[engine_call % HUB_CALL_BUCKETS];
}

static struct voice *find_voice(struct hub *hub, const struct engine *engine, uint64_t call)
{
    struct voice *a = *bucket(hub, call);
    while (a && (a->engine_call != call || a->generation->engine != engine))
        a = a->next;
    return a;
}

static void forget_voice(struct hub *hub, struct voice *a)
{
    struct voice **at = bucket(hub, a->engine_call);
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
}

struct generation *generation_next(struct hub *hub, struct generation *after, uint32_t uid)
{
    struct generation *g = after ? after->next : hub->generations;
    while (g && uid != 0 && g->uid != uid)
        g = g->next;
    return g;
}

struct generation *generation_find(struct hub *hub, const uint8_t *id, uint32_t uid)
{
    for (struct generation *g = generation_next(hub, NULL, uid); g;
         g = generation_next(hub, g, uid))
        if (memcmp(g->id, id, sizeof g->id) == 0)
            return g;
    return NULL;
}

/* ---- handing answers to the engine */
static int submit(struct generation *g, struct voice *a, struct err *err)
{
    int r = engine_submit(g->engine, a->request, &a->engine_call, err);
    if (r < 0)
        return r;
    a->request = NULL; /* the engine's now */
    struct voice **at = bucket(g->hub, a->engine_call);
    a->next = *at;
    *at = a;
    g->n_submitted++;
    if (g->is_paused)
        engine_pause(g->engine, a->engine_call, true);
    return 0;
}

/* Those that the engine has no place for wait until it tells of another: at the latest when that is
 * over there is one. */
static void submit_rest(struct generation *g)
{
    struct err err;
    while (g->n_submitted < g->n_answers && !g->stop_code && g->call) {
        int r = submit(g, &g->voice[g->n_submitted], &err);
        if (r == -EBUSY && g->n_over < g->n_submitted)
            return;
        if (r < 0) {
            generation_stop(g, status_of(r), MOED__V1__FINISH__FINISH_ERROR,
                            "the engine takes no more answers");
            return;
        }
    }
}

/* What the engine never had is over without it. */
static void drop_rest(struct generation *g)
{
    for (int i = g->n_submitted; i < g->n_answers; i++) {
        g->voice[i].is_done = !is_choosing(g);
        g->voice[i].done = (struct engine_event){.finish = ENGINE_CANCELLED};
    }
    g->n_over += g->n_answers - g->n_submitted;
    g->n_submitted = g->n_answers;
}

static void fail(struct generation *g, int code, const char *words)
{
    call_fail(g->call, code, "%s", words); /* the end hook cancels */
}

/* ---- slow readers: park above the soft limits, go on below half of them, end after a while */
static size_t unsent(const struct generation *g)
{
    size_t n = 0;
    for (int i = 0; i < g->n_answers; i++)
        n += voice_unsent(&g->voice[i]);
    return n;
}

static void pause_all(struct generation *g, bool paused)
{
    g->is_paused = paused;
    for (int i = 0; i < g->n_submitted; i++)
        engine_pause(g->engine, g->voice[i].engine_call, paused);
}

static void set_pace(struct generation *g)
{
    struct call *call = g->call;
    const struct service_config *config = &g->hub->config;
    uint64_t mine = call_unwritten(call) + unsent(g);
    size_t all = call->conn->out.n;
    if (g->is_paused && mine < config->stream_soft_bytes / 2 &&
        all < config->connection_soft_bytes / 2) {
        call->due_ms = 0;
        pause_all(g, false);
    } else if (!g->is_paused &&
               (mine > config->stream_soft_bytes || all > config->connection_soft_bytes)) {
        call->due_ms = uv_now(g->hub->loop) + (uint64_t)config->slow_reader_ms;
        pause_all(g, true);
        hub_count(g->hub, COUNTER_PAUSED);
    }
}

static void on_due(struct call *call)
{
    struct generation *g = call->data;
    hub_count(g->hub, COUNTER_SLOW);
    hub_complain(g->hub, CAUSE_SLOW,
                 LOG_ABOUT(.seq = g->voice[0].engine_call, .peer = &g->uid, .model = g->model),
                 "uid %u does not read a generation: ended with %zu bytes unsent", g->uid,
                 call->conn->out.n + unsent(g));
    fail(g, TTRPC_RESOURCE_EXHAUSTED, "slow reader: the answer was not read for too long");
}

/* One event of each answer that has news, but its end at once. */
static void on_pump(struct call *call)
{
    struct generation *g = call->data;
    bool may_write = call_unwritten(call) == 0;
    for (int i = 0; i < g->n_answers; i++) {
        struct voice *a = &g->voice[i];
        if (may_write && is_choosing(g) && is_over(g) && !a->is_told && voice_feed(a) < 0) {
            fail(g, TTRPC_RESOURCE_EXHAUSTED, no_memory);
            return;
        }
        if (a->is_done && !a->is_told && (!g->turn || turn_is_over(g->turn)))
            telling_event(g, a, true); /* whoever hears of the end finds it in the session */
        else if (may_write && (voice_is_waiting(a) || g->is_reading || !g->is_started))
            telling_event(g, a, false);
    }
    if (g->n_told == g->n_asked)
        telling_end(g);
    else
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

static void cancel_all(struct generation *g)
{
    for (int i = 0; i < g->n_submitted; i++)
        engine_cancel(g->engine, g->voice[i].engine_call);
    drop_rest(g);
}

static void on_end(struct call *call)
{
    struct generation *g = call->data;
    g->call = NULL;
    if (is_over(g)) {
        generation_free(g);
        return;
    }
    if (g->stop_code == 0)
        hub_count(g->hub, COUNTER_CANCELLED);
    cancel_all(g); /* it is freed when all DONEs have come */
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
    if (g->stop_code || is_over(g))
        return;
    g->stop_code = code;
    g->stop_finish = finish;
    g->stop_words = words;
    hub_count(g->hub, COUNTER_CANCELLED);
    cancel_all(g);
}

void generation_stop_all(struct hub *hub, int entry, int code, const char *words)
{
    for (struct generation *g = generation_next(hub, NULL, 0); g; g = generation_next(hub, g, 0))
        if (g->entry == entry)
            generation_stop(g, code, MOED__V1__FINISH__FINISH_CANCELLED, words);
}

void generation_forget_all(struct hub *hub)
{
    while (hub->generations) {
        struct generation *next = hub->generations->next;
        generation_free(hub->generations);
        hub->generations = next;
    }
    memset(hub->by_call, 0, sizeof hub->by_call);
}

static double rate(int n, uint64_t ns)
{
    return n > 0 && ns > 0 ? n / ((double)ns * 1e-9) : 0;
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
    ret->has_class_ = true;
    ret->class_ = (Moed__V1__Class)g->class;
    struct engine_look look;
    if (!engine_look(g->engine, g->voice[0].engine_call, &look))
        return;
    ret->has_cached_tokens = ret->has_queue_position = ret->has_queue_seconds = true;
    ret->cached_tokens = look.n_cached > 0 ? look.n_cached : 0;
    ret->queue_position = look.position;
    ret->queue_seconds = (double)look.queue_ns * 1e-9;
    ret->has_prefill_rate = ret->has_decode_rate = true;
    ret->prefill_rate = rate(look.n_read, look.prefill_ns);
    ret->decode_rate = rate(g->n_tokens - 1, look.decode_ns); /* the first came of the prompt */
}

/* ---- choosing the best */
static struct voice *best_left(struct generation *g)
{
    struct voice *best = NULL;
    for (int i = 0; i < g->n_answers; i++) {
        struct voice *a = &g->voice[i];
        if (a->index < 0 && (!best || voice_score(a) > voice_score(best)))
            best = a;
    }
    return best;
}

static void choose(struct generation *g)
{
    for (int rank = 0; rank < g->n_asked; rank++)
        best_left(g)->index = rank;
    for (int i = 0; i < g->n_answers; i++)
        g->voice[i].is_told = g->voice[i].index < 0;
}

/* ---- the engine's events */
/* What is kept until the best are known is the client's to answer for, as requests are. */
static void charge(struct generation *g)
{
    uint64_t bytes = 0;
    for (int i = 0; i < g->n_answers; i++)
        bytes += g->voice[i].held.n;
    if (bytes > g->hub->config.request_bytes)
        generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR,
                        "the answers to choose from have become too large");
    else
        call_charge(g->call, bytes);
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
    const struct voice *a = &g->voice[0];
    if (a->done.finish == ENGINE_ERROR || a->done.finish == ENGINE_REFUSED)
        turn_leave(TAKE(g->turn));
    else
        turn_end(g->turn, telling_finish(g, a), telling_stop(g, a), on_turned, g);
}

static void note_done(struct generation *g, struct voice *a, const struct engine_event *ev)
{
    forget_voice(g->hub, a);
    g->n_over++;
    a->done = *ev;
    a->done.text[sizeof a->done.text - 1] = '\0';
    if (ev->finish == ENGINE_ERROR)
        hub_complain(g->hub, CAUSE_ENGINE,
                     LOG_ABOUT(.seq = ev->call, .peer = &g->uid, .model = g->model),
                     "a generation of model '%s' failed: %s", g->model, a->done.text);
}

/* When the last of its answers is over. */
static void settle(struct generation *g)
{
    leave(g);
    if (is_choosing(g))
        choose(g);
    if (g->turn)
        end_turn(g);
    if (!g->call)
        generation_free(g);
}

/* How far the prompt is, which the first answer reads. */
static void note_reading(struct generation *g, const struct voice *a, const struct engine_event *ev)
{
    g->is_reading = a == &g->voice[0];
    g->n_read = ev->n_cached;
    g->left_ns = ev->left_ns;
    if (g->call)
        conn_touch(g->call->conn);
}

static int take(struct generation *g, struct voice *a, const struct engine_event *ev)
{
    bool is_known = ev->kind == ENGINE_KNOWN || ev->kind == ENGINE_PROMPT;
    if (ev->kind == ENGINE_ESTIMATE && a != &g->voice[0])
        return 0; /* the first one's is of all */
    if (is_choosing(g) && !is_known && ev->kind != ENGINE_ESTIMATE)
        return ev->kind == ENGINE_DONE ? 0 : voice_hold(a, ev);
    if (!voice_has_room(a, ev))
        telling_event(g, a, false);
    return ev->kind == ENGINE_DONE ? voice_end(a) : voice_take(a, ev);
}

bool generation_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev)
{
    struct voice *a = find_voice(hub, engine, ev->call);
    if (!a)
        return false;
    struct generation *g = a->generation;
    bool is_token = ev->kind == ENGINE_TOKEN, is_done = ev->kind == ENGINE_DONE;
    if (ev->kind == ENGINE_READING) {
        note_reading(g, a, ev);
        return true;
    }
    g->is_reading = g->is_reading && !is_token && !is_done;
    g->n_tokens += is_token;
    if (is_token && g->turn)
        turn_token(g->turn, ev->id);
    if (is_done)
        note_done(g, a, ev);
    if (g->call && take(g, a, ev) < 0)
        generation_stop(g, TTRPC_RESOURCE_EXHAUSTED, MOED__V1__FINISH__FINISH_ERROR, no_memory);
    if (g->call && is_choosing(g))
        charge(g);
    if (is_token || is_done)
        submit_rest(g); /* the prompt has been read, or there is a place */
    if (g->call)
        conn_touch(g->call->conn);
    if (is_done && is_over(g))
        settle(g);
    return true;
}

/* ---- birth */
static int copy_request(struct generation *g, const struct ask *ask)
{
    const struct engine_request *request = ask->request;
    g->n_prompt = request->n_prompt;
    g->class = request->class;
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

static int generation_new(struct call *call, int entry, const char *model, struct ask *ask,
                          struct generation **ret)
{
    size_t n = 1 + (size_t)ask->n_more;
    OWN(generation) *g = calloc(1, sizeof *g + n * sizeof *g->voice);
    if (!g)
        return -ENOMEM;
    struct models_entry *e = models_at(call->hub->models, entry);
    g->hub = call->hub;
    g->entry = entry;
    g->engine = e->engine;
    g->uid = call->conn->uid;
    g->started_ms = call->received_ms;
    hub_random(g->id, sizeof g->id);
    g->n_asked = ask->n_told;
    uint64_t within_ms = (uint64_t)ask->finish_within_ms;
    uint64_t finish_by_ns = within_ms > 0 ? (call->received_ms + within_ms) * 1000000 : 0;
    g->model = strdup(model);
    if (!g->model || copy_request(g, ask) < 0)
        return -ENOMEM;
    if (g->class < call->conn->verdict.best)
        g->class = call->conn->verdict.best;
    for (; (size_t)g->n_answers < n; g->n_answers++) {
        int i = g->n_answers;
        int r = voice_init(&g->voice[i], g, e, ask, i == 0 ? &ask->request : &ask->more[i - 1]);
        if (r < 0) {
            voice_fini(&g->voice[i]);
            return r;
        }
        g->voice[i].request->uid = g->uid;
        g->voice[i].request->class = g->class;
        g->voice[i].request->kept_bytes = call->conn->verdict.kept_bytes;
        g->voice[i].request->disk_bytes = call->conn->verdict.disk_bytes;
        g->voice[i].request->finish_by_ns = finish_by_ns;
        g->voice[i].index = g->n_asked < (int)n ? -1 : i; /* none is told yet, or all are */
    }
    *ret = TAKE(g);
    return 0;
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
        r = receipt_meets(&g->voice[0].receipt, ask->receipt, &err);
    if (r == 0 && turn)
        r = turn_take(turn, entry, model, g->voice[0].vocab, ask, &err);
    if (turn && r == 0) {
        const struct record *record = &turn_session(turn)->record;
        g->voice[0].call_id = turn_call_id(turn);
        g->voice[0].request->talk = record->id;
        g->voice[0].request->is_pinned = record->is_pinned;
    }
    bool is_ready = r == 0;
    if (r == 0)
        r = submit(g, &g->voice[0], &err);
    if (r == -EBUSY && is_ready) {
        call_refuse(call, engine_retry_ns(g->engine), "%s", err.text);
        return r;
    }
    if (r < 0) {
        call_fail(call, status_of(r), "%s", err.text);
        return r;
    }
    enter(g);
    g->call = call;
    call->data = TAKE(g);
    call->hooks = &hooks;
    conn_touch(call->conn);
    return 0;
}
