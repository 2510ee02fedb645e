/* SPDX-License-Identifier: MIT
 *
 * Generate and Cancel. Loop thread.
 *
 * A Generate gathers its parts, has a helper understand them, waits while the model loads, and
 * becomes a generation. Until then its data is an opening.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/models.h"
#include "moed/v1/generate.pb-c.h"
#include "service/ask.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/field.h"
#include "service/generation.h"
#include "service/hub.h"
#include "service/job.h"
#include "service/method.h"
#include "service/pressure.h"
#include "service/seek.h"
#include "service/session.h"
#include "service/status.h"
#include "service/turn.h"
#include "ttrpc.h"

enum {
    MAX_PARTS = 4096,
    IN_SESSION = 19, /* the field of GenerateRequest */
};

struct parts { /* the bytes of a request's messages; each is owned */
    struct payload *at;
    int n, room;
    uint64_t bytes;
};

struct asking { /* a job that understands parts */
    struct job job;
    struct parts parts;
    struct turn *turn; /* NULL: in no session */
    struct ask *ask;
};

struct opening {
    struct parts parts;
    struct asking *asking; /* running */
    struct ask *ask;       /* understood, waiting for the model */
    struct turn *turn;     /* the asking has it meanwhile */
    int entry;
    bool is_waiting; /* for the sessions on the disk */
};

static const struct call_hooks hooks;

static void parts_fini(struct parts *parts)
{
    for (int i = 0; i < parts->n; i++)
        payload_fini(&parts->at[i]);
    free(parts->at);
    *parts = (struct parts){0};
}

/* Takes the payload's bytes. */
static int parts_add(struct parts *parts, struct payload *payload)
{
    if (parts->n == parts->room) {
        int room = parts->room ? 2 * parts->room : 4;
        struct payload *at = reallocarray(parts->at, (size_t)room, sizeof *at);
        if (!at)
            return -ENOMEM;
        parts->at = at;
        parts->room = room;
    }
    parts->at[parts->n++] = *payload;
    parts->bytes += payload->n + sizeof *payload;
    *payload = (struct payload){0};
    return 0;
}

/* ---- running */
/* Becomes a generation, goes on waiting, or fails. */
static void go_on(struct call *call)
{
    struct opening *opening = call->data;
    struct hub *hub = call->hub;
    struct models_entry *entry = models_at(hub->models, opening->entry);
    if (hub_is_unloading(hub, opening->entry)) {
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' is being unloaded", entry->name);
        return;
    }
    switch (entry->state) {
    case MODELS_LOADING:
        return;
    case MODELS_READY: {
        struct ask *ask = opening->ask;
        if (!ask)
            return; /* not understood yet */
        struct turn *turn = opening->turn;
        int index = opening->entry;
        free(opening);
        call->data = NULL;
        call->hooks = &hooks;
        call_charge(call, 0);
        generation_start(call, index, entry->name, ask, turn);
        return;
    }
    case MODELS_UNLOADED:
    case MODELS_UNLOADING:
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' is not loaded: load it first",
                  entry->name);
        return;
    case MODELS_TEXT:
        call_fail(call, TTRPC_FAILED_PRECONDITION,
                  "model '%s' is a vocabulary without weights: it cannot generate", entry->name);
        return;
    case MODELS_FAILED:
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' could not be loaded: %s",
                  entry->name, entry->error.text);
        return;
    }
}

/* ---- understanding */
static int run_asking(struct job *job)
{
    struct asking *asking = (struct asking *)job;
    struct parts *parts = &asking->parts;
    int n_held = asking->turn ? turn_n_parts(asking->turn) : 0;
    OWN_MEM struct ask_part *list = calloc((size_t)(n_held + parts->n) + 1, sizeof *list);
    if (!list)
        return err_set(&job->err, -ENOMEM, "no memory for the request");
    if (asking->turn)
        turn_parts(asking->turn, list);
    for (int i = 0; i < parts->n; i++)
        list[n_held + i] = (struct ask_part){.data = parts->at[i].data, .n = parts->at[i].n};
    return ask_new(job->model, list, n_held + parts->n, &asking->ask, &job->err);
}

static void on_asked(struct job *job)
{
    struct asking *asking = (struct asking *)job;
    struct call *call = job->call;
    struct opening *opening = call->data;
    opening->asking = NULL;
    if (job->code < 0) {
        call_fail(call, status_of(job->code), "%s", job->err.text);
        return;
    }
    opening->ask = TAKE(asking->ask);
    opening->turn = TAKE(asking->turn);
    if (opening->ask->timeout_ms > 0) {
        uint64_t deadline = call->received_ms + (uint64_t)opening->ask->timeout_ms;
        if (call->deadline_ms == 0 || deadline < call->deadline_ms)
            call->deadline_ms = deadline;
        conn_touch(call->conn);
    }
    go_on(call);
}

static void free_asking(struct job *job)
{
    struct asking *asking = (struct asking *)job;
    parts_fini(&asking->parts);
    ask_free(asking->ask);
    turn_leave(asking->turn);
}

/* The name that the parts give the model, the last one wins; "" is the first model. */
static bool peek_model(struct call *call, const struct parts *parts, char *dst, size_t size)
{
    dst[0] = '\0';
    for (int i = 0; i < parts->n; i++) {
        const char *name;
        size_t n;
        if (!ttrpc_peek(parts->at[i].data, parts->at[i].n, 1, &name, &n)) {
            call_fail(call, TTRPC_INVALID_ARGUMENT, "part %d is not a GenerateRequest", i);
            return false;
        }
        if (!name)
            continue;
        if (n >= size || !ttrpc_is_utf8(name, n) || memchr(name, 0, n)) {
            call_fail(call, TTRPC_INVALID_ARGUMENT,
                      "generate.model is not the UTF-8 name of a model (%zu bytes)", n);
            return false;
        }
        memcpy(dst, name, n);
        dst[n] = '\0';
    }
    return true;
}

