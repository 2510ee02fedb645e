/* SPDX-License-Identifier: MIT
 *
 * The command line of moed. Main thread, before anything else starts.
 */
#pragma once

#include "config.h"

enum { OPTIONS_USAGE = 2, OPTIONS_GO_ON = -1 };

/**
 * Fill the configuration: the file, then the options over it.
 *
 *   check    set if a model file is to be checked instead of served; the configuration waits
 *   returns  OPTIONS_GO_ON, or the exit status: help was printed, or words about what is wrong
 */
int options_read(int argc, char **argv, struct config *config, const char **check);
