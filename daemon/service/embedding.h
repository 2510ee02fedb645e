/* SPDX-License-Identifier: MIT
 *
 * A text that an engine reads to make a vector of it, and the call that waits for that.
 *
 * Loop thread. Born when the engine has taken the request, freed when its DONE has come; the call
 * may go away before, and then it is cancelled.
 */
#pragma once

#include <stdbool.h>

struct call;
struct engine;
struct engine_event;
struct engine_request;
struct hub;

/* Submit a request for an embedding, which is taken in any case. The call's hooks become the
 * embedding's, or it has been failed. */
void embedding_start(struct call *call, int entry, struct engine_request *request, bool normalize);
/* An event of an engine; those of other calls are not looked at. */
void embedding_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev);
/* Fails all of a model's; the words are a literal. */
void embedding_stop_all(struct hub *hub, int entry, int code, const char *words);
/* Frees those whose DONE will never be polled. */
void embedding_forget_all(struct hub *hub);
