/* SPDX-License-Identifier: MIT
 *
 * SessionAppend: understood as a Generate would be, and not answered. Loop thread, but for
 * run_appending(), which is on a helper.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/models.h"
#include "model/model.h"
#include "service/ask.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/job.h"
#include "service/method.h"
#include "service/pressure.h"
#include "service/session_call.h"
#include "service/turn.h"

struct appending {
    struct job job;
    struct turn *turn;
    struct line *more; /* the bytes of the request */
    struct ask *ask;
};

static int run_appending(struct job *job)
{
    struct appending *a = (struct appending *)job;
    int n = turn_n_parts(a->turn);
    OWN_MEM struct ask_part *part = calloc((size_t)n + 1, sizeof *part);
    if (!part)
        return err_set(&job->err, -ENOMEM, "no memory for the request");
    turn_parts(a->turn, part);
    part[n] = (struct ask_part){.data = a->more->data, .n = a->more->n};
    return ask_new(job->model, part, n + 1, &a->ask, &job->err);
}

static void free_appending(struct job *job)
{
    struct appending *a = (struct appending *)job;
    turn_leave(a->turn);
    line_unref(a->more);
    ask_free(a->ask);
}

static void appending_free(struct appending *a)
{
    if (a)
        free_appending(&a->job);
    free(a);
}
OWN_DEFINE(appending, appending_free);

/* The call's data while its turn is written. */
static void on_append_end(struct call *call)
{
    turn_leave(call->data);
}

static const struct call_hooks append_hooks = {.end = on_append_end};

static void on_appended(void *arg)
{
    struct call *call = arg;
    struct turn *turn = call->data;
    if (turn_session(turn))
        session_reply(call, turn_session(turn)); /* which leaves it */
    else
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "%s", turn_unkept(turn));
}

static void on_append_asked(struct job *job)
{
    static const struct call_hooks none;
    struct appending *a = (struct appending *)job;
    struct call *call = job->call;
    call->hooks = &none;
    int r = job->code;
    if (r == 0)
        r = turn_take(a->turn, job->entry, models_at(call->hub->models, job->entry)->name,
                      model_vocab(job->model), a->ask, &job->err);
    if (r < 0) {
        session_fail(call, r, &job->err);
        return;
    }
    struct turn *turn = TAKE(a->turn);
    call->data = turn;
    call->hooks = &append_hooks;
    turn_end(turn, MOED__V1__FINISH__FINISH_NONE, NULL, on_appended, call);
}

static void append(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionAppendRequest *request = (const void *)message;
    const Moed__V1__GenerateRequest *more = request->more;
    Moed__V1__InSession in = MOED__V1__IN_SESSION__INIT;
    struct err err = {0};
    char model[RECORD_MOST_MODEL + 1] = "";
    OWN(appending) *a = calloc(1, sizeof *a);
    if (!a || !more) {
        call_fail(call, more ? TTRPC_RESOURCE_EXHAUSTED : TTRPC_INVALID_ARGUMENT,
                  more ? "no memory for the request" : "session_append.more is missing");
        return;
    }
    a->job.run = run_appending;
    a->job.done = on_append_asked;
    a->job.free = free_appending;
    size_t n = moed__v1__generate_request__get_packed_size(more);
    a->more = line_new(LINE_MESSAGE, 0, NULL, n);
    if (!a->more) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    moed__v1__generate_request__pack(more, a->more->data);
    in.session = request->session;
    in.revision = request->revision;
    int r = turn_open(call->hub, call->conn->uid, &in, &a->turn, &err);
    if (r == 0 && more->model && strlen(more->model) < sizeof model)
        strcpy(model, more->model);
    if (r == 0)
        r = turn_model(a->turn, model, sizeof model, &err);
    if (r < 0)
        session_fail(call, r, &err);
    else
        job_seek(&TAKE(a)->job, call, model, 0, n);
}

/* ---- the handler */
void method_session_append(struct call *call, struct payload *payload)
{
    if (!pressure_refuses(call->hub->pressure, call))
        session_serve(call, payload, &moed__v1__session_append_request__descriptor, append);
}
