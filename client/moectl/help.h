/* SPDX-License-Identifier: MIT
 *
 * What moectl says of itself: on the terminal, as a manual page, as completions. One thread.
 */
#pragma once

struct options;

/* Help of the verb, or of the program if there is none, on stdout, in the form that was asked for.
 * Returns an exit code. */
int help_print(const struct options *o);
