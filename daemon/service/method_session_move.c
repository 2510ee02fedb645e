/* SPDX-License-Identifier: MIT
 *
 * SessionRewind and SessionFork: to a place in a session. Loop thread, but for make_cut(), which is
 * on the clerk's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/models.h"
#include "model/model.h"
#include "service/ask.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/method.h"
#include "service/pressure.h"
#include "service/reading.h"
#include "service/seek.h"
#include "service/session_call.h"

/* ---- a place in a session */
struct spot {
    int n_lines;   /* that are whole */
    size_t n_kept; /* ids of the one behind them; 0: none */
};

static int find_spot(const struct transcript *t, const Moed__V1__SessionPlace *place,
                     struct spot *ret, struct err *err)
{
    bool is_raw = t->n > 0 && t->line[0]->kind == LINE_TOKENS;
    uint64_t tokens = place->tokens;
    *ret = (struct spot){.n_lines = (int)place->messages};
    if (is_raw && place->messages > 0)
        return err_set(err, -EINVAL, "a session of raw text has no messages, only tokens");
    if (place->messages > (uint32_t)t->n)
        return err_set(err, -EINVAL, "the session has %d messages, not %u", t->n, place->messages);
    while (is_raw && ret->n_lines < t->n && tokens >= t->line[ret->n_lines]->n_tokens)
        tokens -= t->line[ret->n_lines++]->n_tokens;
    if (tokens == 0)
        return 0;
    const struct line *line = ret->n_lines < t->n ? t->line[ret->n_lines] : NULL;
    if (!line || line->n_tokens < tokens)
        return err_set(err, -EINVAL,
                       is_raw ? "the session has not so many tokens: %" PRIu64 " too many"
                              : "no answer of %" PRIu64 " tokens stands there",
                       tokens);
    ret->n_kept = (size_t)tokens;
    return 0;
}

static int cut_ids(const struct edit *edit, Moed__V1__Tokens *tokens, struct line **ret)
{
    *ret = line_of_tokens(tokens->ids, edit->n_kept < tokens->n_ids ? edit->n_kept : tokens->n_ids);
    return *ret ? 0 : -ENOMEM;
}

static int family_of(const struct edit *edit, const struct chat_family **ret, struct err *err)
{
    const struct line *settings = edit->change.draft.transcript.settings;
    Moed__V1__GenerateRequest *request =
        settings ? moed__v1__generate_request__unpack(NULL, settings->n, settings->data) : NULL;
    int r =
        ask_family(edit->model, request && request->chat ? request->chat->family : NULL, ret, err);
    if (request)
        moed__v1__generate_request__free_unpacked(request, NULL);
    return r;
}

static int cut_answer(struct edit *edit, const Moed__V1__Message *message, struct line **ret,
                      struct err *err)
{
    struct answer answer = {
        .vocab = model_vocab(edit->model),
        .finish = MOED__V1__FINISH__FINISH_CANCELLED,
        .options = {.thinking = message->thinking, .add_generation_prompt = true},
        .call_id = edit->change.draft.id + (uint64_t)edit->change.draft.transcript.n,
    };
    size_t n = edit->n_kept < message->n_tokens ? edit->n_kept : message->n_tokens;
    int r = family_of(edit, &answer.family, err);
    if (r == 0 && ids_append(&answer.ids, message->tokens, n) < 0)
        r = err_set(err, -ENOMEM, "no memory for %zu tokens", n);
    if (r == 0)
        r = reading_line(&answer, ret);
    ids_fini(&answer.ids);
    edit->change.draft.vocabulary = reading_vocabulary(answer.vocab);
    return r;
}

/* The first ids of the line that is cut. */
static int make_cut(struct change *change)
{
    struct edit *edit = (struct edit *)change;
    struct line *line = NULL;
    Moed__V1__GenerateRequest *request =
        moed__v1__generate_request__unpack(NULL, edit->cut->n, edit->cut->data);
    int r = -ENOMEM;
    if (request && request->tokens)
        r = cut_ids(edit, request->tokens, &line);
    else if (request && request->chat && request->chat->n_messages == 1)
        r = cut_answer(edit, request->chat->messages[0], &line, &change->err);
    if (request)
        moed__v1__generate_request__free_unpacked(request, NULL);
    if (r == 0)
        r = transcript_add(&change->draft.transcript, line);
    return r < 0 && !*change->err.text ? err_set(&change->err, r, "no memory for the session") : r;
}

/* Makes it do what is left to be done on the clerk's thread. */
static void cut_behind(struct edit *edit, struct line *line, size_t n_kept,
                       struct models_entry *entry)
{
    if (n_kept == 0)
        return;
    edit->cut = line_ref(line);
    edit->n_kept = n_kept;
    edit->change.make = make_cut;
    if (line->kind != LINE_TOKENS)
        edit_hold(edit, entry);
}

/* ---- rewinding and forking, with the model at hand that knows how answers are cut */
struct moving {
    char *session, *name; /* name: of the fork */
    uint64_t revision;
    Moed__V1__SessionPlace place;
    bool is_fork, is_whole;
};

