/* SPDX-License-Identifier: MIT
 *
 * What the machine offers to workers: the cores this process may use, one processor of each, the
 * memory node each is next to, and how many workers that makes.
 *
 * Read once when a place opens, through hwloc; respects the affinity mask it was started with and
 * the processor time that its control groups leave it.
 *
 * How many workers there are when nobody says: one a performance core, and one an efficiency core
 * too only where fewer than TOPO_FEW_CORES are fast ones (the memory is busy with those, and slow
 * cores make the others wait). Of more than TOPO_FEW_CORES cores one is left to everybody else: the
 * first of the node that has the most. Never more than processors' worth of time are allowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { TOPO_MAX_CORES = 1024, TOPO_MAX_NODES = 64, TOPO_FEW_CORES = 4 };

/* Which classes of cores workers may have. */
enum topo_cores { TOPO_AUTO, TOPO_PERFORMANCE, TOPO_ALL };

struct topo_node {
    int os;             /* the system's number */
    int n_cores;        /* of `cpu` that are next to it */
    uint64_t bytes;     /* of memory */
    uint64_t bandwidth; /* MiB a second from its own cores, where firmware tells; 0: unknown */
};

struct topo {
    int n_cores;                /* that a worker may have */
    int n_workers;              /* that there are by default, on the first of `cpu` */
    int cpu[TOPO_MAX_CORES];    /* a processor of each core, by its system number, in the order in
                                 * which workers take them: one left free is the last */
    int16_t at[TOPO_MAX_CORES]; /* index of the core's node */
    bool slow[TOPO_MAX_CORES];  /* an efficiency core */

    int n_nodes; /* ≥ 1: those that have memory; one without cores is only a place to put things */
    struct topo_node node[TOPO_MAX_NODES];

    /* Why there are no more workers. */
    int n_machine;         /* cores that are there and switched on */
    int n_offline;         /* processors that are switched off */
    int n_slow;            /* of n_cores */
    bool slow_rest;        /* the slow ones get no worker */
    bool left_one;         /* one is left free */
    bool limited;          /* a control group gives no time for more */
    uint64_t cpu_limit;    /* processors' worth of time, in thousandths; 0: not limited */
    char limit_group[128]; /* the control group that says so */
};

int topo_read(enum topo_cores cores, struct topo *ret, struct err *err);

/* What topo_read() does with what it finds, for topologies that somebody made up. */
struct hwloc_topology;
struct hwloc_bitmap_s;
struct topo_limits {
    const struct hwloc_bitmap_s *mask; /* processors this process may use; NULL: all */
    uint64_t cpu_limit;
    const char *limit_group;
    enum topo_cores cores;
};
/* topology NULL: processors are all that is known. */
int topo_make(struct hwloc_topology *topology, const struct topo_limits *limits, struct topo *ret,
              struct err *err);

/* "7 on cores 1-7 of 8; 1 left free", for a place with that many threads. */
void topo_describe(const struct topo *topo, int threads, char *dst, size_t size);
