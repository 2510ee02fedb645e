/* SPDX-License-Identifier: MIT */
#include "service/embedding.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/models.h"
#include "moed/v1/embed.pb-c.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/status.h"

struct embedding {
    struct embedding *next; /* hub->embeddings; until DONE */
    struct hub *hub;
    struct call *call; /* NULL: nobody waits any more */
    struct engine *engine;
    uint64_t engine_call;
    int entry;
    bool normalize;
    float *values;
    size_t n, room;
};

static void embedding_free(struct embedding *e)
{
    if (!e)
        return;
    free(e->values);
    free(e);
}
OWN_DEFINE(embedding, embedding_free);

static void leave(struct embedding *e)
{
    struct embedding **at = &e->hub->embeddings;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    e->hub->n_running--;
    hub_release_worked(e->hub, e->entry);
}

/* The call is gone. */
static void on_end(struct call *call)
{
    struct embedding *e = call->data;
    if (!e)
        return; /* it has its answer */
    e->call = NULL;
    engine_cancel(e->engine, e->engine_call);
}

static const struct call_hooks hooks = {.end = on_end};

void embedding_start(struct call *call, int entry, struct engine_request *taken, bool normalize)
{
    OWN(engine_request) *request = taken;
    OWN(embedding) *e = calloc(1, sizeof *e);
    struct err err = {0};
    if (!e) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for an embedding");
        return;
    }
    e->hub = call->hub;
    e->entry = entry;
    e->engine = models_at(call->hub->models, entry)->engine;
    e->normalize = normalize;
    request->uid = call->conn->uid;
    request->class = call->conn->verdict.best;
    request->kept_bytes = call->conn->verdict.kept_bytes;
    request->disk_bytes = call->conn->verdict.disk_bytes;
    request->is_embedding = true;
    request->max_tokens = 1; /* no pages are promised for more */
    int r = engine_submit(e->engine, request, &e->engine_call, &err);
    if (r == -EBUSY) {
        call_refuse(call, engine_retry_ns(e->engine), "%s", err.text);
        return;
    }
    if (r < 0) {
        call_fail(call, status_of(r), "%s", err.text);
        return;
    }
    (void)TAKE(request);
    e->next = e->hub->embeddings;
    e->hub->embeddings = e;
    e->hub->n_running++;
    hub_hold(e->hub, entry);
    e->call = call;
    call->hooks = &hooks;
    call->data = TAKE(e);
}

/* ---- the engine's events */
static void take_values(struct embedding *e, const struct engine_event *ev)
{
    size_t n = (size_t)ev->n_values;
    if (e->n + n > e->room) {
        size_t room = 2 * (e->n + n);
        float *more = reallocarray(e->values, room, sizeof *more);
        if (!more) {
            if (e->call)
                call_fail(e->call, TTRPC_RESOURCE_EXHAUSTED, "no memory for an embedding");
            return;
        }
        e->values = more;
        e->room = room;
    }
    for (size_t i = 0; i < n; i++)
        e->values[e->n++] = ev->value[i];
}

static void normalize(float *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)values[i] * values[i];
    for (size_t i = 0; i < n && sum > 0; i++)
        values[i] = (float)(values[i] / sqrt(sum));
}

static void reply(struct embedding *e, const struct engine_event *done)
{
    Moed__V1__EmbedResponse response = MOED__V1__EMBED_RESPONSE__INIT;
    if (e->normalize)
        normalize(e->values, e->n);
    response.values = e->values;
    response.n_values = e->n;
    response.has_prompt_tokens = true;
    response.prompt_tokens = done->n_prompt;
    e->call->data = NULL;
    call_reply(e->call, &response.base);
}

static void take_done(struct embedding *e, const struct engine_event *done)
{
    leave(e);
    if (e->call && done->finish == ENGINE_STOP) {
        reply(e, done);
    } else if (e->call) {
        e->call->data = NULL;
        call_fail(e->call, done->finish == ENGINE_ERROR ? TTRPC_INTERNAL : TTRPC_UNAVAILABLE, "%s",
                  done->n_text ? done->text : "it was cancelled");
    }
    embedding_free(e);
}

void embedding_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev)
{
    struct embedding *e = hub->embeddings;
    while (e && (e->engine_call != ev->call || e->engine != engine))
        e = e->next;
    if (e && ev->kind == ENGINE_VALUES)
        take_values(e, ev);
    else if (e && ev->kind == ENGINE_DONE)
        take_done(e, ev);
}

void embedding_stop_all(struct hub *hub, int entry, int code, const char *words)
{
    for (struct embedding *e = hub->embeddings; e; e = e->next)
        if (e->entry == entry && e->call)
            call_fail(e->call, code, "%s", words); /* the end hook cancels */
}

void embedding_forget_all(struct hub *hub)
{
    while (hub->embeddings) {
        struct embedding *e = hub->embeddings;
        hub->embeddings = e->next;
        embedding_free(e);
    }
}
