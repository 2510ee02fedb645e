/* SPDX-License-Identifier: MIT
 *
 * The sessions of all users, and how one becomes its next revision.
 *
 * Loop thread. A session that is held may be changed by its holder alone. A change is made on the
 * clerk's thread out of a draft, written to the disk there if there is a cabinet, and holds from
 * then on: who was told of it finds it again after a crash.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "service/clerk.h"
#include "service/record.h"

struct hub;
struct porter;
struct sessions;

struct session {
    struct session *next;
    struct record record;
    bool is_held;
    char next_name[RECORD_MOST_NAME + 1]; /* while it is held, perhaps; nobody else may take it */
    uint64_t coming;                      /* bytes that the holder may add: they count as there */
    bool is_new;                          /* its first change is not through: nobody else sees it */
    char
        unkept[sizeof(((struct err *)0)->text)]; /* why it is not on the disk as it is; "": it is */
};

/* Starts the clerk, who first reads what is in the folder. A folder that cannot be used is
 * complained about, and then sessions last as long as the daemon; so they do with NULL. */
int sessions_open(struct hub *hub, const char *folder, struct sessions **ret, struct err *err);
/* Waits for the clerk; what he did is told. Sessions stay, for who holds them. */
void sessions_stop(struct sessions *sessions);
void sessions_free(struct sessions *sessions);
OWN_DEFINE(sessions, sessions_free);
/* Takes what the clerk did. */
void sessions_poll(struct sessions *sessions);
/* Whether the clerk is through with all changes: what is kept is on the disk. */
bool sessions_are_written(const struct sessions *sessions);
/* Whether those on the disk are known; when they are, calls hear that something changed. */
bool sessions_are_read(const struct sessions *sessions);

/* By name or id; NULL: none. */
struct session *session_find(struct sessions *sessions, uint32_t uid, const char *which);
/* A user's, one after the other, in no order: NULL gives the first, and is what follows the last.
 */
struct session *session_next(struct sessions *sessions, uint32_t uid, struct session *after);
/* -ENOSPC: the user has as many as he may have, or so much in them, or coming, that `bytes` more do
 * not fit. */
int session_room(struct sessions *sessions, uint32_t uid, bool one_more, uint64_t bytes,
                 struct err *err);
/* The same of a session that is held, and if they fit they are coming. */
int session_expect(struct sessions *sessions, struct session *session, uint64_t bytes,
                   struct err *err);
/* -EEXIST, -EINVAL: another session has the name, or it is none. "" is for any. */
int session_name_check(struct sessions *sessions, uint32_t uid, const char *name, struct err *err);
/* A new one, held; session_drop() it if nothing comes of it. NULL: no memory. */
struct session *session_add(struct sessions *sessions, uint32_t uid, const char *name);
void session_drop(struct sessions *sessions, struct session *session);
/* -EAGAIN: somebody else holds it, or it is not at that revision (0: any) any more. */
int session_hold(struct session *session, uint64_t revision, struct err *err);
/* A new one that is let go was never there. */
void session_let_go(struct sessions *sessions, struct session *session);

/* A change of a held session; freed when it is through. Zeroed, then filled by the caller. */
struct change {
    struct clerk_job job;
    struct sessions *sessions;
    struct session *session;
    struct record draft; /* what it becomes */
    bool deletes;
    struct porter *porter; /* NULL: nothing is parked */
    bool lets_go;          /* of what was */
    int code;              /* negative errno: it stays as it was, and why */
    struct err err;
    bool is_unkept; /* it became that, but not on the disk, and err says why */
    /* On the clerk's thread: finishes the draft, or says in `err` why not; NULL: it is finished. */
    int (*make)(struct change *change);
    /* On the loop. The session is no longer held, and NULL if it was deleted, or new and failed. */
    void (*done)(struct change *change);
    void (*free)(struct change *change); /* then: what it holds, not itself; NULL: nothing */
};
/* What an engine has of it, pinned; 0: nothing, now. */
uint64_t session_pinned_bytes(struct hub *hub, const struct session *session);
/* Begins the draft of a change: the session's first n lines, or all (-1). -ENOMEM */
int change_draft(struct change *change, struct session *session, int n_lines);
void change_start(struct sessions *sessions, struct change *change);