static void understand(struct call *call, struct models_entry *entry)
{
    struct opening *opening = call->data;
    struct hub *hub = call->hub;
    opening->entry = hub_index(hub, entry);
    if (hub_is_unloading(hub, opening->entry) ||
        (entry->state != MODELS_READY && entry->state != MODELS_LOADING)) {
        go_on(call); /* which says what is wrong */
        return;
    }
    struct asking *asking = calloc(1, sizeof *asking);
    if (!asking) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    asking->parts = opening->parts;
    opening->parts = (struct parts){0};
    asking->turn = TAKE(opening->turn);
    asking->job.run = run_asking;
    asking->job.done = on_asked;
    asking->job.free = free_asking;
    int r = job_start(&asking->job, call, opening->entry, entry->model);
    if (r < 0) {
        call_fail(call, status_of(r), "cannot start work on the request: %s", strerror(-r));
        return;
    }
    opening->asking = asking;
}

/* The bytes that say which session it is in, of the last part that has some; NULL: none. */
static const uint8_t *peek_session(const struct parts *parts, size_t *n_ret)
{
    const char *in = NULL, *bytes;
    size_t n;
    for (int i = 0; i < parts->n; i++)
        if (ttrpc_peek(parts->at[i].data, parts->at[i].n, IN_SESSION, &bytes, &n) && bytes) {
            in = bytes;
            *n_ret = n;
        }
    return (const uint8_t *)in;
}

/* False: the call has failed. */
static bool open_turn(struct call *call, const uint8_t *in, size_t n, char *model, size_t size)
{
    struct opening *opening = call->data;
    char words[TTRPC_WORDS];
    Moed__V1__InSession *which =
        (Moed__V1__InSession *)ttrpc_unpack(&moed__v1__in_session__descriptor, in, n, words);
    if (!which) {
        call_fail(call, TTRPC_INVALID_ARGUMENT, "%s", words);
        return false;
    }
    struct err err = {0};
    int r = turn_open(call->hub, call->conn->uid, which, &opening->turn, &err);
    moed__v1__in_session__free_unpacked(which, NULL);
    if (r == 0)
        r = turn_model(opening->turn, model, size, &err);
    if (r < 0)
        call_fail(call, status_of(r), "%s", err.text);
    return r == 0;
}

static void on_closed(struct call *call)
{
    struct opening *opening = call->data;
    char model[256];
    if (!peek_model(call, &opening->parts, model, sizeof model))
        return;
    size_t n;
    const uint8_t *in = peek_session(&opening->parts, &n);
    opening->is_waiting = in && !sessions_are_read(call->hub->sessions);
    if (!opening->is_waiting && (!in || open_turn(call, in, n, model, sizeof model)))
        seek(call, model, SEEK_WAKE, understand);
}

/* ---- hooks of an opening */
static void on_part(struct call *call, struct payload *part)
{
    struct opening *opening = call->data;
    if (opening->parts.n == MAX_PARTS) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "the request has more than %d parts", MAX_PARTS);
        return;
    }
    if (parts_add(&opening->parts, part) < 0)
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
    else
        call_charge(call, opening->parts.bytes);
}

static void on_changed(struct call *call)
{
    struct opening *opening = call->data;
    if (opening->is_waiting)
        on_closed(call);
    else if (opening->ask)
        go_on(call);
}

static void on_end(struct call *call)
{
    struct opening *opening = call->data;
    if (!opening)
        return;
    if (opening->asking)
        job_drop(&opening->asking->job);
    ask_free(opening->ask);
    turn_leave(opening->turn);
    parts_fini(&opening->parts);
    free(opening);
}

static const struct call_hooks hooks = {
    .part = on_part,
    .closed = on_closed,
    .changed = on_changed,
    .end = on_end,
};

/* Opened for parts, an empty payload is no part; opened for nothing more, it is the whole request.
 */
void method_generate(struct call *call, struct payload *payload)
{
    if (pressure_refuses(call->hub->pressure, call))
        return;
    struct opening *opening = calloc(1, sizeof *opening);
    if (!opening) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    call->data = opening;
    call->hooks = &hooks;
    if (payload->n > 0) {
        uint64_t bytes = payload->n + sizeof *payload;
        if (parts_add(&opening->parts, payload) < 0) {
            call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
            return;
        }
        if (!call_charge(call, bytes))
            return;
    }
    if (call->half_closed)
        on_closed(call);
}

void method_cancel(struct call *call, struct payload *payload)
{
    Moed__V1__CancelRequest *request =
        call_unpack(call, &moed__v1__cancel_request__descriptor, payload);
    if (!request)
        return;
    struct err err = {0};
    Moed__V1__CancelResponse response = MOED__V1__CANCEL_RESPONSE__INIT;
    if (field_size(FIELD_CANCEL_ID, request->generation_id.len, &err) < 0) {
        call_fail(call, TTRPC_INVALID_ARGUMENT, "%s", err.text);
    } else {
        struct generation *g =
            generation_find(call->hub, request->generation_id.data, call->conn->uid);
        if (g)
            generation_stop(g, TTRPC_CANCELLED, MOED__V1__FINISH__FINISH_CANCELLED,
                            "cancelled as was asked");
        response.has_found = true;
        response.found = g != NULL;
        call_reply(call, &response.base);
    }
    moed__v1__cancel_request__free_unpacked(request, NULL);
}
