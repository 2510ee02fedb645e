/* SPDX-License-Identifier: MIT
 *
 * Lines from the user: edited with a history on a terminal, plainly read elsewhere. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct line;

/* Reads the history file, $XDG_STATE_HOME/moed/history; without one it begins empty. */
struct line *line_new(void);
void line_free(struct line *line); /* writes the history */

bool line_is_terminal(const struct line *line);
/* 1: a line without its end, on the heap; 0: the end of input; negative errno. Ctrl-C while
 * editing throws the line away and begins anew. */
int line_read(struct line *line, char **ret, size_t *bytes);
