/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "place/pool.h"

enum { TILES = 97 };

struct job {
    atomic_int ran[TILES];
    int plain[TILES]; /* written without atomics: the pool must make it visible */
    int threads;
};

static void tile(void *arg, int worker, int index)
{
    struct job *job = arg;
    assert_in_range(worker, 0, job->threads - 1);
    atomic_fetch_add(&job->ran[index], 1);
    job->plain[index] += index + 1;
}

static struct pool *start(int threads)
{
    struct topo topo;
    struct pool *pool;
    struct err err;
    assert_int_equal(topo_read(TOPO_AUTO, &topo, &err), 0);
    assert_int_equal(pool_new(&topo, threads, &pool, &err), 0);
    return pool;
}

static void every_tile_runs_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *pool = start(threads);
        for (int round = 0; round < 2000; round++) {
            int n = round % TILES + 1;
            struct job job = {.threads = threads};
            pool_run(pool, tile, &job, n);
            for (int i = 0; i < TILES; i++) {
                assert_int_equal(atomic_load(&job.ran[i]), i < n);
                assert_int_equal(job.plain[i], i < n ? i + 1 : 0);
            }
            if (round % 100 == 0)
                pool_rest(pool);
        }
        pool_free(pool);
    }
}

struct stuck {
    atomic_int ran;
    int tiles, which;
};

static void stick(void *arg, int worker, int index)
{
    (void)worker;
    struct stuck *job = arg;
    if (index == job->which)
        while (atomic_load(&job->ran) < job->tiles - 1)
            sched_yield();
    atomic_fetch_add(&job->ran, 1);
}

/* Whoever loses its processor in a tile, the first of its share or the last: the others do all the
 * rest. (Where not, this never ends.) */
static void one_stuck_worker_stalls_one_tile(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        struct pool *pool = start(threads);
        for (int which = 0; which < 29; which++) {
            struct stuck job = {.tiles = 29, .which = which};
            pool_run(pool, stick, &job, job.tiles);
            assert_int_equal(atomic_load(&job.ran), job.tiles);
        }
        pool_free(pool);
    }
}

enum { SHARES = 3 };

struct gathering {
    atomic_int came;
    int first[SHARES]; /* tile of each worker */
};

static void gather(void *arg, int worker, int index)
{
    struct gathering *job = arg;
    if (job->first[worker] >= 0)
        return;
    job->first[worker] = index;
    atomic_fetch_add(&job->came, 1);
    pool_await(&job->came, SHARES);
}

static void each_begins_with_its_share(void **state)
{
    (void)state;
    struct pool *pool = start(SHARES);
    for (int round = 0; round < 200; round++) {
        struct gathering job = {.first = {-1, -1, -1}};
        pool_run(pool, gather, &job, 30);
        for (int w = 0; w < SHARES; w++)
            assert_int_equal(job.first[w], 10 * w);
        job = (struct gathering){.first = {-1, -1, -1}};
        pool_run_two(pool, gather, &job, 5, 30); /* shares of 1, 2 and 2 */
        assert_int_equal(job.first[0], 0);
        assert_int_equal(job.first[1], 1);
        assert_int_equal(job.first[2], 3);
        job = (struct gathering){.first = {-1, -1, -1}};
        pool_run_two(pool, gather, &job, 1, 30); /* the last one's */
        assert_int_equal(job.first[0], 1);
        assert_int_equal(job.first[1], 11);
        assert_int_equal(job.first[2], 0);
    }
    pool_free(pool);
}

static void two_lists_run_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *pool = start(threads);
        for (int first = 0; first <= 11; first++)
            for (int then = 0; then <= 30; then++) {
                struct job job = {.threads = threads};
                pool_run_two(pool, tile, &job, first, then);
                for (int i = 0; i < TILES; i++)
                    assert_int_equal(job.plain[i], i < first + then ? i + 1 : 0);
            }
        pool_free(pool);
    }
}

/* Two nodes of two workers; the first has three times as much of everything. */
static struct pool *start_on_two_nodes(void)
{
    static const double weight[] = {3, 3, 1, 1};
    struct topo topo = {.n_cores = 4, .n_workers = 4, .n_nodes = 2, .at = {0, 0, 1, 1}};
    struct pool *pool;
    struct err err;
    assert_int_equal(pool_new(&topo, 4, &pool, &err), 0);
    pool_weigh(pool, weight);
    return pool;
}

