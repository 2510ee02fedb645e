/* SPDX-License-Identifier: MIT */
#include "service/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "engine/models.h"
#include "kv/porter.h"
#include "service/cabinet.h"
#include "service/hub.h"

struct sessions {
    struct hub *hub;
    struct session *first;
    struct cabinet *cabinet; /* NULL: nothing outlives the daemon */
    struct clerk *clerk;
    char uncabinet[sizeof(((struct err *)0)->text)]; /* why there is none */
    bool is_read;
};

static void session_free(struct session *session)
{
    record_fini(&session->record);
    free(session);
}

/* ---- finding */
struct session *session_next(struct sessions *s, uint32_t uid, struct session *after)
{
    struct session *session = after ? after->next : s->first;
    while (session && (session->record.uid != uid || session->is_new))
        session = session->next;
    return session;
}

static struct session *find_id(struct sessions *s, uint64_t id)
{
    struct session *session = s->first;
    while (session && session->record.id != id)
        session = session->next;
    return session;
}

struct session *session_find(struct sessions *s, uint32_t uid, const char *which)
{
    uint64_t id;
    bool is_id = record_is_id(which, &id);
    for (struct session *one = session_next(s, uid, NULL); one; one = session_next(s, uid, one))
        if (is_id ? one->record.id == id : *which && strcmp(one->record.name, which) == 0)
            return one;
    return NULL;
}

/* Those that are new count too: two may want the same name at once. */
static bool is_taken(const struct sessions *s, uint32_t uid, const char *name)
{
    for (const struct session *one = s->first; one; one = one->next)
        if (one->record.uid == uid &&
            (strcmp(one->record.name, name) == 0 || strcmp(one->next_name, name) == 0))
            return true;
    return false;
}

int session_name_check(struct sessions *s, uint32_t uid, const char *name, struct err *err)
{
    if (*name == '\0')
        return 0;
    if (!record_is_name(name))
        return err_set(err, -EINVAL,
                       "a session's name has 1 to %d bytes, no control characters, and is not 16 "
                       "hexadecimal digits",
                       RECORD_MOST_NAME);
    if (is_taken(s, uid, name))
        return err_set(err, -EEXIST, "there is a session '%s' already", name);
    return 0;
}

int session_room(struct sessions *s, uint32_t uid, bool one_more, uint64_t bytes, struct err *err)
{
    const struct service_config *config = &s->hub->config;
    uint64_t own = bytes, all = bytes;
    int n = one_more;
    for (const struct session *one = s->first; one; one = one->next) {
        uint64_t held = one->record.transcript.bytes + one->coming;
        all += held;
        if (one->record.uid != uid)
            continue;
        own += held;
        n++;
    }
    if (n > config->max_sessions_uid)
        return err_set(err, -ENOSPC, "you have %d sessions, the most there may be: delete some",
                       config->max_sessions_uid);
    if (own > config->session_bytes_uid)
        return err_set(err, -ENOSPC,
                       "your sessions would hold %" PRIu64 " bytes, at most %" PRIu64
                       " are kept: delete some",
                       own, config->session_bytes_uid);
    if (all > config->session_bytes)
        return err_set(err, -ENOSPC, "the sessions of all users hold %" PRIu64 " bytes, the most",
                       config->session_bytes);
    return 0;
}

int session_expect(struct sessions *s, struct session *session, uint64_t bytes, struct err *err)
{
    int r = session_room(s, session->record.uid, false, bytes, err);
    if (r == 0)
        session->coming = bytes;
    return r;
}

/* ---- holding */
struct session *session_add(struct sessions *s, uint32_t uid, const char *name)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->record.uid = uid;
    session->record.created_s = session->record.used_s = (int64_t)time(NULL);
    do
        hub_random(&session->record.id, sizeof session->record.id);
    while (find_id(s, session->record.id));
    strcpy(session->record.name, name); /* session_name_check: it fits */
    session->is_new = session->is_held = true;
    session->next = s->first;
    s->first = session;
    return session;
}

