/* SPDX-License-Identifier: MIT
 *
 * The control groups that this process is in: its own and every one above it, each of which may
 * limit it.
 *
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Calls `look` for each group that this process is in, from the innermost to the root, of version 2
 * and of a version 1 controller ("memory", "cpu"). `folder` holds the group's files, `group` is its
 * name. `root` stands in front of /proc and /sys: "" but for tests. */
void cgroup_walk(const char *root, const char *controller,
                 void (*look)(void *arg, int version, const char *folder, const char *group),
                 void *arg);

/* The first number in a group's file; false where there is none: "max" means no limit. */
bool cgroup_read(const char *folder, const char *file, uint64_t *ret);

/* Processors' worth of time that the tightest group leaves this process, in thousandths; 0 where
 * none limits it. `group` is set to that group's name. */
uint64_t cgroup_cpu_limit(const char *root, char *group, size_t size);
