/* SPDX-License-Identifier: MIT
 *
 * From the name in a request to the model: at once where it is known, else when the folders have
 * been listed or the file has been opened. Loop thread.
 */
#pragma once

#include <stdbool.h>

struct call;
struct models_entry;
struct payload;

enum { SEEK_NAME_BYTES = 256 };

enum seek_want {
    SEEK_LISTED = 1, /* list the folders first, also if the name is known */
    SEEK_OPEN = 2,   /* with entry->model */
    SEEK_ANYWAY = 4, /* with SEEK_OPEN: also if it cannot be opened; the entry says why */
};

/**
 * Find a model and go on; meanwhile the call's data and hooks are the seeker's, and after that what
 * they were.
 *
 *   name    "" is the first one; NULL: no model is wanted, only the listing
 *   found   gets the entry (NULL without a name), now or in a later turn; not called if the call
 * has been failed: NOT_FOUND, or FAILED_PRECONDITION where its file cannot be opened
 */
void seek(struct call *call, const char *name, unsigned want,
          void (*found)(struct call *call, struct models_entry *entry));
/* The name that the first field of a request gives its model, "" without one. False: it is no name,
 * or this no message, and the call has been failed. */
bool seek_name(struct call *call, const struct payload *request, char ret[SEEK_NAME_BYTES]);
