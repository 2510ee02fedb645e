/* SPDX-License-Identifier: MIT
 *
 * A worker's claim word is the protocol: the job's number above, the ends of what nobody has taken
 * of its share below. Who takes a tile compares and swaps the whole word, so a worker that wakes
 * late can never take a tile of a job whose function it has not read: the number would differ.
 */
#include "place/pool.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/thread.h"

enum {
    SPIN_BEFORE_SLEEP = 20000, /* some 100 µs to 1 ms with the pause: longer than gaps in a step */
    SPIN_BEFORE_YIELD = 2000,
    SHARES = 1 << 20,
    MOST_TILES = 32000, /* of a list in a share: two must fit in 16 bits */
};

struct worker {
    _Alignas(64) atomic_uint_fast64_t claim; /* job << 32 | end << 16 | begin */
    _Alignas(64) struct pool *pool;
    int index;
    int cpu; /* to pin on, -1: none */
    int at;  /* node */
    int to;  /* where its share ends, in SHARES of all tiles */
    pthread_t thread;
};

struct pool {
    /* The job; written only while no tile is unclaimed, its number last. Atomic since late workers
     * may look. */
    _Alignas(64) atomic_uint job;
    atomic_int base; /* number of the first tile */
    atomic_int n_first, n_then;
    _Atomic(tile_fn) fn;
    _Atomic(void *) arg;
    _Alignas(64) atomic_int done;  /* tiles finished of this job */
    _Alignas(64) atomic_uint wake; /* futex word, grows with each wake-up */
    atomic_int sleepers;
    atomic_bool resting; /* between steps: do not spin */
    atomic_bool stop;
    int threads;  /* the caller's, worker 0, and those started */
    bool is_near; /* all workers are on one node */
    int most;     /* tiles of a list, so that no share has more than MOST_TILES */
    int n_started;
    _Alignas(64) atomic_uint alone; /* tiles that the caller ran without the others, */
    unsigned n_alone;               /* and the same for itself */
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

void pool_await(const atomic_int *count, int n)
{
    for (int spins = 0; atomic_load_explicit(count, memory_order_acquire) != n; spins++) {
        if (spins < SPIN_BEFORE_YIELD)
            relax();
        else
            sched_yield(); /* a worker lost its processor: perhaps we sit on it */
    }
}

/* ------------------------------------------------------------------ shares */

/* The job as a worker found it: valid for as long as it can take one of its tiles. */
struct job {
    unsigned number;
    int base, n_first, n_then;
    tile_fn fn;
    void *arg;
};

/* Where share w of n tiles begins. */
static int share(const struct pool *pool, int n, int w)
{
    return w == 0 ? 0 : (int)((int64_t)n * pool->worker[w - 1].to / SHARES);
}

static int share_tiles(const struct pool *pool, int n, int w)
{
    return share(pool, n, w + 1) - share(pool, n, w);
}

/* Number of the tile at `offset` of share w: those of the first list come before the others. */
static int tile_at(const struct pool *pool, const struct job *job, int w, int offset)
{
    int of_first = share_tiles(pool, job->n_first, w);
    if (offset < of_first)
        return job->base + share(pool, job->n_first, w) + offset;
    return job->base + job->n_first + share(pool, job->n_then, w) + offset - of_first;
}

/* Takes a tile of share w of the job: the owner the first, others the last; false if none is left.
 */
static bool take(struct pool *pool, const struct job *job, int w, bool owner, int *ret)
{
    atomic_uint_fast64_t *word = &pool->worker[w].claim;
    uint_fast64_t claim = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        unsigned begin = claim & 0xffff, end = claim >> 16 & 0xffff;
        if ((unsigned)(claim >> 32) != job->number || begin == end)
            return false;
        if (!atomic_compare_exchange_weak_explicit(word, &claim,
                                                   owner ? claim + 1 : claim - (1u << 16),
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        *ret = tile_at(pool, job, w, owner ? (int)begin : (int)end - 1);
        return true;
    }
}

/* Runs tiles until none is left to take. */
static void work(struct pool *pool, int me)
{
    struct job job = {
        .number = atomic_load_explicit(&pool->job, memory_order_acquire),
        .base = atomic_load_explicit(&pool->base, memory_order_relaxed),
        .n_first = atomic_load_explicit(&pool->n_first, memory_order_relaxed),
        .n_then = atomic_load_explicit(&pool->n_then, memory_order_relaxed),
        .fn = atomic_load_explicit(&pool->fn, memory_order_relaxed),
        .arg = atomic_load_explicit(&pool->arg, memory_order_relaxed),
    };
    int ran = 0, tile;
    for (; take(pool, &job, me, true, &tile); ran++)
        job.fn(job.arg, me, tile);
    if (ran)
        atomic_fetch_add_explicit(&pool->done, ran, memory_order_release);
    /* Once around for those of the own node, and once for the others if there are any. */
    for (int i = 1; i < pool->threads * (pool->is_near ? 1 : 2); i++) {
        int victim = (me + i) % pool->threads;
        bool near = pool->worker[victim].at == pool->worker[me].at;
        if (victim == me || near != (i < pool->threads))
            continue;
        if (atomic_load_explicit(&pool->done, memory_order_relaxed) == job.n_first + job.n_then)
            return; /* don't disturb the others by looking */
        while (take(pool, &job, victim, false, &tile)) {
            job.fn(job.arg, me, tile);
            atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
        }
    }
}

/* ------------------------------------------------------------------ workers */

static void sleep_until_woken(struct pool *pool, unsigned seen_job)
{
    unsigned seen = atomic_load(&pool->wake);
    atomic_fetch_add(&pool->sleepers, 1);
    /* Sequentially consistent with the store of the job's number and the load of sleepers where a
     * job begins: one of us sees the other. */
    if (atomic_load(&pool->job) == seen_job && !atomic_load(&pool->stop))
        futex_wait(&pool->wake, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

/* The calling thread to the worker's core. */
static void pin(const struct worker *worker)
{
    cpu_set_t set;
    if (worker->cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(worker->cpu, &set);
    /* A wish: in a container the processor may be gone by now; then the kernel places us. */
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void pool_pin_caller(struct pool *pool)
{
    pin(&pool->worker[0]);
}

static void *worker_main(void *arg)
{
    struct worker *me = arg;
    struct pool *pool = me->pool;
    pin(me);
    unsigned seen = 0; /* job */
    int idle = 0;
    while (!atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
        unsigned job = atomic_load_explicit(&pool->job, memory_order_relaxed);
        if (job != seen) {
            work(pool, me->index);
            seen = job; /* there may be a newer one already */
            idle = 0;
        } else if (++idle < SPIN_BEFORE_SLEEP &&
                   !atomic_load_explicit(&pool->resting, memory_order_relaxed)) {
            relax();
        } else {
            sleep_until_woken(pool, seen);
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

void pool_weigh(struct pool *pool, const double *weight)
{
    double all = 0, sum = 0, most = 0;
    for (int i = 0; i < pool->threads; i++) {
        all += weight[i];
        most = weight[i] > most ? weight[i] : most;
    }
    for (int i = 0; i < pool->threads; i++) {
        sum += weight[i];
        /* Up, so that a third of three tiles is one. */
        pool->worker[i].to = i == pool->threads - 1 ? SHARES : (int)(sum / all * SHARES) + 1;
    }
    pool->most = (int)(MOST_TILES / (most / all));
}

static void init_workers(struct pool *pool, const struct topo *topo)
{
    pool->is_near = true;
    for (int i = 0; i < pool->threads; i++) {
        struct worker *w = &pool->worker[i];
        bool known = topo && i < topo->n_cores;
        *w = (struct worker){.pool = pool,
                             .index = i,
                             .cpu = known ? topo->cpu[i] : -1,
                             .at = known ? topo->at[i] : 0,
                             .to = (int)((int64_t)SHARES * (i + 1) / pool->threads) + 1};
        pool->is_near &= w->at == pool->worker[0].at;
    }
    pool->worker[pool->threads - 1].to = SHARES;
    pool->most = MOST_TILES * pool->threads;
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
    pool->threads = threads;
    init_workers(pool, topo);

    int r = 0;
    for (int i = 1; i < threads && r == 0; i++) {
        char name[16];
        snprintf(name, sizeof name, "moed-worker-%d", i % 1000);
        r = thread_start(&pool->worker[i].thread, name, worker_main, &pool->worker[i]);
        if (r == 0)
            pool->n_started++;
    }
    if (r < 0)
        return err_set(err, r, "cannot start worker %d of %d: %s", pool->n_started + 1, threads - 1,
                       strerror(-r));
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
    for (int i = 1; i <= pool->n_started; i++)
        pthread_join(pool->worker[i].thread, NULL);
    free(pool);
}

/* ------------------------------------------------------------------ jobs */

static void begin(struct pool *pool, const struct job *job)
{
    unsigned number = atomic_load_explicit(&pool->job, memory_order_relaxed) + 1;
    atomic_store_explicit(&pool->base, job->base, memory_order_relaxed);
    atomic_store_explicit(&pool->n_first, job->n_first, memory_order_relaxed);
    atomic_store_explicit(&pool->n_then, job->n_then, memory_order_relaxed);
    atomic_store_explicit(&pool->fn, job->fn, memory_order_relaxed);
    atomic_store_explicit(&pool->arg, job->arg, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    if (atomic_load_explicit(&pool->resting, memory_order_relaxed))
        atomic_store_explicit(&pool->resting, false, memory_order_relaxed);
    for (int w = 0; w < pool->threads; w++) {
        unsigned n =
            (unsigned)(share_tiles(pool, job->n_first, w) + share_tiles(pool, job->n_then, w));
        atomic_store_explicit(&pool->worker[w].claim, (uint_fast64_t)number << 32 | n << 16,
                              memory_order_relaxed);
    }
    atomic_store(&pool->job, number);
    wake_sleepers(pool);
}

static void run(struct pool *pool, const struct job *job)
{
    int n = job->n_first + job->n_then;
    if (pool->threads == 1 || n <= 1) {
        for (int i = 0; i < n; i++) {
            job->fn(job->arg, 0, job->base + i);
            atomic_store_explicit(&pool->alone, ++pool->n_alone, memory_order_relaxed);
        }
        return;
    }
    begin(pool, job);
    work(pool, 0);
    pool_await(&pool->done, n);
}

void pool_run_two(struct pool *pool, tile_fn fn, void *arg, int n_first, int n_then)
{
    assert(n_first <= pool->most && n_then <= pool->most);
    run(pool, &(struct job){.fn = fn, .arg = arg, .n_first = n_first, .n_then = n_then});
}

void pool_run(struct pool *pool, tile_fn fn, void *arg, int n_tiles)
{
    int most = pool->most;
    for (int base = 0; base < n_tiles; base += most) {
        int n = n_tiles - base < most ? n_tiles - base : most;
        run(pool, &(struct job){.fn = fn, .arg = arg, .base = base, .n_then = n});
    }
}

uint64_t pool_beat(const struct pool *pool)
{
    uint64_t beat = atomic_load_explicit(&pool->alone, memory_order_relaxed);
    for (int w = 0; w < pool->threads; w++)
        beat = beat * 31 + atomic_load_explicit(&pool->worker[w].claim, memory_order_relaxed);
    return beat;
}

void pool_rest(struct pool *pool)
{
    atomic_store_explicit(&pool->resting, true, memory_order_relaxed);
}
