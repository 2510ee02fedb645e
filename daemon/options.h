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

/* What is to be done instead of serving. */
struct task {
    int argc; /* all options: those that set keys are applied again with each reload */
    char **argv;
    const char *config;       /* the file to read instead of the standard ones; NULL: none */
    const char *check;        /* look at a model file, whatever the configuration */
    const char *vault_socket; /* hold descriptors for a daemon */
    const char *plan;         /* count what serving it would take */
    bool reserve;             /* set huge pages aside */
    bool show_config;         /* print the configuration */
    bool check_config;        /* and this one only look at it: */
    const char *checked;      /* this file alone; NULL: all that count */
    const char *get;          /* print a key */
    const char *set;          /* "Key=value": write it into a drop-in */
    bool json;
};

/**
 * What the command line asks for.
 *
 *   returns  OPTIONS_GO_ON, or the exit status: help was printed, or words about what is wrong
 */
int options_read(int argc, char **argv, struct task *task);
/* Set the keys that the command line has; a failure is a bad command line. */
int options_apply(const struct task *task, struct config *config, struct err *err);
