/* SPDX-License-Identifier: MIT
 *
 * The connection of a verb, and what is said and returned when something fails.
 */
#pragma once

#include "moectl/option.h"
#include "own.h"

OWN_DEFINE(moed, moed_close);
OWN_DEFINE(moed_call, moed_call_free);
OWN_DEFINE(moed_request, moed_request_free);

/* Connects; else says which sockets were tried and the next step, and returns EXIT_NO_DAEMON. */
int link_open(const struct options *o, struct moed **ret);
/* Reports a failure (as an object too with --json) and returns its exit code. */
int link_failed(const struct options *o, const struct moed_error *error);
/* Waits for a call that is started in the same expression: `started` is what starting it returned,
 * hence the pointer to the handle. 0, or the exit code of a failure that has been reported. */
int link_wait(const struct options *o, int started, struct moed_call *const *call,
              struct moed_error *error);
/* "moectl: …" on stderr, safe for a terminal, and EXIT_FAILED. */
int link_error(const struct options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