void session_drop(struct sessions *s, struct session *session)
{
    struct session **at = &s->first;
    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    session_free(session);
}

int session_hold(struct session *session, uint64_t revision, struct err *err)
{
    const struct record *record = &session->record;
    if (session->is_held)
        return err_set(err, -EAGAIN, "the session is busy: somebody generates in it or changes it");
    if (revision != 0 && revision != record->revision)
        return err_set(err, -EAGAIN,
                       "the session has revision %" PRIu64 " by now, you expected %" PRIu64,
                       record->revision, revision);
    session->is_held = true;
    return 0;
}

static void release(struct session *session)
{
    session->is_held = false;
    session->next_name[0] = '\0';
    session->coming = 0;
}

void session_let_go(struct sessions *s, struct session *session)
{
    release(session);
    if (session->is_new)
        session_drop(s, session);
}

/* ---- changes */
int change_draft(struct change *change, struct session *session, int n_lines)
{
    const struct record *from = &session->record;
    struct record *draft = &change->draft;
    change->session = session;
    *draft = *from;
    if (*session->next_name)
        strcpy(draft->name, session->next_name);
    draft->transcript = (struct transcript){0};
    draft->revision++;
    draft->used_s = (int64_t)time(NULL);
    return transcript_copy(&draft->transcript, &from->transcript,
                           n_lines < 0 ? from->transcript.n : n_lines);
}

/* What is parked goes first: nobody would know of it. */
static int erase(struct change *change)
{
    const struct record *draft = &change->draft;
    struct cabinet *cabinet = change->sessions->cabinet;
    int r = change->porter ? porter_remove(change->porter, draft->uid, draft->id, &change->err) : 0;
    return r == 0 && cabinet ? cabinet_remove(cabinet, draft->uid, draft->id, &change->err) : r;
}

static void on_run(struct clerk_job *job)
{
    struct change *change = (struct change *)job;
    struct cabinet *cabinet = change->sessions->cabinet;
    if (change->make)
        change->code = change->make(change);
    if (change->code == 0 && change->deletes)
        change->code = erase(change);
    if (change->code < 0 || change->deletes)
        return;
    if (cabinet)
        change->is_unkept = cabinet_put(cabinet, &change->draft, &change->err) < 0;
    if (change->lets_go && change->porter) /* or else it stays until it is parked or deleted */
        porter_let_go(change->porter, change->draft.uid, change->draft.id, NULL);
}

static struct engine *engine_of(struct hub *hub, const struct record *record)
{
    struct models_entry *entry = *record->model ? models_find(hub->models, record->model) : NULL;
    return entry ? entry->engine : NULL;
}

uint64_t session_pinned_bytes(struct hub *hub, const struct session *session)
{
    const struct record *record = &session->record;
    struct engine *engine = record->is_pinned ? engine_of(hub, record) : NULL;
    return engine ? engine_pinned_bytes(engine, record->uid, record->id) : 0;
}

static void unpin(struct hub *hub, const struct record *record)
{
    struct engine *engine = record->is_pinned ? engine_of(hub, record) : NULL;
    if (engine)
        engine_unpin(engine, record->uid, record->id);
}

static void commit(struct change *change)
{
    struct session *session = change->session;
    struct sessions *s = change->sessions;
    if (!change->draft.is_pinned)
        unpin(s->hub, &session->record);
    record_fini(&session->record);
    session->record = change->draft;
    change->draft = (struct record){0};
    session->is_new = false;
    strcpy(session->unkept, change->is_unkept ? change->err.text : s->uncabinet);
    if (change->is_unkept)
        hub_complain(s->hub, CAUSE_SESSION, LOG_ABOUT(.peer = &session->record.uid),
                     "a session of uid %u is not on the disk: %s", session->record.uid,
                     change->err.text);
}

static void on_done(struct clerk_job *job)
{
    struct change *change = (struct change *)job;
    struct sessions *s = change->sessions;
    if (change->code == 0 && !change->deletes)
        commit(change);
    release(change->session);
    if (change->code == 0 && change->deletes)
        unpin(s->hub, &change->session->record);
    if (change->session->is_new || (change->code == 0 && change->deletes)) {
        session_drop(s, change->session);
        change->session = NULL;
    }
    change->done(change);
    if (change->free)
        change->free(change);
    record_fini(&change->draft);
    free(change);
}