enum { ALL = 32 };

struct near {
    atomic_int came, stolen; /* by worker 1 */
    int first[4];
};

static void look_around(void *arg, int worker, int index)
{
    struct near *job = arg;
    if (job->first[worker] < 0) {
        job->first[worker] = index;
        atomic_fetch_add(&job->came, 1);
        while (atomic_load(&job->came) < 4 || (worker != 1 && atomic_load(&job->stolen) < 0))
            sched_yield();
    } else if (worker == 1 && (index < 12 || index >= 24) && atomic_load(&job->stolen) < 0) {
        atomic_store(&job->stolen, index);
    }
}

static void nodes_have_weights_and_help_themselves_first(void **state)
{
    (void)state;
    struct pool *pool = start_on_two_nodes();
    for (int round = 0; round < 50; round++) {
        struct near job = {.stolen = -1, .first = {-1, -1, -1, -1}};
        pool_run(pool, look_around, &job, ALL);
        assert_int_equal(job.first[0], 0);
        assert_int_equal(job.first[1], 12);
        assert_int_equal(job.first[2], 24);
        assert_int_equal(job.first[3], 28);
        assert_int_equal(atomic_load(&job.stolen), 11); /* the end of worker 0's */
        struct job all = {.threads = 4};
        pool_run(pool, tile, &all, round % TILES + 1);
        for (int i = 0; i < TILES; i++)
            assert_int_equal(all.plain[i], i <= round % TILES ? i + 1 : 0);
    }
    pool_free(pool);
}

static void count(void *arg, int worker, int index)
{
    (void)worker;
    ((char *)arg)[index]++;
}

static void many_tiles_run_once(void **state)
{
    (void)state;
    enum { MANY = 150001 };
    char *ran = calloc(MANY, 1);
    assert_non_null(ran);
    struct pool *pool = start(2);
    pool_run(pool, count, ran, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(ran[i], 1);
    pool_free(pool);
    free(ran);
}

struct where {
    int cpu[2];
    atomic_int came;
};

static void look(void *arg, int worker, int index)
{
    (void)index;
    struct where *where = arg;
    where->cpu[worker] = sched_getcpu();
    atomic_fetch_add(&where->came, 1);
    pool_await(&where->came, 2);
}

static void workers_stay_on_their_cores(void **state)
{
    (void)state;
    struct topo topo;
    struct err err;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(topo_read(TOPO_AUTO, &topo, &err), 0);
    if (topo.n_cores < 2)
        skip();
    struct pool *pool = start(2);
    pool_pin_caller(pool);
    for (int round = 0; round < 100; round++) {
        struct where where = {.cpu = {-1, -1}};
        pool_run(pool, look, &where, 2);
        assert_int_equal(where.cpu[0], topo.cpu[0]);
        assert_int_equal(where.cpu[1], topo.cpu[1]);
    }
    pool_free(pool);
    sched_setaffinity(0, sizeof before, &before);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void resting_workers_sleep(void **state)
{
    (void)state;
    struct pool *pool = start(4);
    struct job job = {.threads = 4};
    pool_run(pool, tile, &job, TILES);
    pool_rest(pool);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    double before = cpu_seconds();
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    assert_true(cpu_seconds() - before < 0.01);
    pool_free(pool);
}

static void no_tiles_is_no_work(void **state)
{
    (void)state;
    struct pool *pool = start(2);
    pool_run(pool, tile, NULL, 0);
    pool_free(pool);
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tile_runs_once),
        cmocka_unit_test(one_stuck_worker_stalls_one_tile),
        cmocka_unit_test(each_begins_with_its_share),
        cmocka_unit_test(two_lists_run_once),
        cmocka_unit_test(nodes_have_weights_and_help_themselves_first),
        cmocka_unit_test(many_tiles_run_once),
        cmocka_unit_test(workers_stay_on_their_cores),
        cmocka_unit_test(resting_workers_sleep),
        cmocka_unit_test(no_tiles_is_no_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
