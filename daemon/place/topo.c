/* SPDX-License-Identifier: MIT */
#include "place/topo.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "place/cgroup.h"

/* ------------------------------------------------------------------ nodes */

static uint64_t bandwidth_of(hwloc_topology_t topology, hwloc_obj_t node)
{
    struct hwloc_location near = {.type = HWLOC_LOCATION_TYPE_CPUSET,
                                  .location.cpuset = node->cpuset};
    hwloc_uint64_t value;
    if (hwloc_bitmap_iszero(node->cpuset) ||
        hwloc_memattr_get_value(topology, HWLOC_MEMATTR_ID_BANDWIDTH, node, &near, 0, &value) < 0)
        return 0;
    return value;
}

/* Nodes whose memory this process may have. */
static void read_nodes(hwloc_topology_t topology, struct topo *ret)
{
    hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(topology);
    int n = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
    for (int i = 0; i < n && ret->n_nodes < TOPO_MAX_NODES; i++) {
        hwloc_obj_t node = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, (unsigned)i);
        if (node->attr->numanode.local_memory > 0 &&
            hwloc_bitmap_isset(allowed, (unsigned)node->os_index))
            ret->node[ret->n_nodes++] = (struct topo_node){
                .os = (int)node->os_index,
                .bytes = node->attr->numanode.local_memory,
                .bandwidth = bandwidth_of(topology, node),
            };
    }
}

static int node_index(const struct topo *topo, unsigned os)
{
    for (int i = 0; i < topo->n_nodes; i++)
        if (topo->node[i].os == (int)os)
            return i;
    return -1;
}

/* The node with memory that is the nearest to one without, by what firmware says. */
static int nearest(hwloc_topology_t topology, const struct topo *topo, hwloc_obj_t from)
{
    struct hwloc_distances_s *distances;
    unsigned n = 1;
    int best = -1;
    if (!from ||
        hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &n, &distances,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) < 0 ||
        n == 0)
        return -1;
    int row = hwloc_distances_obj_index(distances, from);
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; row >= 0 && i < distances->nbobjs; i++) {
        int there = distances->objs[i] ? node_index(topo, distances->objs[i]->os_index) : -1;
        uint64_t far = distances->values[(unsigned)row * distances->nbobjs + i];
        if (there >= 0 && far < least) {
            least = far;
            best = there;
        }
    }
    hwloc_distances_release(topology, distances);
    return best;
}

/* Where the core's memory is. Without any of its own: where it is near, else where few cores are.
 */
static int node_of(hwloc_topology_t topology, const struct topo *topo, hwloc_obj_t core)
{
    int os = -1;
    while ((os = hwloc_bitmap_next(core->nodeset, os)) >= 0) {
        int there = node_index(topo, (unsigned)os);
        if (there >= 0)
            return there;
    }
    os = hwloc_bitmap_first(core->nodeset);
    int best = os < 0 ? -1
                      : nearest(topology, topo,
                                hwloc_get_numanode_obj_by_os_index(topology, (unsigned)os));
    if (best >= 0)
        return best;
    best = 0;
    for (int i = 1; i < topo->n_nodes; i++)
        if (topo->node[i].n_cores < topo->node[best].n_cores)
            best = i;
    return best;
}

/* ------------------------------------------------------------------ cores */

static bool is_slow(hwloc_topology_t topology, hwloc_obj_t core)
{
    int kinds = hwloc_cpukinds_get_nr(topology, 0), efficiency;
    if (kinds < 2)
        return false;
    int kind = hwloc_cpukinds_get_by_cpuset(topology, core->cpuset, 0);
    /* The larger, the faster and the thirstier; -1 where nobody knows an order. */
    return kind >= 0 &&
           hwloc_cpukinds_get_info(topology, kind, NULL, &efficiency, NULL, NULL, 0) == 0 &&
           efficiency >= 0 && efficiency < kinds - 1;
}

static void add_core(struct topo *ret, int cpu, int node, bool slow)
{
    ret->cpu[ret->n_cores] = cpu;
    ret->at[ret->n_cores] = (int16_t)node;
    ret->slow[ret->n_cores++] = slow;
    ret->n_slow += slow;
    ret->node[node].n_cores++;
}

static void read_cores(hwloc_topology_t topology, const struct topo_limits *limits,
                       struct topo *ret)
{
    hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topology);
    hwloc_const_cpuset_t complete = hwloc_topology_get_complete_cpuset(topology);
    hwloc_const_cpuset_t online = hwloc_topology_get_topology_cpuset(topology);
    ret->n_offline = hwloc_bitmap_weight(complete) - hwloc_bitmap_weight(online);
    ret->n_machine = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    for (int slow = 0; slow < 2; slow++) /* fast ones first */
        for (int i = 0; i < ret->n_machine && ret->n_cores < TOPO_MAX_CORES; i++) {
            hwloc_obj_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i);
            int cpu = -1;
            while ((cpu = hwloc_bitmap_next(core->cpuset, cpu)) >= 0)
                if (hwloc_bitmap_isset(allowed, (unsigned)cpu) &&
                    (!limits->mask || hwloc_bitmap_isset(limits->mask, (unsigned)cpu)))
                    break;
            if (cpu >= 0 && is_slow(topology, core) == slow)
                add_core(ret, cpu, node_of(topology, ret, core), slow);
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
            add_core(ret, cpu, 0, false);
    ret->n_machine = ret->n_cores;
}

/* ------------------------------------------------------------------ workers */

