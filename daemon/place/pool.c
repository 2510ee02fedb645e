/* SPDX-License-Identifier: MIT
 *
 * One 64-bit word is the whole protocol: the job's number above, its unclaimed tiles below. A
 * claim is a compare-and-swap on it, so a worker that wakes late can never take a tile of a job
 * whose function it has not read: the word would have changed.
 */
#include "place/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

enum {
    SPIN_BEFORE_SLEEP = 20000, /* some 100 µs with the pause: longer than any gap inside a step */
    SPIN_BEFORE_YIELD = 2000,
};

typedef void (*tile_fn)(void *arg, int worker, int tile);

struct worker {
    struct pool *pool;
    int index;
    int cpu; /* to pin on, -1: none */
    pthread_t thread;
};

struct pool {
    _Alignas(64) atomic_uint_fast64_t claim; /* job << 32 | tiles not yet claimed */
    _Alignas(64) atomic_int done;            /* tiles finished of this job */
    _Alignas(64) atomic_uint wake;           /* futex word, grows with each wake-up */
    atomic_int sleepers;
    atomic_bool resting; /* between steps: do not spin */
    atomic_bool stop;
    /* The job; written only while no tile is unclaimed. Atomic since late workers may look. */
    _Atomic(tile_fn) fn;
    _Atomic(void *) arg;
    int n_workers;
    struct worker worker[];
};

static void futex_wait(atomic_uint *word, unsigned seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Takes and runs tiles until none is left; true if it ran one. */
static bool work(struct pool *pool, int worker)
{
    bool worked = false;
    uint_fast64_t claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
    while ((uint32_t)claim) {
        tile_fn fn = atomic_load_explicit(&pool->fn, memory_order_relaxed);
        void *arg = atomic_load_explicit(&pool->arg, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(&pool->claim, &claim, claim - 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        fn(arg, worker, (int)((uint32_t)claim - 1));
        atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
        worked = true;
        claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
    }
    return worked;
}

static void sleep_until_woken(struct pool *pool)
{
    unsigned seen = atomic_load(&pool->wake);
    atomic_fetch_add(&pool->sleepers, 1);
    /* Sequentially consistent with pool_run's store of claim and load of sleepers: one of us sees
     * the other. */
    if (!(uint32_t)atomic_load(&pool->claim) && !atomic_load(&pool->stop))
        futex_wait(&pool->wake, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void *worker_main(void *arg)
{
    struct worker *me = arg;
    struct pool *pool = me->pool;
    if (me->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(me->cpu, &set);
        /* A wish: in a container the processor may be gone by now; then the kernel places us. */
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    int idle = 0;
    while (!atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
        if (work(pool, me->index)) {
            idle = 0;
        } else if (++idle < SPIN_BEFORE_SLEEP &&
                   !atomic_load_explicit(&pool->resting, memory_order_relaxed)) {
            relax();
        } else {
            sleep_until_woken(pool);
            idle = 0;
        }
    }
    return NULL;
}

static void wake_sleepers(struct pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0)
        return;
    atomic_fetch_add(&pool->wake, 1);
    futex_wake_all(&pool->wake);
}

int pool_new(const struct topo *topo, int threads, struct pool **ret, struct err *err)
{
    size_t bytes = sizeof(struct pool) + (size_t)threads * sizeof(struct worker);
    struct pool *made = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!made)
        return err_set(err, -ENOMEM, "no memory for %d workers", threads);
    memset(made, 0, bytes);
    OWN(pool) *pool = made;
    atomic_store(&pool->resting, true);

    /* Signals are the loop's business. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = 0;
    for (int i = 1; i < threads && r == 0; i++) {
        struct worker *w = &pool->worker[pool->n_workers];
        *w = (struct worker){.pool = pool, .index = i, .cpu = -1};
        if (topo && i < topo->n_cores)
            w->cpu = topo->cpu[i];
        r = pthread_create(&w->thread, NULL, worker_main, w);
        if (r == 0)
            pool->n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r)
        return err_set(err, -r, "cannot start worker %d of %d: %s", pool->n_workers + 1,
                       threads - 1, strerror(r));
    *ret = TAKE(pool);
    return 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    atomic_fetch_add(&pool->wake, 1);
    futex_wake_all(&pool->wake);
    for (int i = 0; i < pool->n_workers; i++)
        pthread_join(pool->worker[i].thread, NULL);
    free(pool);
}

void pool_run(struct pool *pool, void (*fn)(void *arg, int worker, int tile), void *arg,
              int n_tiles)
{
    if (n_tiles <= 0)
        return;
    if (pool->n_workers == 0 || n_tiles == 1) {
        for (int i = 0; i < n_tiles; i++)
            fn(arg, 0, i);
        return;
    }
    uint_fast64_t job = (atomic_load_explicit(&pool->claim, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&pool->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&pool->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->resting, false, memory_order_relaxed);
    atomic_store(&pool->claim, job << 32 | (uint32_t)n_tiles);
    wake_sleepers(pool);

    work(pool, 0);
    for (int spins = 0; atomic_load_explicit(&pool->done, memory_order_acquire) < n_tiles;
         spins++) {
        if (spins < SPIN_BEFORE_YIELD)
            relax();
        else
            sched_yield(); /* a worker lost its processor: perhaps we sit on it */
    }
}

void pool_rest(struct pool *pool)
{
    atomic_store_explicit(&pool->resting, true, memory_order_relaxed);
}
