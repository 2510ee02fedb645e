/* SPDX-License-Identifier: MIT
 *
 * What `systemctl status` shows of the models. Pure.
 */
#pragma once

#include <stddef.h>

struct models_entry;

/* Appends what there is to say of a model to the line, "; " between two. Nothing of one that only
 * lies in a folder; nor of one that the line has no room for. */
void summary_add(const struct models_entry *entry, char *line, size_t size);
