/* SPDX-License-Identifier: MIT */
#include "service/care.h"

#include <errno.h>
#include <stdlib.h>

#include "base/own.h"
#include "engine/models.h"
#include "service/hub.h"
#include "service/session_call.h"
#include "service/status.h"

struct care {
    struct care *next; /* hub->cares */
    struct hub *hub;
    struct engine *engine;
    uint64_t engine_call;
    int entry;
    enum engine_care kind;
    struct edit *edit;
};

static void leave(struct care *care)
{
    struct care **at = &care->hub->cares;
    while (*at != care)
        at = &(*at)->next;
    *at = care->next;
    care->hub->n_running--;
    hub_release(care->hub, care->entry);
}

static void fail(struct edit *edit, int code, const char *words)
{
    struct call *call = edit->call;
    if (call) {
        call->data = NULL;
        call_fail(call, status_of(code), "%s", words);
    }
    edit_give_up(edit);
}

void care_start(struct edit *edit, int entry, struct engine_request *taken)
{
    OWN(engine_request) *request = taken;
    struct hub *hub = edit->hub;
    struct err err = {0};
    struct care *care = calloc(1, sizeof *care);
    if (!care) {
        fail(edit, -ENOMEM, "no memory for the request");
        return;
    }
    *care = (struct care){.hub = hub,
                          .engine = models_at(hub->models, entry)->engine,
                          .entry = entry,
                          .kind = request->care,
                          .edit = edit};
    int r = engine_submit(care->engine, request, &care->engine_call, &err);
    if (r < 0) {
        free(care);
        fail(edit, r, err.text);
        return;
    }
    (void)TAKE(request);
    care->next = hub->cares;
    hub->cares = care;
    hub->n_running++;
    hub_hold(hub, entry);
    edit_wait(edit);
}

/* The session becomes what it is now, if that is new. */
static void settle(struct care *care, const struct engine_event *done)
{
    struct edit *edit = care->edit;
    struct record *draft = &edit->change.draft;
    const struct record *record = &edit->change.session->record;
    draft->is_parked = care->kind == CARE_PARK;
    draft->parked_bytes = done->care_bytes;
    draft->is_pinned = care->kind == CARE_PIN;
    if (draft->is_parked != record->is_parked || draft->is_pinned != record->is_pinned ||
        draft->parked_bytes != record->parked_bytes) {
        edit_start(edit);
        return;
    }
    if (edit->call) {
        struct call *call = edit->call;
        call->data = NULL;
        edit->change.session->is_held = false; /* as it is told */
        session_reply(call, edit->change.session);
    }
    edit_give_up(edit);
}

static void take_done(struct care *care, const struct engine_event *done)
{
    leave(care);
    if (done->finish == ENGINE_STOP)
        settle(care, done);
    else
        fail(care->edit, done->care_code < 0 ? done->care_code : -ESHUTDOWN,
             done->n_text ? done->text : "the model is being unloaded");
    free(care);
}

void care_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev)
{
    struct care *care = hub->cares;
    while (care && (care->engine_call != ev->call || care->engine != engine))
        care = care->next;
    if (care && ev->kind == ENGINE_DONE)
        take_done(care, ev);
}

void care_stop_all(struct hub *hub, int entry)
{
    for (struct care *care = hub->cares; care; care = care->next)
        if (care->entry == entry)
            engine_cancel(care->engine, care->engine_call);
}

void care_forget_all(struct hub *hub)
{
    while (hub->cares) {
        struct care *care = hub->cares;
        hub->cares = care->next;
        edit_give_up(care->edit);
        free(care);
    }
}
