/* SPDX-License-Identifier: MIT
 *
 * A turn: what is said in a session and what is answered, until both are in it.
 *
 * Loop thread. A turn holds its session from turn_open() on. Then: turn_parts() into an ask,
 * turn_take() what came of it, the ids of the answer, turn_end(). Whoever has the turn leaves it at
 * any time; what was ended becomes a part of the session all the same.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "moed/v1/generate.pb-c.h"

struct ask;
struct ask_part;
struct hub;
struct session;
struct turn;
struct vocab;

/* -ENOENT no such session; -EAGAIN somebody has it, or not that revision; -EEXIST, -EINVAL,
 * -ENOSPC, -ENOMEM of one that is made. */
int turn_open(struct hub *hub, uint32_t uid, const Moed__V1__InSession *in, struct turn **ret,
              struct err *err);
/* The session's model takes the place of ""; -ENOTSUP: it is another one. */
int turn_model(const struct turn *turn, char *name, size_t size, struct err *err);
/* The bytes that the session holds, and its parts in front of a request's: as many as
 * turn_n_parts(). They live as long as the turn. */
int turn_n_parts(const struct turn *turn);
void turn_parts(const struct turn *turn, struct ask_part *dst);
/* Takes from an ask what the session gets. The model, an entry of the hub, is held from here on.
 * -ENOTSUP: the session's ids are of another vocabulary; -ENOSPC: the user's sessions have no room.
 */
int turn_take(struct turn *turn, int entry, const char *model, const struct vocab *vocab,
              struct ask *ask, struct err *err);
/* What ids of the answer's calls are made of. */
uint64_t turn_call_id(const struct turn *turn);
void turn_token(struct turn *turn, int32_t id);
/**
 * The answer is whole, or was cut; with FINISH_NONE there was none to come. Nothing is added of one
 * without tokens, or that failed.
 *
 *   stop    the string that ended it; NULL: none
 *   done    called when it is in the session, perhaps before this returns
 */
void turn_end(struct turn *turn, Moed__V1__Finish finish, const char *stop, void (*done)(void *arg),
              void *arg);
bool turn_is_over(const struct turn *turn);
/* When it is over: why nothing was added, or not on the disk; NULL: it was. */
const char *turn_unkept(const struct turn *turn);
/* What the session has then; 0: there is none. */
uint64_t turn_revision(const struct turn *turn);
/* Until `done` was called; NULL: there is none. */
struct session *turn_session(const struct turn *turn);
void turn_leave(struct turn *turn);
