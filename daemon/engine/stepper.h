/* SPDX-License-Identifier: MIT
 *
 * What the engine's thread does: it takes requests in, steps their sequences together, and tells
 * what comes of it.
 *
 * A step has rows that the scheduler chooses; they pass through the model op by op, and other steps
 * between them; of each sequence whose last row is among them a token is drawn. Opened on any
 * thread, used on the engine's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "engine/engine.h"

struct outbox;
struct pins;
struct slots;
struct stepper;

/* `wake` says, on some thread, that the porter brings something. */
int stepper_open(struct model *model, struct place *place, const struct engine_config *config,
                 struct slots *slots, struct outbox *outbox, void (*wake)(void *arg), void *arg,
                 struct stepper **ret, struct err *err);
/* Nobody may be left: see stepper_end(). */
void stepper_close(struct stepper *stepper);
OWN_DEFINE(stepper, stepper_close);

/* Takes the request, whatever happens. */
void stepper_accept(struct stepper *stepper, uint64_t call, struct engine_request *request,
                    uint64_t submitted_ns);
/* Ends who was cancelled or would wait too long, and goes on until a step is done, or it is time to
 * look around; false: there was nothing to compute. */
bool stepper_step(struct stepper *stepper);
/* With nothing to compute: has something kept if it is time for that, and says until when one may
 * sleep. */
uint64_t stepper_rest(struct stepper *stepper);
/* Goes on with keeping what is not kept yet; false: it is all there. */
bool stepper_save(struct stepper *stepper);
/* The same between steps, of talks that nobody goes on with; what failed is not tried before its
 * time. */
bool stepper_flush(struct stepper *stepper);
/* Ends all that are left; the porter no longer matters. */
void stepper_end(struct stepper *stepper);

/* Any thread: */
/* There is something to accept, or to look at: before the step is done. */
void stepper_nudge(struct stepper *stepper);
/* Memory is so short; whether that is news. What the rung asks for is given back between steps and
 * at rest. */
bool stepper_press(struct stepper *stepper, enum rung rung);
int stepper_context(
    const struct stepper *stepper); /* tokens: the model's, or what the cache holds */
struct pins *stepper_pins(struct stepper *stepper);
const struct meters *stepper_meters(const struct stepper *stepper);
struct usage *stepper_usage(const struct stepper *stepper);  /* NULL: no experts */
uint64_t stepper_end_pace_ns(const struct stepper *stepper); /* from one end to the next; 0: none */
void stepper_stat(const struct stepper *stepper, struct engine_stat *ret);
const void *stepper_cache(const struct stepper *stepper, size_t *bytes);
