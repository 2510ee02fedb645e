/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
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
        cmocka_unit_test(resting_workers_sleep),
        cmocka_unit_test(no_tiles_is_no_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
