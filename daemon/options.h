/* SPDX-License-Identifier: MIT
 *
 * The command line of moed. Main thread, before anything else starts.
 */
#pragma once

#include <stdbool.h>

#include "config.h"

enum { OPTIONS_USAGE = 2, OPTIONS_GO_ON = -1 };

struct options_row {
    int value;
    const char *name, *argument, *words; /* argument NULL: none; "[FORM]": may stand behind "=" */
};
extern const struct options_row options_own[]; /* those that set no key; ended by no name */

/* What is to be done with a file instead of serving. */
struct task {
    const char *check; /* look at it, whatever the configuration */
    const char *plan;  /* count what serving it would take */
    bool json;
};

/**
 * Fill the configuration: the file, then the options over it.
 *
 *   task     set if a model file is to be checked or counted instead of served
 *   returns  OPTIONS_GO_ON, or the exit status: help was printed, or words about what is wrong
 */
int options_read(int argc, char **argv, struct config *config, struct task *task);
