/* SPDX-License-Identifier: MIT
 *
 * What an engine does with the pages of a session: read back, pin, park. And the edit that makes
 * the session what it is then.
 *
 * Loop thread. Born when the engine has taken the request, freed when its DONE has come. The call
 * may go away before: what was begun is done all the same.
 */
#pragma once

struct edit;
struct engine;
struct engine_event;
struct engine_request;
struct hub;

/* Submit a request, whose `care` says what it is for, with the session's tokens as its prompt.
 * Takes it and the edit of the session in any case; the edit's call waits, or has been failed. */
void care_start(struct edit *edit, int entry, struct engine_request *request);
/* An event of an engine; those of other calls are not looked at. */
void care_event(struct hub *hub, const struct engine *engine, const struct engine_event *ev);
/* Cancels all of a model's: their sessions stay as they were. */
void care_stop_all(struct hub *hub, int entry);
/* Frees those whose DONE will never be polled. */
void care_forget_all(struct hub *hub);
