/* SPDX-License-Identifier: MIT
 *
 * What a generation tells on its stream: events out of what its voices have gathered, and the end.
 * Loop thread.
 */
#pragma once

#include <stdbool.h>

#include "moed/v1/generate.pb-c.h"

struct generation;
struct voice;

/* Sends what waits of an answer; with `is_end` that is its end. */
void telling_event(struct generation *generation, struct voice *voice, bool is_end);
/* The stream is over, by success or failure: the call is gone then. */
void telling_end(struct generation *generation);
/* How an answer ended, and the stop string that ended it; NULL: none did. */
Moed__V1__Finish telling_finish(const struct generation *generation, const struct voice *voice);
char *telling_stop(const struct generation *generation, const struct voice *voice);
