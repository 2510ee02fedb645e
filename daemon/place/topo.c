/* SPDX-License-Identifier: MIT */
#include "place/topo.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdbool.h>

static void read_cores(hwloc_topology_t topology, struct topo *ret)
{
    cpu_set_t allowed;
    bool masked = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
    int n = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    for (int i = 0; i < n && ret->n_cores < TOPO_MAX_CORES; i++) {
        hwloc_obj_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i);
        int cpu = -1;
        while ((cpu = hwloc_bitmap_next(core->cpuset, cpu)) >= 0)
            if (!masked || (cpu < CPU_SETSIZE && CPU_ISSET(cpu, &allowed)))
                break;
        if (cpu >= 0)
            ret->cpu[ret->n_cores++] = cpu;
    }
}

/* Without /sys (a bare container) hwloc knows no cores: then every processor counts as one. */
static void read_processors(struct topo *ret)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE && ret->n_cores < TOPO_MAX_CORES; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            ret->cpu[ret->n_cores++] = cpu;
}

int topo_read(struct topo *ret, struct err *err)
{
    *ret = (struct topo){0};
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) < 0)
        return err_set(err, -ENOMEM, "cannot read the machine's topology: out of memory");
    if (hwloc_topology_load(topology) == 0)
        read_cores(topology, ret);
    hwloc_topology_destroy(topology);
    if (ret->n_cores == 0)
        read_processors(ret);
    if (ret->n_cores == 0)
        return err_set(err, -ENODEV, "there is no processor that this process may use");
    return 0;
}
