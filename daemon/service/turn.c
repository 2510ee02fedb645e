/* SPDX-License-Identifier: MIT */
#include "service/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/ask.h"
#include "service/hub.h"
#include "service/reading.h"
#include "service/session.h"
#include "ttrpc.h"

enum { NO_ENTRY = -1, MODEL_FIELD = 1 /* of GenerateRequest */ };

struct turn {
    struct hub *hub;
    struct session *session; /* NULL: it is gone */
    int entry;               /* of the model that is held */
    struct saying saying;
    char model[RECORD_MOST_MODEL + 1];
    struct answer answer; /* the clerk's while is_writing */
    char *stop;
    size_t n_open;  /* of its ids */
    bool is_failed; /* no memory for its ids */
    bool is_writing, is_over, is_left;
    uint64_t revision;
    char unkept[sizeof(((struct err *)0)->text)];
    void (*done)(void *arg);
    void *arg;
};

/* What makes of a turn the session's next revision. */
struct writing {
    struct change change;
    struct turn *turn;
    bool has_answer;
};

static void release_model(struct turn *turn)
{
    if (turn->entry != NO_ENTRY)
        hub_release(turn->hub, turn->entry);
    turn->entry = NO_ENTRY;
}

static void turn_free(struct turn *turn)
{
    release_model(turn);
    saying_fini(&turn->saying);
    ids_fini(&turn->answer.ids);
    free(turn->stop);
    free(turn);
}

static void let_go(struct turn *turn)
{
    if (turn->is_over)
        return;
    turn->is_over = true;
    bool is_new = turn->session->is_new;
    session_let_go(turn->hub->sessions, turn->session);
    if (is_new)
        turn->session = NULL;
}

void turn_leave(struct turn *turn)
{
    if (!turn)
        return;
    turn->is_left = true;
    turn->done = NULL;
    if (turn->is_writing)
        return; /* freed when that is through */
    let_go(turn);
    turn_free(turn);
}

/* ---- beginning */
static int make_session(struct hub *hub, uint32_t uid, const char *name, struct session **ret,
                        struct err *err)
{
    int r = session_name_check(hub->sessions, uid, name, err);
    if (r == -EEXIST) /* and yet it was not found */
        r = err_set(err, -EAGAIN, "the session is busy: somebody else is making it");
    if (r == 0)
        r = session_room(hub->sessions, uid, true, 0, err);
    if (r < 0)
        return r;
    *ret = session_add(hub->sessions, uid, name);
    return *ret ? 0 : err_set(err, -ENOMEM, "no memory for a session");
}

static int get_session(struct hub *hub, uint32_t uid, const Moed__V1__InSession *in,
                       struct session **ret, struct err *err)
{
    const char *which = in->session ? in->session : "";
    struct session *session = session_find(hub->sessions, uid, which);
    if (!session && in->create && *which)
        return make_session(hub, uid, which, ret, err);
    if (!session)
        return err_set(err, -ENOENT, "you have no session '%.64s'", which);
    int r = session_room(hub->sessions, uid, false, 0, err);
    if (r == 0)
        r = session_hold(session, in->revision, err);
    if (r == 0)
        *ret = session;
    return r;
}

int turn_open(struct hub *hub, uint32_t uid, const Moed__V1__InSession *in, struct turn **ret,
              struct err *err)
{
    struct turn *turn = calloc(1, sizeof *turn);
    if (!turn)
        return err_set(err, -ENOMEM, "no memory for the request");
    turn->hub = hub;
    turn->entry = NO_ENTRY;
    int r = get_session(hub, uid, in, &turn->session, err);
    if (r < 0) {
        turn_free(turn);
        return r;
    }
    *ret = turn;
    return 0;
}

int turn_model(const struct turn *turn, char *name, size_t size, struct err *err)
{
    const char *own = turn->session->record.model;
    if (*own && *name && strcmp(own, name) != 0)
        return err_set(err, -ENOTSUP, "the session is of model '%s', not of '%s'", own, name);
    const struct line *settings = turn->session->record.transcript.settings;
    size_t n = strlen(own);
    if (!*own && !*name && settings &&
        !ttrpc_peek(settings->data, settings->n, MODEL_FIELD, &own, &n))
        return err_set(err, -EINVAL, "the session's settings are broken");
    if (own && n > 0 && n < size) {
        memcpy(name, own, n);
        name[n] = '\0';
    }
    return 0;
}

int turn_n_parts(const struct turn *turn)
{
    return 1 + turn->session->record.transcript.n;
}

void turn_parts(const struct turn *turn, struct ask_part *dst)
{
    const struct transcript *t = &turn->session->record.transcript;
    *dst++ = (struct ask_part){.data = t->settings ? t->settings->data : NULL,
                               .n = t->settings ? t->settings->n : 0,
                               .from = ASK_SETTINGS};
    for (int i = 0; i < t->n; i++)
        *dst++ = (struct ask_part){.data = t->line[i]->data, .n = t->line[i]->n, .from = ASK_LINE};
}

