/* SPDX-License-Identifier: MIT */
#include "service/session_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/status.h"
#include "ttrpc.h"

enum { NO_ENTRY = -1 };

/* ---- telling */
void session_view(struct hub *hub, const struct session *session, struct session_view *ret)
{
    const struct record *record = &session->record;
    const struct transcript *t = &record->transcript;
    const struct line *last = t->n > 0 ? t->line[t->n - 1] : NULL;
    Moed__V1__Session *m = &ret->message;
    moed__v1__session__init(m);
    snprintf(ret->id, sizeof ret->id, "%016" PRIx64, record->id);
    m->id = ret->id;
    m->name = *record->name ? (char *)record->name : NULL;
    m->model = *record->model ? (char *)record->model : NULL;
    m->has_revision = m->has_bytes = m->has_created = m->has_used = true;
    m->revision = record->revision;
    m->bytes = t->bytes;
    m->created = record->created_s;
    m->used = record->used_s;
    m->has_raw = m->raw = last && last->kind == LINE_TOKENS;
    m->messages = m->raw ? 0 : (uint32_t)t->n;
    m->has_messages = m->messages > 0;
    m->tokens = transcript_tokens(t);
    m->has_tokens = m->tokens > 0;
    m->has_busy = m->busy = session->is_held;
    m->has_cut = m->cut = last && last->kind == LINE_CUT;
    m->has_pinned = m->pinned = record->is_pinned;
    m->has_parked = m->parked = record->is_parked;
    m->memory_bytes = session_pinned_bytes(hub, session);
    m->has_memory_bytes = m->memory_bytes > 0;
    m->disk_bytes = record->parked_bytes;
    m->has_disk_bytes = m->disk_bytes > 0;
    m->unkept = *session->unkept ? (char *)session->unkept : NULL;
}

void session_reply(struct call *call, const struct session *session)
{
    struct session_view d;
    session_view(call->hub, session, &d);
    call_reply(call, &d.message.base);
}

void session_fail(struct call *call, int code, const struct err *err)
{
    call_fail(call, status_of(code), "%s", err->text);
}

/* ---- requests: unpacked when what lies on the disk is known */
struct wish {
    void (*serve)(struct call *call, const ProtobufCMessage *request);
    const ProtobufCMessageDescriptor *type;
    struct payload payload;
};

static void serve(struct call *call, const struct wish *wish)
{
    ProtobufCMessage *request = call_unpack(call, wish->type, &wish->payload);
    if (!request)
        return;
    wish->serve(call, request);
    protobuf_c_message_free_unpacked(request, NULL);
}

static void on_wish_end(struct call *call)
{
    struct wish *wish = call->data;
    payload_fini(&wish->payload);
    free(wish);
}

static void on_wish_changed(struct call *call)
{
    static const struct call_hooks none;
    struct wish *wish = call->data;
    if (!sessions_are_read(call->hub->sessions))
        return;
    call->data = NULL;
    call->hooks = &none;
    serve(call, wish);
    payload_fini(&wish->payload);
    free(wish);
}

static const struct call_hooks wish_hooks = {.changed = on_wish_changed, .end = on_wish_end};

void session_serve(struct call *call, struct payload *payload,
                   const ProtobufCMessageDescriptor *type,
                   void (*then)(struct call *call, const ProtobufCMessage *request))
{
    struct wish now = {then, type, *payload};
    if (sessions_are_read(call->hub->sessions)) {
        serve(call, &now);
        return;
    }
    struct wish *wish = malloc(sizeof *wish);
    if (!wish) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    *wish = now;
    *payload = (struct payload){0};
    call->data = wish;
    call->hooks = &wish_hooks;
    call_charge(call, wish->payload.n);
}

struct session *session_wanted(struct call *call, const char *which)
{
    struct session *session =
        session_find(call->hub->sessions, call->conn->uid, which ? which : "");
    if (!session)
        call_fail(call, TTRPC_NOT_FOUND, "you have no session '%.64s'", which ? which : "");
    return session;
}

bool session_take(struct call *call, struct session *session, uint64_t revision)
{
    struct err err = {0};
    int r = session_hold(session, revision, &err);
    if (r < 0)
        session_fail(call, r, &err);
    return r == 0;
}

/* ---- a change, and who waits for it */
static void on_edit_end(struct call *call)
{
    struct edit *edit = call->data;
    if (edit)
        edit->call = NULL;
}

static const struct call_hooks edit_hooks = {.end = on_edit_end};

static void edit_fini(struct change *change)
{
    struct edit *edit = (struct edit *)change;
    line_unref(edit->cut);
    if (edit->entry != NO_ENTRY)
        hub_release(edit->hub, edit->entry);
}

void edit_free(struct edit *edit)
{
    if (!edit)
        return;
    if (edit->is_new)
        session_drop(edit->hub->sessions, edit->change.session);
    edit_fini(&edit->change);
    record_fini(&edit->change.draft);
    free(edit);
}

void edit_give_up(struct edit *edit)
{
    if (!edit)
        return;
    session_let_go(edit->hub->sessions, edit->change.session);
    edit_free(edit);
}

static void on_edited(struct change *change)
{
    struct edit *edit = (struct edit *)change;
    struct call *call = edit->call;
    if (!call)
        return;
    call->data = NULL;
    if (change->code < 0) {
        session_fail(call, change->code, &change->err);
    } else if (change->deletes) {
        Moed__V1__SessionDeleteResponse gone = MOED__V1__SESSION_DELETE_RESPONSE__INIT;
        call_reply(call, &gone.base);
    } else {
        session_reply(call, change->session);
    }
}

struct edit *edit_new(struct call *call)
{
    struct edit *edit = calloc(1, sizeof *edit);
    if (!edit)
        return NULL;
    edit->call = call;
    edit->hub = call->hub;
    edit->entry = NO_ENTRY;
    edit->change.done = on_edited;
    edit->change.free = edit_fini;
    return edit;
}

int edit_add(struct edit *edit, const char *name, uint64_t bytes, struct err *err)
{
    struct call *call = edit->call;
    struct sessions *sessions = call->hub->sessions;
    uint32_t uid = call->conn->uid;
    name = name ? name : "";
    int r = session_name_check(sessions, uid, name, err);
    if (r == 0)
        r = session_room(sessions, uid, true, bytes, err);
    if (r < 0)
        return r;
    struct session *session = session_add(sessions, uid, name);
    if (!session)
        return err_set(err, -ENOMEM, "no memory for a session");
    session->coming = bytes;
    r = change_draft(&edit->change, session, -1);
    edit->is_new = r == 0;
    if (r < 0)
        session_drop(sessions, session);
    return r < 0 ? err_set(err, r, "no memory for a session") : 0;
}

struct edit *edit_of(struct call *call, struct session *session, int n_lines)
{
    OWN(edit) *edit = edit_new(call);
    if (edit && change_draft(&edit->change, session, n_lines) == 0)
        return TAKE(edit);
    session_let_go(call->hub->sessions, session);
    call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the session");
    return NULL;
}

void edit_hold(struct edit *edit, const struct models_entry *entry)
{
    edit->model = entry->model;
    edit->entry = hub_index(edit->hub, entry);
    hub_hold(edit->hub, edit->entry);
}

void edit_wait(struct edit *edit)
{
    edit->call->data = edit;
    edit->call->hooks = &edit_hooks;
}

void edit_start(struct edit *edit)
{
    if (edit->call)
        edit_wait(edit);
    change_start(edit->hub->sessions, &edit->change);
}
