/* SPDX-License-Identifier: MIT
 *
 * Where weights lie, on machines that nobody has: V2-Lite's and V3's sizes on 1 to 8 nodes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "place/plan_nodes.h"

enum { GB = 1000000000, MOST = 1024 };

struct made {
    struct node_item item[MOST];
    int n;
    uint64_t bytes, read;
};

static void add(struct made *m, enum node_split split, int n, int k, int count, int used)
{
    uint64_t bytes = (uint64_t)n * (uint64_t)k * (uint64_t)count / 2;
    m->item[m->n++] =
        (struct node_item){split, n, count, bytes, bytes / (unsigned)count * (unsigned)used};
    m->bytes += bytes;
    m->read += bytes / (unsigned)count * (unsigned)used;
}

/* A model of experts in half a byte a weight. */
static void make(struct made *m, int layers, int hidden, int heads, int experts, int used,
                 int width)
{
    *m = (struct made){0};
    add(m, NODE_ROWS, 102400, hidden, 1, 1);
    for (int i = 0; i < layers; i++) {
        add(m, NODE_WHOLE, 1, hidden, 1, 1);
        add(m, NODE_ROWS, heads * 192, hidden, 1, 1);
        add(m, NODE_ROWS, 576, hidden, 1, 1);
        add(m, NODE_MATRICES, 512, 128, heads, heads);
        add(m, NODE_MATRICES, 128, 512, heads, heads);
        add(m, NODE_ROWS, hidden, heads * 128, 1, 1);
        add(m, NODE_WHOLE, experts, hidden * 8, 1, 1); /* float32 */
        add(m, NODE_ROWS, width, hidden, experts, used);
        add(m, NODE_ROWS, width, hidden, experts, used);
        add(m, NODE_ROWS, hidden, width, experts, used);
    }
}

/* Every row is somewhere, once, in whole units; the sums are what the cuts say. */
static void check_cuts(const struct made *m, int n_nodes, const int *cut,
                       const struct node_sum *sum)
{
    double bytes[TOPO_MAX_NODES] = {0};
    for (int i = 0; i < m->n; i++, cut += n_nodes + 1) {
        const struct node_item *item = &m->item[i];
        int end = item->split == NODE_MATRICES ? item->count : item->n, whole = 0;
        assert_int_equal(cut[0], 0);
        assert_int_equal(cut[n_nodes], end);
        for (int j = 0; j < n_nodes; j++) {
            assert_true(cut[j] <= cut[j + 1]);
            if (item->split == NODE_ROWS && cut[j + 1] != end)
                assert_int_equal(cut[j + 1] % NODE_UNIT_ROWS, 0);
            whole += cut[j + 1] - cut[j] == end;
            bytes[j] += (double)item->bytes * (cut[j + 1] - cut[j]) / end;
        }
        if (item->split == NODE_WHOLE)
            assert_int_equal(whole, 1);
    }
    for (int j = 0; j < n_nodes; j++)
        assert_in_range(sum[j].bytes, (uint64_t)(bytes[j] * 0.999),
                        (uint64_t)(bytes[j] * 1.001) + 1);
}

static int plan(const struct made *m, const struct node_room *node, int n_nodes,
                struct node_sum *sum)
{
    int *cut = malloc((size_t)m->n * (size_t)(n_nodes + 1) * sizeof *cut);
    struct err err;
    int r = plan_nodes(node, n_nodes, m->item, m->n, cut, sum, &err);
    if (r == 0)
        check_cuts(m, n_nodes, cut, sum);
    free(cut);
    return r;
}

static void alike_nodes_read_alike(void **state)
{
    (void)state;
    static struct made lite, large;
    make(&lite, 27, 2048, 16, 64, 6, 1408);
    make(&large, 61, 7168, 128, 256, 8, 2048);
    for (int n = 1; n <= 8; n *= 2) {
        struct node_room node[8];
        struct node_sum sum[8];
        for (int j = 0; j < n; j++)
            node[j] = (struct node_room){.workers = 8, .bytes = 600ull * GB};
        const struct made *models[] = {&lite, &large};
        for (int i = 0; i < 2; i++) {
            assert_int_equal(plan(models[i], node, n, sum), 0);
            for (int j = 0; j < n; j++) {
                double most = 1.02;
                assert_true((double)sum[j].read * n < (double)models[i]->read * most);
                assert_true((double)sum[j].bytes * n < (double)models[i]->bytes * most);
            }
        }
    }
}

