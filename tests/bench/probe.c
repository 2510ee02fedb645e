/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu.h"

enum { SPAN = 1 << 30, ROUND_NS = 40000000 };

enum work { READ, FMA, VNNI, AMX_INT8, AMX_LOADED, AMX_BF16 };

struct prober {
    int threads;
    char *span;
    struct cpu cpu;
};

struct job {
    const struct prober *prober;
    enum work work;
    int index;
    pthread_barrier_t *barrier;
    double done; /* bytes or operations a second */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ a few thousand operations */

#if defined(__x86_64__)
enum { ROUNDS = 4096 };

#define CHAINS(type, zero, step)                                                                   \
    type a[12];                                                                                    \
    for (int c = 0; c < 12; c++)                                                                   \
        a[c] = zero;                                                                               \
    for (int i = 0; i < ROUNDS; i++) {                                                             \
        _Pragma("GCC unroll 12") for (int c = 0; c < 12; c++) step;                                \
        __asm__ volatile(""                                                                        \
                         : "+v"(a[0]), "+v"(a[1]), "+v"(a[2]), "+v"(a[3]), "+v"(a[4]), "+v"(a[5]), \
                           "+v"(a[6]), "+v"(a[7]), "+v"(a[8]), "+v"(a[9]), "+v"(a[10]),            \
                           "+v"(a[11]));                                                           \
    }

__attribute__((target("avx512f"))) static double fma_512(void)
{
    __m512 f = _mm512_set1_ps(0.999f);
    CHAINS(__m512, f, a[c] = _mm512_fmadd_ps(a[c], f, f))
    return 2.0 * 16 * 12 * ROUNDS;
}

__attribute__((target("avx2,fma"))) static double fma_256(void)
{
    __m256 f = _mm256_set1_ps(0.999f);
    CHAINS(__m256, f, a[c] = _mm256_fmadd_ps(a[c], f, f))
    return 2.0 * 8 * 12 * ROUNDS;
}

__attribute__((target("avx512f,avx512vnni"))) static double vnni_512(void)
{
    __m512i one = _mm512_set1_epi8(1);
    CHAINS(__m512i, one, a[c] = _mm512_dpbusd_epi32(a[c], one, one))
    return 2.0 * 64 * 12 * ROUNDS;
}

static void open_tiles(void)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

__attribute__((target("amx-tile,amx-int8"))) static double amx_int8(void)
{
    open_tiles();
    for (int i = 0; i < ROUNDS / 8; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return 2.0 * 16 * 16 * 64 * 4 * ROUNDS / 8;
}

/* As kernels/x86/amx.h does, for a neighbour on the other thread of the core. */
#define BREATHE __asm__ volatile(".rept 8\n\tnop\n\t.endr")

/* One load a product, as products of matrices have at best; from 32 KiB. */
__attribute__((target("amx-tile,amx-int8"))) static double amx_loaded(void)
{
    static char tiles[32][1024] __attribute__((aligned(4096)));
    open_tiles();
    for (int i = 0; i < ROUNDS / 8; i++) {
        char(*at)[1024] = tiles + i % 8 * 4;
        _tile_loadd(4, at[0], 64);
        BREATHE;
        _tile_loadd(6, at[1], 64);
        BREATHE;
        _tile_dpbssd(0, 4, 6);
        BREATHE;
        _tile_loadd(7, at[2], 64);
        BREATHE;
        _tile_dpbssd(1, 4, 7);
        BREATHE;
        _tile_loadd(5, at[3], 64);
        BREATHE;
        _tile_dpbssd(2, 5, 6);
        BREATHE;
        _tile_dpbssd(3, 5, 7);
        BREATHE;
    }
    _tile_release();
    return 2.0 * 16 * 16 * 64 * 4 * ROUNDS / 8;
}

__attribute__((target("amx-tile,amx-bf16"))) static double amx_bf16(void)
{
    open_tiles();
    for (int i = 0; i < ROUNDS / 8; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return 2.0 * 16 * 16 * 32 * 4 * ROUNDS / 8;
}

static double operate(const struct cpu *cpu, enum work work)
{
    switch (work) {
    case FMA:
        return cpu->avx512 ? fma_512() : cpu->avx2 ? fma_256() : 0;
    case VNNI:
        return cpu->avx512 && __builtin_cpu_supports("avx512vnni") ? vnni_512() : 0;
    case AMX_INT8:
        return cpu->amx ? amx_int8() : 0;
    case AMX_LOADED:
        return cpu->amx ? amx_loaded() : 0;
    case AMX_BF16:
        return cpu->amx ? amx_bf16() : 0;
    default:
        return 0;
    }
}
#else
static double operate(const struct cpu *cpu, enum work work)
{
    (void)cpu;
    (void)work;
    return 0;
}
#endif

/* This thread's share of the span, once. */
static double read_share(const struct job *job)
{
    size_t share = SPAN / (size_t)job->prober->threads / 512 * 512;
    const uint64_t *p = (const void *)(job->prober->span + share * (size_t)job->index);
    uint64_t sum[8] = {0};
    for (size_t i = 0; i + 64 <= share / 8; i += 64) {
        __builtin_prefetch(p + i + 512); /* 4 KiB ahead: hardware alone does not keep up */
        for (int l = 0; l < 8; l++) {
            __builtin_prefetch(p + i + 512 + 8 * l);
            sum[l] += p[i + 8 * (size_t)l];
        }
    }
    __asm__ volatile(
        "" ::"r"(sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7]));
    return (double)share;
}

/* ------------------------------------------------------------------ threads */

static void *work(void *arg)
{
    struct job *job = arg;
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) == 0)
        for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &all) && seen++ == job->index)
                CPU_SET(cpu, &one);
    if (CPU_COUNT(&one))
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    pthread_barrier_wait(job->barrier);
    double start = now(), took, done = 0;
    do {
        done += job->work == READ ? read_share(job) : operate(&job->prober->cpu, job->work);
        took = now() - start;
    } while (took < 1e-9 * ROUND_NS && done > 0);
    job->done = done / took;
    return NULL;
}

