/* SPDX-License-Identifier: MIT
 *
 * SessionCreate, SessionUpdate, SessionDelete, SessionList, SessionShow. Loop thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/method.h"
#include "service/pressure.h"
#include "service/session_call.h"

enum {
    SHOWN_BYTES = 512 << 10, /* of one answer, if its first message is no longer */
    SHOWN_FIELDS = 3000,
};

/* ---- creating and updating */

/* Of a request what is no saying; *ret NULL: nothing. */
static int settings_of(const Moed__V1__GenerateRequest *from, struct line **ret, struct err *err)
{
    *ret = NULL;
    if (!from)
        return 0;
    if ((from->chat && from->chat->n_messages > 0) || from->text || from->tokens || from->suffix ||
        from->in_session)
        return err_set(err, -EINVAL, "a session's settings say nothing: that is for what follows");
    size_t n = moed__v1__generate_request__get_packed_size(from);
    *ret = line_new(LINE_MESSAGE, 0, NULL, n);
    if (!*ret)
        return err_set(err, -ENOMEM, "no memory for the settings");
    moed__v1__generate_request__pack(from, (*ret)->data);
    return 0;
}

static void create(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionCreateRequest *request = (const void *)message;
    struct err err = {0};
    OWN(line) *settings = NULL;
    OWN(edit) *edit = edit_new(call);
    int r = edit ? settings_of(request->settings, &settings, &err)
                 : err_set(&err, -ENOMEM, "no memory for the request");
    if (r == 0)
        r = edit_add(edit, request->name, settings ? settings->n : 0, &err);
    if (r < 0) {
        session_fail(call, r, &err);
        return;
    }
    if (settings)
        transcript_set(&edit->change.draft.transcript, TAKE(settings));
    edit_start(TAKE(edit));
}

static void update(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionUpdateRequest *request = (const void *)message;
    struct session *session = session_wanted(call, request->session);
    if (!session)
        return;
    struct err err = {0};
    OWN(line) *settings = NULL;
    const char *name = request->name ? request->name : "";
    int r = strcmp(name, session->record.name) == 0
                ? 0
                : session_name_check(call->hub->sessions, call->conn->uid, name, &err);
    if (r == 0)
        r = settings_of(request->settings, &settings, &err);
    if (r < 0) {
        session_fail(call, r, &err);
        return;
    }
    if (!session_take(call, session, request->revision))
        return;
    r = session_expect(call->hub->sessions, session, settings ? settings->n : 0, &err);
    if (r < 0) {
        session_let_go(call->hub->sessions, session);
        session_fail(call, r, &err);
        return;
    }
    strcpy(session->next_name, name);
    struct edit *edit = edit_of(call, session, -1);
    if (!edit)
        return;
    if (settings)
        transcript_set(&edit->change.draft.transcript, TAKE(settings));
    edit_start(edit);
}

static void remove_session(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionDeleteRequest *request = (const void *)message;
    struct session *session = session_wanted(call, request->session);
    if (!session || !session_take(call, session, request->revision))
        return;
    struct edit *edit = edit_of(call, session, 0);
    if (!edit)
        return;
    edit->change.deletes = true;
    edit_start(edit);
}

/* ---- listing and showing */
static int by_use(const void *a, const void *b)
{
    const struct session *const *x = a, *const *y = b;
    int64_t used = (*y)->record.used_s - (*x)->record.used_s;
    return used < 0 ? -1 : used > 0;
}

static void list(struct call *call, const ProtobufCMessage *message)
{
    (void)message;
    struct sessions *sessions = call->hub->sessions;
    uint32_t uid = call->conn->uid;
    size_t n = 0;
    for (struct session *s = session_next(sessions, uid, NULL); s;
         s = session_next(sessions, uid, s))
        n++;
    OWN_MEM struct session **found = calloc(n + 1, sizeof(struct session *));
    OWN_MEM struct session_view *d = calloc(n + 1, sizeof *d);
    OWN_MEM Moed__V1__Session **messages = calloc(n + 1, sizeof(Moed__V1__Session *));
    if (!found || !d || !messages) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the list");
        return;
    }
    n = 0;
    for (struct session *s = session_next(sessions, uid, NULL); s;
         s = session_next(sessions, uid, s))
        found[n++] = s;
    qsort(found, n, sizeof(struct session *), by_use);
    for (size_t i = 0; i < n; i++) {
        session_view(call->hub, found[i], &d[i]);
        messages[i] = &d[i].message;
    }
    Moed__V1__SessionListResponse response = MOED__V1__SESSION_LIST_RESPONSE__INIT;
    response.sessions = messages;
    response.n_sessions = n;
    call_reply(call, &response.base);
}

