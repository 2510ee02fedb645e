/* SPDX-License-Identifier: MIT
 *
 * The models that are known, in order: behind each entry that callers of models.h hold, what was
 * found of it in a folder and its stay in memory.
 *
 * The loop's. models.c and shelf.c share it; nobody else looks behind an entry.
 */
#pragma once

#include <stdbool.h>

#include "engine/folder.h"
#include "engine/models.h"
#include "engine/residence.h"
#include "model/model.h"

struct known {
    struct models_entry entry; /* first: what callers hold */
    struct model *model;       /* owned; NULL: not open now */
    struct residence residence;

    /* Of a folder: what was found, and what is there since then while the model is open. */
    struct found found, next;
    int folder, next_folder;
    bool has_next, is_seen, failed_to_open;
    struct model_info info; /* stays when the model is shut */
    char kind[32];
};
void known_free(struct known *known);
OWN_DEFINE(known, known_free);

void known_set_state(struct known *known, enum models_state state);
/* Whether it is loaded, or on its way in or out: it stays what it is then. */
bool known_is_in_memory(const struct known *known);
/* What is odd about a model that was just opened. */
void known_warn(const struct known *known);

struct roster {
    struct known **at;
    int n;
};
void roster_fini(struct roster *roster);
/* Takes it; -ENOMEM, and it is still the caller's. */
int roster_enter(struct roster *roster, struct known **known);
/* With those that are gone; NULL: none. */
struct known *roster_find(const struct roster *roster, const char *name);
