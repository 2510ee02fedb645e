/* SPDX-License-Identifier: MIT
 *
 * The clerk: a thread that writes up sessions, one thing after the other, so that neither the loop
 * nor a helper waits for a disk.
 *
 * Loop thread, but for the `run` functions, which are on his, and see nothing but their job.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/own.h"

struct clerk;

struct clerk_job { /* the first member of what the caller allocated */
    struct clerk_job *next;
    void (*run)(struct clerk_job *job);
    void (*done)(struct clerk_job *job); /* on the loop, always; frees it */
};

/* `wake` is called on the clerk's thread when something is done: call clerk_poll() on the loop. */
int clerk_open(void (*wake)(void *arg), void *arg, struct clerk **ret, struct err *err);
/* Waits for all that was given to him. */
void clerk_close(struct clerk *clerk);
OWN_DEFINE(clerk, clerk_close);
void clerk_give(struct clerk *clerk, struct clerk_job *job);
/* Whether all that was given to him is done, and told. */
bool clerk_is_idle(const struct clerk *clerk);
/* Calls what is done; whether there was any. */
bool clerk_poll(struct clerk *clerk);
