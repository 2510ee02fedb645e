/* SPDX-License-Identifier: MIT
 *
 * What the machine offers to workers: the cores this process may use, one processor of each.
 *
 * Read once when a place opens, through hwloc; respects the affinity mask it was started with.
 */
#pragma once

#include "base/err.h"

enum { TOPO_MAX_CORES = 1024 };

struct topo {
    int n_cores;
    int cpu[TOPO_MAX_CORES]; /* the first allowed processor of each core, by its system number */
};

int topo_read(struct topo *ret, struct err *err);
