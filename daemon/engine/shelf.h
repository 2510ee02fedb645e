/* SPDX-License-Identifier: MIT
 *
 * The models that lie in folders: listed again and again, opened when somebody asks for one, shut
 * when nobody does.
 *
 * The loop's; the folders are read on the finder's thread, one thing at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/finder.h"
#include "engine/roster.h"

struct shelf {
    struct roster *roster;
    struct finder finder;
    unsigned asked, begun, done; /* listings; asked is begun, or one more */
    int looked_into;             /* the model that was opened last, or is being opened */
    int *folder_code;            /* of each, as it was last told */
    uint64_t *told;              /* hashes of the paths that a warning was for */
    size_t n_told;
};

void shelf_init(struct shelf *shelf, struct roster *roster, void (*changed)(void *arg), void *arg);
/* Waits for what runs. */
void shelf_fini(struct shelf *shelf);
/* -ENOMEM. */
int shelf_add(struct shelf *shelf, const char *path, struct err *err);
/* Whether a path is one of these folders'. */
bool shelf_holds(const struct shelf *shelf, const char *path);

/* As models_scan() and its like in models.h. */
unsigned shelf_scan(struct shelf *shelf);
bool shelf_is_scanned(const struct shelf *shelf, unsigned ticket);
int shelf_open(struct shelf *shelf, struct known *known, struct err *err);
void shelf_shut(struct known *known);

/* Takes what the finder reported into the roster; what that was, or FINDER_IDLE. */
enum finder_task shelf_update(struct shelf *shelf);
/* The next thing to look for or into, unless the finder is at work; `last` is what it did last. */
void shelf_go_on(struct shelf *shelf, enum finder_task last);
