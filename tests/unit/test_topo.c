/* SPDX-License-Identifier: MIT
 *
 * Which cores get workers, on machines that hwloc makes up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <hwloc.h>
#include <string.h>

#include "place/topo.h"

static hwloc_topology_t machine(const char *description)
{
    hwloc_topology_t t;
    assert_int_equal(hwloc_topology_init(&t), 0);
    assert_int_equal(hwloc_topology_set_synthetic(t, description), 0);
    assert_int_equal(hwloc_topology_load(t), 0);
    return t;
}

static hwloc_obj_t numa(hwloc_topology_t t, unsigned i)
{
    return hwloc_get_obj_by_type(t, HWLOC_OBJ_NUMANODE, i);
}

static struct topo make(hwloc_topology_t t, struct topo_limits limits)
{
    struct topo topo;
    struct err err;
    assert_int_equal(topo_make(t, &limits, &topo, &err), 0);
    hwloc_topology_destroy(t);
    int seen = 0;
    for (int i = 0; i < topo.n_nodes; i++)
        seen += topo.node[i].n_cores;
    assert_int_equal(seen, topo.n_cores);
    assert_in_range(topo.n_workers, 1, topo.n_cores);
    return topo;
}

static void expect_words(const struct topo *t, int threads, const char *words)
{
    char text[768];
    topo_describe(t, threads, text, sizeof text);
    assert_string_equal(text, words);
}

static void few_cores_all_work(void **state)
{
    (void)state;
    struct topo t = make(machine("numa:1 core:2 pu:1"), (struct topo_limits){0});
    assert_int_equal(t.n_workers, 2);
    assert_int_equal(t.n_nodes, 1);
    expect_words(&t, 2, "2 on processors 0-1, of 2 cores");
    expect_words(&t, 1,
                 "1 on processor 0, of 2 cores; Threads=1 was asked for, 2 would be the "
                 "default");
    t = make(machine("numa:1 core:4 pu:1"), (struct topo_limits){0});
    assert_int_equal(t.n_workers, 4);
    t = make(machine("numa:1 core:1 pu:1"), (struct topo_limits){0});
    expect_words(&t, 1, "1 on processor 0, of 1 core");
}

static void of_many_cores_one_is_left(void **state)
{
    (void)state;
    struct topo t = make(machine("numa:1 core:8 pu:1"), (struct topo_limits){0});
    assert_int_equal(t.n_workers, 7);
    assert_int_equal(t.n_cores, 8);
    assert_int_equal(t.cpu[7], 0);
    expect_words(&t, 7, "7 on processors 1-7, of 8 cores; 1 left free");
    expect_words(&t, 8,
                 "8 on processors 0-7, of 8 cores; Threads=8 was asked for, 7 would be the "
                 "default");
    expect_words(&t, 12,
                 "12 on processors 0-7, of 8 cores; Threads=12 was asked for, 7 would be "
                 "the default");
}

static void siblings_share_a_worker(void **state)
{
    (void)state;
    struct topo t = make(machine("numa:1 core:4 pu:2"), (struct topo_limits){0});
    assert_int_equal(t.n_workers, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(t.cpu[i], 2 * i);

    hwloc_bitmap_t odd = hwloc_bitmap_alloc(); /* the second thread of two of the cores */
    hwloc_bitmap_set(odd, 3);
    hwloc_bitmap_set(odd, 7);
    t = make(machine("numa:1 core:4 pu:2"), (struct topo_limits){.mask = odd});
    hwloc_bitmap_free(odd);
    assert_int_equal(t.n_workers, 2);
    assert_int_equal(t.cpu[0], 3);
    expect_words(&t, 2,
                 "2 on processors 3,7, of 4 cores; 2 not allowed by the affinity mask or "
                 "cpuset");
}

static void cores_know_their_node(void **state)
{
    (void)state;
    for (int nodes = 2; nodes <= 8; nodes *= 2) {
        char text[64];
        snprintf(text, sizeof text, "numa:%d(memory=1GB) core:6 pu:1", nodes);
        struct topo t = make(machine(text), (struct topo_limits){0});
        assert_int_equal(t.n_nodes, nodes);
        assert_int_equal(t.n_workers, nodes * 6 - 1);
        for (int i = 0; i < t.n_cores; i++)
            assert_int_equal(t.at[i], t.cpu[i] / 6);
        assert_int_equal(t.cpu[t.n_cores - 1], 0);
        for (int i = 0; i < nodes; i++)
            assert_int_equal(t.node[i].bytes, 1000000000);
    }
}