static double all_threads(struct prober *prober, enum work kind)
{
    struct job job[PROBER_MAX_THREADS];
    pthread_t thread[PROBER_MAX_THREADS];
    pthread_barrier_t barrier;
    double sum = 0;
    pthread_barrier_init(&barrier, NULL, (unsigned)prober->threads);
    for (int i = 0; i < prober->threads; i++) {
        job[i] = (struct job){.prober = prober, .work = kind, .index = i, .barrier = &barrier};
        if (pthread_create(&thread[i], NULL, work, &job[i]))
            abort();
    }
    for (int i = 0; i < prober->threads; i++) {
        pthread_join(thread[i], NULL);
        sum += job[i].done;
    }
    pthread_barrier_destroy(&barrier);
    return sum;
}

struct prober *prober_new(int threads)
{
    struct prober *prober = calloc(1, sizeof *prober);
    if (!prober)
        return NULL;
    prober->threads = threads;
    cpu_detect(&prober->cpu);
    prober->span = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (prober->span == MAP_FAILED) {
        free(prober);
        return NULL;
    }
    madvise(prober->span, SPAN, MADV_HUGEPAGE);
    memset(prober->span, 1, SPAN);
    return prober;
}

void prober_free(struct prober *prober)
{
    if (!prober)
        return;
    munmap(prober->span, SPAN);
    free(prober);
}

void prober_run(struct prober *prober, struct probe *ret)
{
    *ret = (struct probe){
        .read = all_threads(prober, READ),
        .fma = all_threads(prober, FMA),
        .vnni = all_threads(prober, VNNI),
        .amx_int8 = all_threads(prober, AMX_INT8),
        .amx_loaded = all_threads(prober, AMX_LOADED),
        .amx_bf16 = all_threads(prober, AMX_BF16),
    };
}