/* The first fast core of the node that has the most goes to the end. */
static void leave_one(struct topo *t, int n_fast)
{
    int count[TOPO_MAX_NODES] = {0}, first = 0;
    for (int i = 0; i < n_fast; i++)
        count[t->at[i]]++;
    for (int i = 1; i < n_fast; i++)
        if (count[t->at[i]] > count[t->at[first]])
            first = i;
    int cpu = t->cpu[first], last = t->n_cores - 1;
    int16_t at = t->at[first];
    bool slow = t->slow[first];
    for (int i = first; i < last; i++) {
        t->cpu[i] = t->cpu[i + 1];
        t->at[i] = t->at[i + 1];
        t->slow[i] = t->slow[i + 1];
    }
    t->cpu[last] = cpu;
    t->at[last] = at;
    t->slow[last] = slow;
    t->left_one = true;
}

static void count_workers(struct topo *t, enum topo_cores cores)
{
    int n_fast = t->n_cores - t->n_slow;
    t->slow_rest = t->n_slow > 0 && n_fast > 0 &&
                   (cores == TOPO_PERFORMANCE || (cores == TOPO_AUTO && n_fast >= TOPO_FEW_CORES));
    t->n_workers = t->slow_rest ? n_fast : t->n_cores;
    /* Where slow cores rest, everybody else has those. */
    if (!t->slow_rest && t->n_workers > TOPO_FEW_CORES) {
        leave_one(t, n_fast > 0 ? n_fast : t->n_cores);
        t->n_workers--;
    }
    /* Part of a processor is none: a worker that is stopped in a step stops all of them. */
    uint64_t limit = t->cpu_limit / 1000;
    t->limited = t->cpu_limit && limit < (uint64_t)t->n_workers;
    if (t->limited)
        t->n_workers = limit > 0 ? (int)limit : 1;
}

int topo_make(struct hwloc_topology *topology, const struct topo_limits *limits, struct topo *ret,
              struct err *err)
{
    *ret = (struct topo){.cpu_limit = limits->cpu_limit};
    snprintf(ret->limit_group, sizeof ret->limit_group, "%s",
             limits->limit_group ? limits->limit_group : "");
    for (char *c = ret->limit_group; *c; c++) /* for people: names are what somebody chose */
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (topology)
        read_nodes(topology, ret);
    if (ret->n_nodes == 0)
        ret->n_nodes = 1; /* of which nobody knows more */
    if (topology)
        read_cores(topology, limits, ret);
    if (ret->n_machine == 0)
        read_processors(ret);
    if (ret->n_cores == 0)
        return err_set(err, -ENODEV, "there is no processor that this process may use");
    count_workers(ret, limits->cores);
    return 0;
}

int topo_read(enum topo_cores cores, struct topo *ret, struct err *err)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) < 0)
        return err_set(err, -ENOMEM, "cannot read the machine's topology: out of memory");
    /* With what others have, so that we can say how much that is. */
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    bool loaded = hwloc_topology_load(topology) == 0;
    char group[sizeof ret->limit_group];
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();
    struct topo_limits limits = {
        .cpu_limit = cgroup_cpu_limit("", group, sizeof group),
        .limit_group = group,
        .cores = cores,
    };
    if (loaded && mask && hwloc_get_cpubind(topology, mask, HWLOC_CPUBIND_THREAD) == 0)
        limits.mask = mask;
    int r = topo_make(loaded ? topology : NULL, &limits, ret, err);
    hwloc_bitmap_free(mask);
    hwloc_topology_destroy(topology);
    return r;
}

/* ------------------------------------------------------------------ words */

struct text {
    char *dst;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->dst + t->used, t->size - t->used, format, args);
    va_end(args);
    t->used += n > 0 ? (size_t)n : 0;
    if (t->used >= t->size)
        t->used = t->size - 1;
}

/* "1-7,12": the first n of the order, by number. */
static void say_cores(struct text *text, const struct topo *t, int n)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    char list[256] = "";
    for (int i = 0; set && i < n; i++)
        hwloc_bitmap_set(set, (unsigned)t->cpu[i]);
    if (set)
        hwloc_bitmap_list_snprintf(list, sizeof list, set);
    hwloc_bitmap_free(set);
    say(text, "%s", list);
}

void topo_describe(const struct topo *t, int threads, char *dst, size_t size)
{
    struct text text = {.dst = dst, .size = size};
    int n = threads < t->n_cores ? threads : t->n_cores;
    say(&text, "%d on processor%s ", threads, n == 1 ? "" : "s");
    say_cores(&text, t, n);
    say(&text, ", of %d core%s", t->n_machine, t->n_machine == 1 ? "" : "s");
    if (t->n_offline)
        say(&text, "; %d processor%s switched off", t->n_offline, t->n_offline == 1 ? "" : "s");
    if (t->n_cores < t->n_machine)
        say(&text, "; %d not allowed by the affinity mask or cpuset", t->n_machine - t->n_cores);
    if (threads != t->n_workers) {
        say(&text, "; Threads=%d was asked for, %d would be the default", threads, t->n_workers);
        return;
    }
    if (t->slow_rest)
        say(&text, "; %d efficiency core%s left to others", t->n_slow, t->n_slow == 1 ? "" : "s");
    else if (t->n_slow)
        say(&text, "; %d of the cores are efficiency cores", t->n_slow);
    if (t->left_one && !t->limited)
        say(&text, "; 1 left free");
    if (t->limited)
        say(&text, "; cgroup %s allows %.1f processors", t->limit_group,
            (double)t->cpu_limit / 1000);
}