static void the_larger_node_leaves_one(void **state)
{
    (void)state;
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(mask, 2, 11); /* 4 of the first node, 6 of the second */
    struct topo t = make(machine("numa:2 core:6 pu:1"), (struct topo_limits){.mask = mask});
    hwloc_bitmap_free(mask);
    assert_int_equal(t.n_workers, 9);
    assert_int_equal(t.cpu[9], 6);
    assert_int_equal(t.node[0].n_cores, 4);
    assert_int_equal(t.node[1].n_cores, 6);
}

static void a_node_without_memory_is_none(void **state)
{
    (void)state;
    hwloc_topology_t topology = machine("numa:3(memory=1GB) core:2 pu:1");
    numa(topology, 1)->attr->numanode.local_memory = 0;
    struct topo t = make(topology, (struct topo_limits){0});
    assert_int_equal(t.n_nodes, 2);
    assert_int_equal(t.node[1].os, 2);
    assert_int_equal(t.n_cores, 6); /* its cores work, for a node that has some */
    assert_int_equal(t.node[1].n_cores, 4);

    topology = machine("numa:3(memory=1GB) core:2 pu:1");
    numa(topology, 1)->attr->numanode.local_memory = 0;
    hwloc_obj_t all[3] = {numa(topology, 0), numa(topology, 1), numa(topology, 2)};
    hwloc_uint64_t far[9] = {10, 32, 32, 32, 10, 16, 32, 16, 10};
    hwloc_distances_add_handle_t handle = hwloc_distances_add_create(
        topology, "NUMALatency", HWLOC_DISTANCES_KIND_FROM_OS | HWLOC_DISTANCES_KIND_MEANS_LATENCY,
        0);
    assert_int_equal(hwloc_distances_add_values(topology, handle, 3, all, far, 0), 0);
    assert_int_equal(hwloc_distances_add_commit(topology, handle, 0), 0);
    t = make(topology, (struct topo_limits){0});
    assert_int_equal(t.node[1].os, 2);
    assert_int_equal(t.node[1].n_cores, 4); /* the nearest one */
}

static void a_node_without_cores_is_one(void **state)
{
    (void)state;
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(mask, 0, 3);
    struct topo t =
        make(machine("numa:2(memory=1GB) core:4 pu:1"), (struct topo_limits){.mask = mask});
    hwloc_bitmap_free(mask);
    assert_int_equal(t.n_nodes, 2);
    assert_int_equal(t.node[1].n_cores, 0);
}

/* The description of a machine of which processors 2 and 3 are switched off. */
static hwloc_topology_t half_off(void)
{
    hwloc_topology_t t = machine("numa:1 core:4 pu:1"), ret;
    hwloc_bitmap_t rest = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(rest, 0, 1);
    assert_int_equal(hwloc_topology_restrict(t, rest, 0), 0);
    char *xml;
    int n;
    assert_int_equal(hwloc_topology_export_xmlbuffer(t, &xml, &n, 0), 0);
    for (char *c = xml; (c = strstr(c, "complete_cpuset=\"0x00000003\"")); c++)
        if (c - strstr(xml, "Machine") < 200) /* of the machine, not of a core */
            memcpy(c, "complete_cpuset=\"0x0000000f\"", 28);
    assert_int_equal(hwloc_topology_init(&ret), 0);
    assert_int_equal(hwloc_topology_set_xmlbuffer(ret, xml, n), 0);
    assert_int_equal(hwloc_topology_load(ret), 0);
    hwloc_free_xmlbuffer(t, xml);
    hwloc_bitmap_free(rest);
    hwloc_topology_destroy(t);
    return ret;
}

static void what_is_switched_off_is_told(void **state)
{
    (void)state;
    struct topo t = make(half_off(), (struct topo_limits){0});
    expect_words(&t, 2, "2 on processors 0-1, of 2 cores; 2 processors switched off");
}

