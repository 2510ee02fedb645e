/* SPDX-License-Identifier: MIT
 *
 * SessionPin, SessionPark and SessionResume: a helper makes tokens of what was said, then an engine
 * moves what it has of them. Loop thread, but for run_caring(), which is on a helper.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/own.h"
#include "engine/models.h"
#include "service/ask.h"
#include "service/call.h"
#include "service/care.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/job.h"
#include "service/method.h"
#include "service/pressure.h"
#include "service/quest.h"
#include "service/session_call.h"
#include "service/status.h"

struct caring {
    struct job job;
    struct edit *edit; /* of the session, which is taken */
    enum engine_care care;
    struct ask *ask; /* what was said, as a prompt */
};

/* ---- on a helper */
static int run_caring(struct job *job)
{
    struct caring *c = (struct caring *)job;
    const struct transcript *t = &c->edit->change.draft.transcript;
    OWN_MEM struct ask_part *part = calloc((size_t)t->n + 1, sizeof *part);
    if (!part)
        return err_set(&job->err, -ENOMEM, "no memory for the request");
    int n = 0;
    if (t->settings)
        part[n++] = (struct ask_part){.data = t->settings->data, .n = t->settings->n};
    for (int i = 0; i < t->n; i++)
        part[n++] = (struct ask_part){.data = t->line[i]->data, .n = t->line[i]->n};
    return ask_new(job->model, part, n, &c->ask, &job->err);
}

static void free_caring(struct job *job)
{
    struct caring *c = (struct caring *)job;
    edit_give_up(c->edit);
    ask_free(c->ask);
}

/* ---- on the loop */
/* Of the prompt nothing but its tokens counts. */
static struct engine_request *request_of(struct caring *c, const struct conn *conn)
{
    OWN(engine_request) *request = engine_request_new();
    if (!request)
        return NULL;
    const struct record *record = &c->edit->change.draft;
    request->prompt = TAKE(c->ask->request->prompt);
    request->n_prompt = c->ask->request->n_prompt;
    request->top_logprobs = -1;
    request->uid = record->uid;
    request->kept_bytes = conn->verdict.kept_bytes;
    request->disk_bytes = conn->verdict.disk_bytes;
    request->talk = record->id;
    request->care = c->care;
    request->is_pinned = c->care == CARE_PIN;
    return TAKE(request);
}

/* While the model loads, a call waits. */
struct waiting {
    struct edit *edit;
    struct engine_request *request;
    int entry;
};

static void waiting_free(struct waiting *w)
{
    if (!w)
        return;
    edit_give_up(w->edit);
    engine_request_free(w->request);
    free(w);
}
OWN_DEFINE(waiting, waiting_free);

static void go_on(struct call *call)
{
    struct waiting *w = call->data;
    const struct models_entry *entry = models_at(call->hub->models, w->entry);
    if (hub_is_unloading(call->hub, w->entry)) {
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' is being unloaded", entry->name);
    } else if (entry->state == MODELS_READY) {
        struct waiting last = *w;
        free(TAKE(call->data));
        call_charge(call, 0);
        care_start(last.edit, last.entry, last.request);
    } else if (entry->state != MODELS_LOADING) {
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' is %s: load it first", entry->name,
                  models_state_name(entry->state));
    }
}

static void on_end(struct call *call)
{
    waiting_free(call->data);
}

static const struct call_hooks hooks = {.changed = go_on, .end = on_end};

static void on_understood(struct job *job)
{
    struct caring *c = (struct caring *)job;
    struct call *call = job->call;
    if (job->code < 0) {
        session_fail(call, job->code, &job->err);
        return;
    }
    OWN(waiting) *w = calloc(1, sizeof *w);
    if (!w || !(w->request = request_of(c, call->conn))) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    w->edit = TAKE(c->edit);
    w->entry = job->entry;
    call->data = TAKE(w);
    call->hooks = &hooks;
    go_on(call);
}

/* A session of which nothing was said has nothing to be moved. */
static void care_for(struct call *call, const char *which, uint64_t revision, enum engine_care care)
{
    struct session *session = session_wanted(call, which);
    if (!session || !session_take(call, session, revision))
        return;
    if (care == CARE_PARK && session->record.is_parked) {
        session_let_go(call->hub->sessions, session);
        session_reply(call, session);
        return;
    }
    struct edit *edit = edit_of(call, session, -1);
    if (!edit)
        return;
    struct record *draft = &edit->change.draft;
    if (draft->transcript.n == 0) {
        draft->is_pinned = care == CARE_PIN || (draft->is_pinned && care == CARE_RESUME);
        draft->is_parked = care == CARE_PARK;
        edit_start(edit);
        return;
    }
    struct caring *c = calloc(1, sizeof *c);
    if (!c) {
        edit_give_up(edit);
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    c->edit = edit;
    c->care = care == CARE_RESUME && draft->is_pinned ? CARE_PIN : care;
    c->job.run = run_caring;
    c->job.done = on_understood;
    c->job.free = free_caring;
    job_seek(&c->job, call, draft->model, care == CARE_PARK ? 0 : SEEK_WAKE,
             draft->transcript.bytes);
}

static void unpin(struct call *call, const char *which, uint64_t revision)
{
    struct session *session = session_wanted(call, which);
    if (!session || !session_take(call, session, revision))
        return;
    struct edit *edit = edit_of(call, session, -1);
    if (!edit)
        return;
    edit->change.draft.is_pinned = false; /* its engine hears of it with that */
    edit_start(edit);
}

static void pin_session(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionPinRequest *request = (const void *)message;
    if (request->unpin)
        unpin(call, request->session, request->revision);
    else if (!pressure_refuses(call->hub->pressure, call))
        care_for(call, request->session, request->revision, CARE_PIN);
}

static void park_session(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionParkRequest *request = (const void *)message;
    care_for(call, request->session, request->revision, CARE_PARK);
}

static void resume_session(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionResumeRequest *request = (const void *)message;
    if (!pressure_refuses(call->hub->pressure, call))
        care_for(call, request->session, request->revision, CARE_RESUME);
}

/* ---- handlers */
void method_session_pin(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_pin_request__descriptor, pin_session);
}

void method_session_park(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_park_request__descriptor, park_session);
}

void method_session_resume(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_resume_request__descriptor, resume_session);
}
