/* SPDX-License-Identifier: MIT
 *
 * The search for a model by its name: at once where it is known, else when the folders have been
 * listed or its file has been opened. Loop thread; who searches looks again at each hub_change().
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct hub;
struct models_entry;

enum { SEEK_NAME_BYTES = 256 };

enum quest_want {
    SEEK_LISTED = 1, /* list the folders first, also if the name is known */
    SEEK_OPEN = 2,   /* with entry->model */
    SEEK_ANYWAY = 4, /* with SEEK_OPEN: also if it cannot be opened; the entry says why */
    SEEK_WAKE = 8,   /* one that rests is opened, and loads when it is found */
};

struct quest {
    struct hub *hub;
    unsigned want, ticket;
    bool is_listing, was_listed; /* waits for the ticket; has waited */
    bool was_opened;             /* tried to, once */
    bool has_name;
    char name[SEEK_NAME_BYTES];
};

/* `name`: "" is the first model; NULL: none is wanted, only the listing. -ENOENT: too long for one.
 */
int quest_begin(struct quest *quest, struct hub *hub, const char *name, unsigned want,
                struct err *err);
/* 0: here it is (NULL without a name). -EINPROGRESS: not yet; -ENOENT: there is none; -EUNATCH: its
 * file cannot be opened. */
int quest_go_on(struct quest *quest, struct models_entry **ret, struct err *err);
