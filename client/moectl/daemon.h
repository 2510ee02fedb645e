/* SPDX-License-Identifier: MIT
 *
 * Running the program moed, as the user and in our place, for what needs no daemon. One thread.
 */
#pragma once

struct options;

/* Becomes `moed WORDS...`, ended by NULL; returns an exit code if there is no such program. */
int daemon_become(const struct options *o, const char *const *words);
