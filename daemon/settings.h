/* SPDX-License-Identifier: MIT
 *
 * The configuration for an administrator: shown with where each value comes from, and changed.
 * Main thread; nothing is served then.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

struct config;
struct config_key;

/* All keys as a file that would say the same, with where each was said; as JSON an object a line.
 */
void settings_print(const struct config *config, bool json, FILE *file);
/* The value of one, a line for each of a list; where it was said goes to `where`. */
void settings_print_key(const struct config *config, const struct config_key *key, bool json,
                        FILE *file, FILE *where);

/**
 * Set one key in a drop-in file, which is made if need be, and replaced whole or not at all.
 *
 *   path    of the drop-in; its folder is made too. What it sets already stays, its comments do not
 *   fails   -EINVAL a value that the key does not take, or that a file cannot hold; what writing
 * said
 */
int settings_write(const char *path, const struct config_key *key, const char *value,
                   struct err *err);
