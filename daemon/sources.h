/* SPDX-License-Identifier: MIT
 *
 * Which files make up a configuration: a main file and its drop-ins, as systemd orders them.
 *
 * Of several folders the first that has the main file gives it. Then come the files *.conf in
 * NAME.d of all folders, sorted by their names; of two with one name the one in the earlier folder
 * counts, so that an empty file, or a link to /dev/null, hides another. What is read later
 * overrules. Main thread.
 */
#pragma once

#include "base/err.h"

struct config;

struct sources {
    char **paths; /* in the order in which they are read */
    int n;
};

/**
 * Look for NAME and NAME.d in folders, the most important one first.
 *
 *   ret     empty if there is nothing
 *   fails   -EACCES and its like: there is a folder, and it can't be listed; -ENOMEM
 */
int sources_find(const char *const *folders, int n_folders, const char *name, struct sources *ret,
                 struct err *err);
void sources_fini(struct sources *sources);
