/* SPDX-License-Identifier: MIT
 *
 * What a process finds at its birth: sockets that a supervisor opened, descriptors that somebody
 * kept for an earlier process, and how those before it ended.
 *
 * Loop thread. Safe mode is for what ends again and again: nothing that was left is trusted, and
 * nothing is loaded until somebody asks, so that there is a daemon to ask.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "sd.h"

struct config;
struct vault;

struct heritage {
    int listener[SD_MAX_LISTENERS];
    int n_listeners;
    struct vault *vault; /* NULL: weights end with the process */
    char folder[256];    /* where births are counted; "": nowhere */
    bool is_safe;        /* safe mode */
    char notice[256];    /* and why, for people; "": all is as ever */
};

/* Negative errno with words if what was handed over cannot be served from. */
int heritage_take(const struct config *config, struct heritage *ret, struct err *err);
/* The process ends as it should, or for a reason that counting does not help. */
void heritage_end(struct heritage *heritage);
