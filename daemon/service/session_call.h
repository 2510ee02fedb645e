/* SPDX-License-Identifier: MIT
 *
 * What the methods of sessions share: requests, the sessions they name, and edits, which are
 * changes with a call that waits for them. Loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "moed/v1/session.pb-c.h"
#include "service/call.h"
#include "service/session.h"

struct model;
struct models_entry;

struct session_view {
    Moed__V1__Session message;
    char id[RECORD_ID_DIGITS + 1];
};
/* Borrows from the session. What is zero or false is left out: lists are bounded by their fields.
 */
void session_view(struct hub *hub, const struct session *session, struct session_view *ret);
void session_reply(struct call *call, const struct session *session);
void session_fail(struct call *call, int code, const struct err *err);

/* Unpacks a request and serves it, as soon as it is known what lies on the disk. */
void session_serve(struct call *call, struct payload *payload,
                   const ProtobufCMessageDescriptor *type,
                   void (*then)(struct call *call, const ProtobufCMessage *request));
/* A session of the caller's; NULL: the call has failed. */
struct session *session_wanted(struct call *call, const char *which);
/* Holds it; false: the call has failed. */
bool session_take(struct call *call, struct session *session, uint64_t revision);

struct edit {
    struct change change;
    struct call *call; /* NULL: nobody waits any more */
    /* for a change.make: the line that is cut, after its first n_kept ids */
    struct line *cut;
    size_t n_kept;
    struct hub *hub;
    int entry; /* of the model that is held for it, or negative */
    const struct model *model;
    bool is_new; /* the session is made with it */
};
struct edit *edit_new(struct call *call); /* NULL: no memory */
void edit_free(struct edit *edit);        /* of one that was not started */
OWN_DEFINE(edit, edit_free);
/* The draft becomes that of a new session, which is dropped if the edit does not start. */
int edit_add(struct edit *edit, const char *name, uint64_t bytes, struct err *err);
/* One of the first lines (-1: all) of a session that is taken; NULL: the call has failed, and the
 * session is let go. */
struct edit *edit_of(struct call *call, struct session *session, int n_lines);
/* Of a session that is taken, and is let go. */
void edit_give_up(struct edit *edit);
/* Holds a model for it, until it is through. */
void edit_hold(struct edit *edit, const struct models_entry *entry);
/* The call hangs on it: its data and hooks are the edit's. */
void edit_wait(struct edit *edit);
/* The call, if it waits still, does so until it is through, and is answered with the session. */
void edit_start(struct edit *edit);
