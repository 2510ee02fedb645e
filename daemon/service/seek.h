/* SPDX-License-Identifier: MIT
 *
 * A call's search for the model that its request names. Loop thread.
 */
#pragma once

#include <stdbool.h>

#include "service/quest.h"

struct call;
struct payload;

/**
 * Find a model and go on; meanwhile the call's data and hooks are the seeker's, and after that what
 * they were.
 *
 *   name    as in quest_begin(); `want` is of enum quest_want
 *   found   gets the entry (NULL without a name), now or in a later turn; not called if the call
 * has been failed: NOT_FOUND, or FAILED_PRECONDITION where its file cannot be opened
 */
void seek(struct call *call, const char *name, unsigned want,
          void (*found)(struct call *call, struct models_entry *entry));
/* The name that the first field of a request gives its model, "" without one. False: it is no name,
 * or this no message, and the call has been failed. */
bool seek_name(struct call *call, const struct payload *request, char ret[SEEK_NAME_BYTES]);