void change_start(struct sessions *s, struct change *change)
{
    change->sessions = s;
    change->porter = models_porter(s->hub->models);
    change->lets_go = change->session->record.is_parked && !change->draft.is_parked;
    change->job.run = on_run;
    change->job.done = on_done;
    clerk_give(s->clerk, &change->job);
}

/* ---- what is there at the start */
struct reading {
    struct clerk_job job;
    struct sessions *sessions;
    struct session *found;
    uint64_t most_bytes;
    int code;
    struct err err;
};

static int on_found(void *arg, struct record *record)
{
    struct reading *reading = arg;
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return -ENOMEM;
    session->record = *record;
    *record = (struct record){0};
    session->next = reading->found;
    reading->found = session;
    return 0;
}

static void run_reading(struct clerk_job *job)
{
    struct reading *reading = (struct reading *)job;
    reading->code = cabinet_scan(reading->sessions->cabinet, reading->most_bytes, on_found, reading,
                                 &reading->err);
}

/* Two of one name cannot be, but for files that were copied about: then ids are left to go by. */
static void done_reading(struct clerk_job *job)
{
    struct reading *reading = (struct reading *)job;
    struct sessions *s = reading->sessions;
    int n = 0;
    while (reading->found) {
        struct session *session = reading->found;
        reading->found = session->next;
        if (is_taken(s, session->record.uid, session->record.name))
            session->record.name[0] = '\0';
        session->next = s->first;
        s->first = session;
        n++;
    }
    if (reading->code < 0)
        log_warning("service", "%s", reading->err.text);
    if (n > 0)
        log_info("service", "%d sessions are on the disk", n);
    s->is_read = true;
    hub_change(s->hub);
    free(reading);
}

static int read_cabinet(struct sessions *s)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (!reading)
        return -ENOMEM;
    reading->sessions = s;
    reading->most_bytes = s->hub->config.session_bytes;
    reading->job.run = run_reading;
    reading->job.done = done_reading;
    clerk_give(s->clerk, &reading->job);
    return 0;
}

/* ---- birth and death */
static void wake(void *arg)
{
    struct hub *hub = arg;
    hub->again(hub);
}

int sessions_open(struct hub *hub, const char *folder, struct sessions **ret, struct err *err)
{
    OWN(sessions) *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "no memory for sessions");
    s->hub = hub;
    struct err why = {0};
    if (!folder)
        strcpy(s->uncabinet, "the daemon has no folder to keep things in (KeepFolder)");
    else if (cabinet_open(folder, &s->cabinet, &why) < 0) {
        strcpy(s->uncabinet, why.text);
        log_about(LOG_LEVEL_WARNING, "service", LOG_ABOUT(.event = EVENT_DISK),
                  "no session is kept on the disk: %s", why.text);
    }
    int r = clerk_open(wake, hub, &s->clerk, err);
    if (r < 0)
        return r;
    s->is_read = !s->cabinet;
    if (s->cabinet && read_cabinet(s) < 0)
        return err_set(err, -ENOMEM, "no memory for sessions");
    *ret = TAKE(s);
    return 0;
}

void sessions_poll(struct sessions *s)
{
    clerk_poll(s->clerk);
}

bool sessions_are_written(const struct sessions *s)
{
    return clerk_is_idle(s->clerk);
}

bool sessions_are_read(const struct sessions *s)
{
    return s->is_read;
}

void sessions_stop(struct sessions *s)
{
    if (!s)
        return;
    clerk_close(s->clerk);
    s->clerk = NULL;
}

void sessions_free(struct sessions *s)
{
    if (!s)
        return;
    sessions_stop(s);
    cabinet_close(s->cabinet);
    while (s->first) {
        struct session *session = s->first;
        s->first = session->next;
        session_free(session);
    }
    free(s);
}
