/* SPDX-License-Identifier: MIT
 *
 * Setting memory aside in huge pages, which weights then lie in: what root does once at boot,
 * before the daemon, who may not, starts. Main thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/**
 * Have at least this much in pages of 2 MiB, as much on each node of memory; never less than there
 * is by now. Says in the log what each node gave.
 *
 *   nodes   "/sys/devices/system/node", or what looks like it
 *   fails   -ENOMEM  a node gave less than its share, which stays; the words say how much
 *           what opening and writing say: -ENOENT, where the machine has no such pages
 */
int huge_reserve(const char *nodes, uint64_t bytes, struct err *err);