static void more_workers_get_more(void **state)
{
    (void)state;
    static struct made m;
    make(&m, 61, 7168, 128, 256, 8, 2048);
    struct node_room node[] = {{.workers = 12, .bytes = 500ull * GB},
                               {.workers = 4, .bytes = 500ull * GB}};
    struct node_sum sum[2];
    assert_int_equal(plan(&m, node, 2, sum), 0);
    assert_true(sum[0].read > sum[1].read * 28 / 10 && sum[0].read < sum[1].read * 32 / 10);

    node[0].bandwidth = 100000; /* known of one: of no use */
    assert_int_equal(plan(&m, node, 2, sum), 0);
    assert_true(sum[0].read > sum[1].read * 28 / 10);
    node[1].bandwidth = 200000;
    assert_int_equal(plan(&m, node, 2, sum), 0);
    assert_true(sum[1].read > sum[0].read * 19 / 10 && sum[1].read < sum[0].read * 21 / 10);
}

static void a_small_node_keeps_what_all_read(void **state)
{
    (void)state;
    static struct made m;
    make(&m, 61, 7168, 128, 256, 8, 2048);
    struct node_room node[] = {{.workers = 8, .bytes = 400ull * GB},
                               {.workers = 8, .bytes = 64ull * GB}};
    struct node_sum sum[2];
    assert_int_equal(plan(&m, node, 2, sum), 0);
    assert_true(sum[1].bytes < 66ull * GB && sum[1].bytes > 62ull * GB);
    /* Half of the attention and 17 % of the experts: more than its 17 % of the bytes. */
    assert_true((double)sum[1].read > 0.25 * (double)m.read);
}

static void a_node_without_workers_waits(void **state)
{
    (void)state;
    static struct made m;
    make(&m, 27, 2048, 16, 64, 6, 1408);
    struct node_room node[] = {{.workers = 0, .bytes = 100ull * GB},
                               {.workers = 4, .bytes = 100ull * GB},
                               {.workers = 0, .bytes = 100ull * GB}};
    struct node_sum sum[3];
    assert_int_equal(plan(&m, node, 3, sum), 0);
    assert_int_equal(sum[0].bytes + sum[2].bytes, 0);

    node[1].bytes = m.bytes / 2; /* now they are needed */
    assert_int_equal(plan(&m, node, 3, sum), 0);
    assert_true(sum[1].bytes > m.bytes * 48 / 100 && sum[1].bytes < m.bytes * 52 / 100);
    assert_true(sum[0].bytes > m.bytes / 5 && sum[2].bytes > m.bytes / 5);
}

static void too_little_room_is_an_error(void **state)
{
    (void)state;
    static struct made m;
    make(&m, 27, 2048, 16, 64, 6, 1408);
    struct node_room node[] = {{.workers = 2, .bytes = m.bytes / 3},
                               {.workers = 2, .bytes = m.bytes / 3}};
    struct node_sum sum[2];
    assert_int_equal(plan(&m, node, 2, sum), -ENOSPC);
    node[0].bytes = node[1].bytes = 0;
    assert_int_equal(plan(&m, node, 2, sum), -ENOSPC);
}

static void odd_sizes_are_cut_too(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 2000; round++) {
        static struct made m;
        struct node_room node[8];
        struct node_sum sum[8];
        int n_nodes = rand() % 8 + 1;
        m = (struct made){0};
        for (int i = rand() % 8 + 1; i > 0; i--)
            add(&m, (enum node_split)(rand() % 3), rand() % 300 + 1, 64 * (rand() % 9 + 1),
                rand() % 9 + 1, 1);
        for (int j = 0; j < n_nodes; j++)
            node[j] = (struct node_room){.workers = rand() % 4,
                                         .bandwidth = rand() % 2 ? (uint64_t)(rand() % 9) : 5,
                                         .bytes = (uint64_t)(rand() % 1000000)};
        plan(&m, node, n_nodes, sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alike_nodes_read_alike),
        cmocka_unit_test(more_workers_get_more),
        cmocka_unit_test(a_small_node_keeps_what_all_read),
        cmocka_unit_test(a_node_without_workers_waits),
        cmocka_unit_test(too_little_room_is_an_error),
        cmocka_unit_test(odd_sizes_are_cut_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