/* Lines unpacked, as many as an answer takes. */
struct shown {
    Moed__V1__GenerateRequest **request;
    Moed__V1__Message **message, *raw; /* raw: for lines without a message */
    int n, end;                        /* where to go on */
};

static void shown_fini(struct shown *shown)
{
    for (int i = 0; i < shown->n; i++)
        moed__v1__generate_request__free_unpacked(shown->request[i], NULL);
    free(shown->request);
    free(shown->message);
    free(shown->raw);
}

static bool show_line(struct shown *shown, const struct line *line, bool with_tokens)
{
    Moed__V1__GenerateRequest *request =
        moed__v1__generate_request__unpack(NULL, line->n, line->data);
    if (!request)
        return false;
    Moed__V1__Message *message = &shown->raw[shown->n];
    if (request->chat && request->chat->n_messages > 0) {
        message = request->chat->messages[0];
        if (!with_tokens)
            message->n_tokens = 0;
    } else {
        moed__v1__message__init(message);
        message->tokens = request->tokens ? request->tokens->ids : NULL;
        message->n_tokens = request->tokens ? request->tokens->n_ids : 0;
    }
    shown->message[shown->n] = message;
    shown->request[shown->n++] = request;
    return true;
}

static bool show_lines(struct shown *shown, const struct transcript *t, int first, int most,
                       bool with_tokens)
{
    size_t room = (size_t)(t->n - first) + 1, bytes = 0, fields = 0;
    shown->request = calloc(room, sizeof(Moed__V1__GenerateRequest *));
    shown->message = calloc(room, sizeof(Moed__V1__Message *));
    shown->raw = calloc(room, sizeof *shown->raw);
    if (!shown->request || !shown->message || !shown->raw)
        return false;
    for (shown->end = first; shown->end < t->n && shown->n < most; shown->end++) {
        const struct line *line = t->line[shown->end];
        bytes += line->n;
        if (shown->n > 0 && (bytes > SHOWN_BYTES || fields > SHOWN_FIELDS))
            return true;
        if (!show_line(shown, line, with_tokens))
            return false;
        fields += 10 + 4 * shown->message[shown->n - 1]->n_calls;
    }
    return true;
}

static void show(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionShowRequest *request = (const void *)message;
    const struct session *session = session_wanted(call, request->session);
    if (!session)
        return;
    const struct transcript *t = &session->record.transcript;
    __attribute__((cleanup(shown_fini))) struct shown shown = {0};
    int first = request->first < (uint32_t)t->n ? (int)request->first : t->n;
    int most = request->most > 0 && request->most < INT32_MAX ? (int)request->most : INT32_MAX;
    Moed__V1__SessionShowResponse response = MOED__V1__SESSION_SHOW_RESPONSE__INIT;
    struct session_view d;
    Moed__V1__GenerateRequest *settings =
        t->settings ? moed__v1__generate_request__unpack(NULL, t->settings->n, t->settings->data)
                    : NULL;
    if (!show_lines(&shown, t, first, most, request->tokens) || (t->settings && !settings)) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
    } else {
        session_view(call->hub, session, &d);
        response.session = &d.message;
        response.settings = settings;
        response.messages = shown.message;
        response.n_messages = (size_t)shown.n;
        response.has_next = shown.end < t->n;
        response.next = response.has_next ? (uint32_t)shown.end : 0;
        call_reply(call, &response.base);
    }
    if (settings)
        moed__v1__generate_request__free_unpacked(settings, NULL);
}

/* ---- handlers */
void method_session_create(struct call *call, struct payload *payload)
{
    if (!pressure_refuses(call->hub->pressure, call))
        session_serve(call, payload, &moed__v1__session_create_request__descriptor, create);
}

void method_session_update(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_update_request__descriptor, update);
}

void method_session_delete(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_delete_request__descriptor, remove_session);
}

void method_session_list(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_list_request__descriptor, list);
}

void method_session_show(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_show_request__descriptor, show);
}