int turn_take(struct turn *turn, int entry, const char *model, const struct vocab *vocab,
              struct ask *ask, struct err *err)
{
    uint64_t own = turn->session->record.vocabulary, its = ask->saying.vocabulary;
    if (own && its && own != its)
        return err_set(err, -ENOTSUP,
                       "the session's tokens are of another vocabulary than model '%s' has", model);
    int r = session_expect(turn->hub->sessions, turn->session, saying_bytes(&ask->saying), err);
    if (r < 0)
        return r;
    if (strlen(model) >= sizeof turn->model)
        return err_set(err, -ENOTSUP, "the model's name has more than %d bytes", RECORD_MOST_MODEL);
    strcpy(turn->model, model);
    turn->saying = ask->saying;
    ask->saying = (struct saying){0};
    turn->answer.vocab = vocab;
    turn->answer.family = ask->chat;
    turn->answer.options = ask->options;
    if (ask->open.n > 0 && ids_append(&turn->answer.ids, ask->open.id, ask->open.n) < 0)
        return err_set(err, -ENOMEM, "no memory for the request");
    turn->n_open = ask->open.n;
    const struct record *record = &turn->session->record;
    turn->answer.call_id = record->id + (uint64_t)(turn->saying.n_kept + turn->saying.n);
    turn->entry = entry;
    hub_hold(turn->hub, entry);
    return 0;
}

uint64_t turn_call_id(const struct turn *turn)
{
    return turn->answer.call_id;
}

void turn_token(struct turn *turn, int32_t id)
{
    if (ids_push(&turn->answer.ids, id) < 0)
        turn->is_failed = true;
}

/* ---- ending */
static int make(struct change *change)
{
    struct writing *writing = (struct writing *)change;
    struct turn *turn = writing->turn;
    struct line *line;
    if (!writing->has_answer)
        return 0;
    int r = reading_line(&turn->answer, &line);
    if (r == 0 && line->kind == LINE_CUT)
        change->draft.vocabulary = reading_vocabulary(turn->answer.vocab);
    if (r == 0)
        r = transcript_add(&change->draft.transcript, line);
    return r < 0 ? err_set(&change->err, r, "no memory for the answer") : 0;
}

static void end(struct turn *turn, const char *unkept)
{
    turn->is_writing = true; /* who leaves it in `done` has it freed here */
    let_go(turn);
    release_model(turn);
    snprintf(turn->unkept, sizeof turn->unkept, "%s", unkept);
    turn->revision = turn->session ? turn->session->record.revision : 0;
    if (turn->done)
        turn->done(turn->arg);
    turn->session = NULL; /* nobody holds it */
    turn->is_writing = false;
    if (turn->is_left)
        turn_free(turn);
}

static void on_written(struct change *change)
{
    struct turn *turn = ((struct writing *)change)->turn;
    turn->is_over = true; /* the session is not held any more */
    turn->session = change->session;
    end(turn, change->code < 0 ? change->err.text : change->session->unkept);
}

static int begin_writing(struct turn *turn, struct writing *writing, bool has_answer)
{
    struct record *draft = &writing->change.draft;
    struct saying *saying = &turn->saying;
    int r = change_draft(&writing->change, turn->session, saying->n_kept);
    for (int i = 0; i < saying->n && r == 0; i++)
        r = transcript_add(&draft->transcript, TAKE(saying->line[i]));
    draft->vocabulary = saying->is_raw ? saying->vocabulary : 0;
    strcpy(draft->model, turn->model);
    if (has_answer) { /* for which it was read back */
        draft->is_parked = false;
        draft->parked_bytes = 0;
    }
    return r;
}

static void write_up(struct turn *turn, bool has_answer)
{
    struct writing *writing = calloc(1, sizeof *writing);
    if (!writing || begin_writing(turn, writing, has_answer) < 0) {
        if (writing)
            record_fini(&writing->change.draft);
        free(writing);
        end(turn, "no memory for the answer");
        return;
    }
    writing->turn = turn;
    writing->has_answer = has_answer;
    writing->change.make = make;
    writing->change.done = on_written;
    turn->is_writing = true;
    change_start(turn->hub->sessions, &writing->change);
}

void turn_end(struct turn *turn, Moed__V1__Finish finish, const char *stop, void (*done)(void *arg),
              void *arg)
{
    bool has_answer = finish != MOED__V1__FINISH__FINISH_NONE;
    turn->done = done;
    turn->arg = arg;
    turn->answer.finish = finish;
    if (stop && !(turn->answer.stop = turn->stop = strdup(stop)))
        turn->is_failed = true;
    if (turn->is_failed)
        end(turn, "no memory for the answer");
    else if (has_answer && turn->answer.ids.n == turn->n_open)
        end(turn, "there is no answer");
    else
        write_up(turn, has_answer);
}

bool turn_is_over(const struct turn *turn)
{
    return turn->is_over;
}

const char *turn_unkept(const struct turn *turn)
{
    return *turn->unkept ? turn->unkept : NULL;
}

uint64_t turn_revision(const struct turn *turn)
{
    return turn->revision;
}

struct session *turn_session(const struct turn *turn)
{
    return turn->session;
}