static hwloc_topology_t hybrid(int fast, int slow)
{
    char text[64];
    snprintf(text, sizeof text, "numa:1 core:%d pu:1", fast + slow);
    hwloc_topology_t t = machine(text);
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(set, 0, slow - 1); /* the slow ones come first */
    assert_int_equal(hwloc_cpukinds_register(t, set, 0, 0, NULL, 0), 0);
    hwloc_bitmap_zero(set);
    hwloc_bitmap_set_range(set, (unsigned)slow, slow + fast - 1);
    assert_int_equal(hwloc_cpukinds_register(t, set, 1, 0, NULL, 0), 0);
    hwloc_bitmap_free(set);
    return t;
}

static void slow_cores_rest_beside_fast_ones(void **state)
{
    (void)state;
    struct topo t = make(hybrid(8, 16), (struct topo_limits){0});
    assert_int_equal(t.n_workers, 8);
    assert_int_equal(t.cpu[0], 16);
    expect_words(&t, 8, "8 on processors 16-23, of 24 cores; 16 efficiency cores left to others");
    t = make(hybrid(2, 8), (struct topo_limits){0}); /* too few fast ones to rest */
    assert_int_equal(t.n_workers, 9);
    assert_int_equal(t.cpu[0], 9);
    assert_int_equal(t.cpu[9], 8); /* a fast one is left: what else runs is noticed by people */
    t = make(hybrid(2, 8), (struct topo_limits){.cores = TOPO_PERFORMANCE});
    assert_int_equal(t.n_workers, 2);
    t = make(hybrid(8, 16), (struct topo_limits){.cores = TOPO_ALL});
    assert_int_equal(t.n_workers, 23);
    assert_false(t.slow[0]);
    assert_true(t.slow[22]);
}

static void a_group_gives_time_for_some(void **state)
{
    (void)state;
    struct topo_limits limits = {.cpu_limit = 3500, .limit_group = "/box\xff"};
    struct topo t = make(machine("numa:1 core:8 pu:1"), limits);
    assert_int_equal(t.n_workers, 3);
    expect_words(&t, 3, "3 on processors 1-3, of 8 cores; cgroup /box? allows 3.5 processors");
    limits.cpu_limit = 300;
    t = make(machine("numa:1 core:8 pu:1"), limits);
    assert_int_equal(t.n_workers, 1);
    limits.cpu_limit = 64000;
    t = make(machine("numa:1 core:8 pu:1"), limits);
    expect_words(&t, 7, "7 on processors 1-7, of 8 cores; 1 left free");
}

static void nothing_allowed_is_an_error(void **state)
{
    (void)state;
    hwloc_topology_t topology = machine("numa:1 core:2 pu:1");
    hwloc_bitmap_t none = hwloc_bitmap_alloc();
    struct topo t;
    struct err err;
    assert_int_equal(topo_make(topology, &(struct topo_limits){.mask = none}, &t, &err), -ENODEV);
    hwloc_bitmap_free(none);
    hwloc_topology_destroy(topology);
}

static void this_machine_can_be_read(void **state)
{
    (void)state;
    struct topo t;
    struct err err;
    char text[768];
    assert_int_equal(topo_read(TOPO_AUTO, &t, &err), 0);
    assert_in_range(t.n_workers, 1, t.n_cores);
    topo_describe(&t, t.n_workers, text, sizeof text);
    print_message("%s\n", text);
    topo_describe(&t, t.n_workers, text, 12); /* is cut, not overrun */
    assert_int_equal(strlen(text), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_cores_all_work),
        cmocka_unit_test(of_many_cores_one_is_left),
        cmocka_unit_test(siblings_share_a_worker),
        cmocka_unit_test(cores_know_their_node),
        cmocka_unit_test(the_larger_node_leaves_one),
        cmocka_unit_test(a_node_without_memory_is_none),
        cmocka_unit_test(a_node_without_cores_is_one),
        cmocka_unit_test(what_is_switched_off_is_told),
        cmocka_unit_test(slow_cores_rest_beside_fast_ones),
        cmocka_unit_test(a_group_gives_time_for_some),
        cmocka_unit_test(nothing_allowed_is_an_error),
        cmocka_unit_test(this_machine_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