static void moving_free(struct moving *moving)
{
    if (!moving)
        return;
    free(moving->session);
    free(moving->name);
    free(moving);
}
OWN_DEFINE(moving, moving_free);

static void on_moving_end(struct call *call)
{
    moving_free(call->data);
}

static const struct call_hooks moving_hooks = {.end = on_moving_end};

static void rewind_to(struct call *call, struct session *session, const struct spot *spot,
                      uint64_t revision, struct models_entry *entry)
{
    if (!session_take(call, session, revision))
        return;
    struct line *line = spot->n_kept > 0 ? session->record.transcript.line[spot->n_lines] : NULL;
    struct edit *edit = edit_of(call, session, spot->n_lines);
    if (!edit)
        return;
    cut_behind(edit, line, spot->n_kept, entry);
    edit_start(edit);
}

static void fork_at(struct call *call, const struct session *session, const struct spot *spot,
                    const char *name, struct models_entry *entry)
{
    const struct record *from = &session->record;
    struct err err = {0};
    OWN(edit) *edit = edit_new(call);
    int r = edit ? edit_add(edit, name, from->transcript.bytes, &err)
                 : err_set(&err, -ENOMEM, "no memory for the request");
    if (r < 0) {
        session_fail(call, r, &err);
        return;
    }
    struct record *draft = &edit->change.draft;
    if (transcript_copy(&draft->transcript, &from->transcript, spot->n_lines) < 0) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the session");
        return;
    }
    strcpy(draft->model, from->model);
    draft->vocabulary = from->vocabulary;
    cut_behind(edit, spot->n_kept > 0 ? from->transcript.line[spot->n_lines] : NULL, spot->n_kept,
               entry);
    edit_start(TAKE(edit));
}

static int spot_of(const struct moving *moving, const struct transcript *t, struct spot *ret,
                   struct err *err)
{
    *ret = (struct spot){.n_lines = t->n};
    return moving->is_whole ? 0 : find_spot(t, &moving->place, ret, err);
}

static void move(struct call *call, struct models_entry *entry)
{
    static const struct call_hooks none;
    OWN(moving) *moving = call->data;
    call->data = NULL;
    call->hooks = &none;
    struct session *session = session_wanted(call, moving->session);
    if (!session)
        return;
    struct spot spot;
    struct err err = {0};
    int r = spot_of(moving, &session->record.transcript, &spot, &err);
    if (r == 0 && moving->is_fork && moving->revision &&
        moving->revision != session->record.revision)
        r = err_set(&err, -EAGAIN, "the session has revision %" PRIu64 " by now",
                    session->record.revision);
    if (r < 0)
        session_fail(call, r, &err);
    else if (moving->is_fork)
        fork_at(call, session, &spot, moving->name, entry);
    else
        rewind_to(call, session, &spot, moving->revision, entry);
}

/* Only who cuts an answer needs its model. */
static void begin_move(struct call *call, struct moving *taken)
{
    OWN(moving) *moving = taken;
    const struct session *session = session_wanted(call, moving->session);
    if (!session)
        return;
    const struct transcript *t = &session->record.transcript;
    struct err err = {0};
    struct spot spot;
    int r = spot_of(moving, t, &spot, &err);
    if (r < 0) {
        session_fail(call, r, &err);
        return;
    }
    bool needs_model = spot.n_kept > 0 && t->line[spot.n_lines]->kind != LINE_TOKENS;
    call->data = TAKE(moving);
    call->hooks = &moving_hooks;
    if (needs_model)
        seek(call, session->record.model, SEEK_OPEN, move);
    else
        move(call, NULL);
}

/* NULL: no memory, and the call has failed. */
static struct moving *moving_new(struct call *call, const char *session, uint64_t revision,
                                 const Moed__V1__SessionPlace *place)
{
    OWN(moving) *moving = calloc(1, sizeof *moving);
    if (!moving || !(moving->session = strdup(session ? session : ""))) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return NULL;
    }
    moving->revision = revision;
    moving->is_whole = !place;
    if (place)
        moving->place = *place;
    return TAKE(moving);
}

static void rewind_session(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionRewindRequest *request = (const void *)message;
    if (!request->to) {
        call_fail(call, TTRPC_INVALID_ARGUMENT, "session_rewind.to is missing");
        return;
    }
    struct moving *moving = moving_new(call, request->session, request->revision, request->to);
    if (moving)
        begin_move(call, moving);
}

static void fork_session(struct call *call, const ProtobufCMessage *message)
{
    const Moed__V1__SessionForkRequest *request = (const void *)message;
    OWN(moving) *moving = moving_new(call, request->session, request->revision, request->at);
    if (!moving)
        return;
    moving->is_fork = true;
    moving->name = request->name ? strdup(request->name) : NULL;
    if (request->name && !moving->name)
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
    else
        begin_move(call, TAKE(moving));
}

/* ---- handlers */
void method_session_rewind(struct call *call, struct payload *payload)
{
    session_serve(call, payload, &moed__v1__session_rewind_request__descriptor, rewind_session);
}

void method_session_fork(struct call *call, struct payload *payload)
{
    if (!pressure_refuses(call->hub->pressure, call))
        session_serve(call, payload, &moed__v1__session_fork_request__descriptor, fork_session);
}
