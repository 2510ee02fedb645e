/* SPDX-License-Identifier: MIT
 *
 * A running generation: between an engine's events and the stream that waits for them.
 *
 * Loop thread. Born when the engine has taken the request, freed when its DONE has come and its
 * stream is gone, whichever is later. What the engine says gathers here and leaves as one event
 * whenever the event before it has been written: a slow reader gets fewer and larger ones.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "moed/v1/generate.pb-c.h"
#include "moed/v1/stats.pb-c.h"

struct ask;
struct call;
struct engine;
struct engine_event;
struct hub;
struct turn;

enum { GENERATION_ID_BYTES = 16 };

struct generation;

/**
 * Submit what was asked and send the first event. The call's hooks become the generation's.
 *
 *   ask     taken in any case, and
 *   turn    too: of the session that the answer goes into; NULL: none
 *   returns 0; on failure the call has been failed
 */
int generation_start(struct call *call, int entry, const char *model, struct ask *ask,
                     struct turn *turn);
/* By id, among those of a uid (root sees all); NULL: none. */
struct generation *generation_find(struct hub *hub, const uint8_t *id, uint32_t uid);
/**
 * Cancel it. Its last event still comes, with `finish` unless it ended by itself meanwhile, and
 * then the stream fails with `code` and the words (a literal).
 */
void generation_stop(struct generation *g, int code, Moed__V1__Finish finish, const char *words);
/* An event of an engine. False: its call is not a generation's. */
bool generation_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev);
/* Stops all of a model's. */
void generation_stop_all(struct hub *hub, int entry, int code, const char *words);
/* Frees those whose DONE will never be polled. */
void generation_forget_all(struct hub *hub);
/* The running generations that a uid may see, one after the other; NULL at the end. */
struct generation *generation_next(struct hub *hub, struct generation *after, uint32_t uid);
/* Fills a description that borrows from it. */
void generation_describe(const struct generation *g, Moed__V1__Generation *ret);
