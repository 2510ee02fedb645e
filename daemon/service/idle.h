/* SPDX-License-Identifier: MIT
 *
 * Models that nobody has work for give their memory back after a while (entry->idle_ms); who asks
 * for one of them has it loaded again (SEEK_WAKE).
 *
 * Loop thread. Work is what an engine does: looking at a model, or tokenising, keeps it a little
 * from going, but not from being idle. A pinned session keeps its model.
 */
#pragma once

#include "base/err.h"

struct hub;
struct idle;

/* -ENOMEM. One of hub->n_alive until it is closed, in a later turn of the loop. */
int idle_new(struct hub *hub, struct idle **ret, struct err *err);
void idle_close(struct idle *idle);
/* When something has changed: unloads whose time has come, and waits for the next. */
void idle_look(struct idle *idle);
