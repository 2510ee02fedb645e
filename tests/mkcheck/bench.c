/* SPDX-License-Identifier: MIT
 *
 * How fast a table's kernels are on one core, beside what this core reads from memory and
 * multiplies in registers, both measured in the same run. Machines are noisy: the time is this
 * thread's own, the best of several short rounds is what the code can do, and only figures of one
 * run compare.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "check.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that one call takes: the best of rounds of 2 ms or one call, for some 30 ms. */
static double time_of(void (*call)(void *arg), void *arg)
{
    double start = now();
    call(arg);
    double best = now() - start, spent = best;
    int repeats = best < 2e-3 ? (int)(2e-3 / (best + 1e-8)) + 1 : 1;
    for (int round = 0; round < 3 || spent < 30e-3; round++) {
        start = now();
        for (int i = 0; i < repeats; i++)
            call(arg);
        double took = now() - start;
        spent += took;
        best = took / repeats < best ? took / repeats : best;
    }
    return best;
}

/* ------------------------------------------------------------------ what the core can do */

struct core {
    double read, flops; /* bytes and operations a second */
};

struct span {
    const uint8_t *start;
    size_t bytes;
    volatile uint64_t sink;
};

static void read_all(void *arg)
{
    struct span *span = arg;
    const uint64_t *p = (const void *)span->start;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i + 64 <= span->bytes / 8; i += 64) /* one word of each line of 64 bytes */
        for (int l = 0; l < 8; l++)
            sum[l] += p[i + 8 * (size_t)l];
    span->sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

enum { FMA_ROUNDS = 20000, FMA_CHAINS = 12 };

#if defined(__x86_64__)
/* Chains enough to hide the latency of any x86; written out, so that they stay in registers. */
#define FMA_LOOP(name, isa, vector, splat, step)                                                   \
    __attribute__((target(isa))) static void name(void *arg)                                       \
    {                                                                                              \
        vector f = splat(0.999f), a0 = f, a1 = f, a2 = f, a3 = f, a4 = f, a5 = f, a6 = f, a7 = f,  \
               a8 = f, a9 = f, a10 = f, a11 = f;                                                   \
        for (int i = 0; i < FMA_ROUNDS; i++) {                                                     \
            a0 = step(a0, f, f), a1 = step(a1, f, f), a2 = step(a2, f, f), a3 = step(a3, f, f);    \
            a4 = step(a4, f, f), a5 = step(a5, f, f), a6 = step(a6, f, f), a7 = step(a7, f, f);    \
            a8 = step(a8, f, f), a9 = step(a9, f, f), a10 = step(a10, f, f);                       \
            a11 = step(a11, f, f);                                                                 \
            __asm__ volatile(""                                                                    \
                             : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5),         \
                               "+v"(a6), "+v"(a7), "+v"(a8), "+v"(a9), "+v"(a10), "+v"(a11));      \
        }                                                                                          \
        memcpy(arg, &a0, sizeof(float));                                                           \
    }
static __m128 sse_step(__m128 a, __m128 b, __m128 c)
{
    return _mm_add_ps(_mm_mul_ps(a, b), c);
}
FMA_LOOP(fma_c, "sse2", __m128, _mm_set1_ps, sse_step)
FMA_LOOP(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
FMA_LOOP(fma_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)

static double flops_of(const char *isa)
{
    float sink;
    int lanes = !strcmp(isa, "avx512") || !strcmp(isa, "amx") ? 16 : !strcmp(isa, "avx2") ? 8 : 4;
    double took = time_of(lanes == 16 ? fma_avx512 : lanes == 8 ? fma_avx2 : fma_c, &sink);
    return 2.0 * lanes * FMA_ROUNDS * FMA_CHAINS / took;
}
#else
static double flops_of(const char *isa)
{
    (void)isa;
    return 0;
}
#endif

/* ------------------------------------------------------------------ lines */

static void line(const struct core *core, const char *isa, const char *what, double took,
                 double bytes, double operations)
{
    printf("%-7s%-40s %10.0f ns %7.2f GB/s %4.0f %% %8.2f GFLOP/s", isa, what, took * 1e9,
           bytes / took * 1e-9, 100 * bytes / took / core->read, operations / took * 1e-9);
    if (core->flops > 0)
        printf(" %4.0f %%", 100 * operations / took / core->flops);
    printf("\n");
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "mkcheck: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    memset(p, 0, bytes);
    return p;
}

/* ------------------------------------------------------------------ kernels */

struct multiply {
    void (*kernel)(const struct mk_mm *mm);
    struct mk_mm mm;
};

static void call_multiply(void *arg)
{
    struct multiply *m = arg;
    m->kernel(&m->mm);
}

static void bench_mat(struct check *check, const struct mk *mk, const struct core *core)
{
    enum { K = 2048, MOST_M = 64, BIG = 128 << 20, SMALL = 1 << 20 };
    float *x = room(MOST_M * K * sizeof(float)), *tmp = room(mk_mm_tmp(K, MOST_M) * sizeof(float));
    fill_floats(check, PATTERN_RANDOM, x, MOST_M * K);

    for (int type = 0; type < MK_TYPE_COUNT; type++) {
        size_t row = mk_row_bytes(type, K);
        int big = (int)(BIG / row) / 16 * 16, small = (int)(SMALL / row) / 16 * 16;
        uint8_t *rows = room((size_t)small * row), *w = room((size_t)big * row);
        fill_weights(check, type, PATTERN_RANDOM, rows, (size_t)small * K);
        mk->mat[type].pack(w, rows, small, K);
        for (size_t at = (size_t)small * row; at < (size_t)big * row; at += row)
            memcpy(w + at, w + at % ((size_t)small * row), row);
        float *y = room((size_t)big * sizeof(float) + (size_t)(MOST_M * small) * sizeof(float));

        const struct {
            int m, n;
            const char *from;
        } cases[] = {{1, big, "memory"},
                     {1, small, "cache"},
                     {4, small, "cache"},
                     {16, small, "cache"},
                     {MOST_M, small, "cache"}};
        for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
            int m = cases[c].m, n = cases[c].n;
            struct multiply call = {m > 4 ? mk->mat[type].gemm : mk->mat[type].gemv,
                                    {.x = x,
                                     .w = w,
                                     .y = y,
                                     .tmp = tmp,
                                     .m = m,
                                     .n = n,
                                     .k = K,
                                     .n1 = n,
                                     .ldx = K,
                                     .ldy = n}};
            char what[64];
            snprintf(what, sizeof(what), "%-8s %s %2d x %d x %d, %s", mk_type_info[type].name,
                     m > 4 ? "gemm" : "gemv", m, n, K, cases[c].from);
            line(core, mk->isa, what, time_of(call_multiply, &call), (double)n * (double)row,
                 2.0 * m * n * K);
        }
        free(rows);
        free(w);
        free(y);
    }
    free(x);
    free(tmp);
}

struct attention {
    const struct mk *mk;
    struct mk_attend a;
    const uint8_t *codes; /* NULL, or the same cache in int8: its rows are widened into the pages */
};

static void call_attend(void *arg)
{
    struct attention *t = arg;
    struct mk_attend part = t->a;
    for (int n = t->a.to; part.from < n; part.from = part.to) {
        part.to = part.from + MK_ATTEND_PART < n ? part.from + MK_ATTEND_PART : n;
        size_t page =
            (size_t)part.page_tokens * mk_cache_row_bytes(MK_Q8_0, part.latent, part.rope);
        for (int p = part.from / part.page_tokens; t->codes && p < part.to / part.page_tokens; p++)
            t->mk->widen((void *)(uintptr_t)part.page[p], t->codes + (size_t)p * page,
                         t->codes + (size_t)(p + 1) * page, part.latent, part.rope,
                         part.page_tokens);
        t->mk->attend(&part);
    }
}

/* A cache of n tokens; of Q8_0 as the place meets it, a part made BF16 after the other. */
static void bench_cache(struct check *check, const struct mk *mk, const struct core *core,
                        enum mk_type type, int heads, int latent, int rope, int n)
{
    enum { PAGE = 32, MOST_PAGES = 256, MOST_HEADS = 64 };
    struct mk_peak peak[MOST_HEADS];
    int width = latent + rope;
    enum mk_type met = type == MK_Q8_0 ? MK_BF16 : type;
    int met_tokens = type == MK_Q8_0 ? MK_ATTEND_PART : n;
    size_t row = mk_cache_row_bytes(met, latent, rope),
           bytes = mk_cache_row_bytes(type, latent, rope);
    float *q = room((size_t)(heads * width) * sizeof(float));
    float *out = room((size_t)(heads * latent) * sizeof(float));
    float *tmp = room(mk_attend_tmp(PAGE, latent, rope) * sizeof(float));
    uint8_t *cache = room((size_t)met_tokens * row), *codes = NULL;
    fill_floats(check, PATTERN_RANDOM, q, (size_t)(heads * width));
    fill_weights(check, met, PATTERN_RANDOM, cache, (size_t)(met_tokens * width));
    if (type == MK_Q8_0) {
        codes = room((size_t)n * bytes);
        for (int t = 0; t < n; t++)
            mk->narrow(codes + (size_t)t * bytes, q, latent);
    }
    const void *page[MOST_PAGES];
    for (int p = 0; p < n / PAGE; p++)
        page[p] = cache + (size_t)(p * PAGE % met_tokens) * row;
    struct attention call = {mk,
                             {.q = q,
                              .page = page,
                              .out = out,
                              .peak = peak,
                              .tmp = tmp,
                              .type = met,
                              .n_heads = heads,
                              .ldq = width,
                              .ldo = latent,
                              .latent = latent,
                              .rope = rope,
                              .page_tokens = PAGE,
                              .to = n},
                             codes};
    char what[64];
    snprintf(what, sizeof(what), "%-8s attend %d heads, %d+%d, %d tokens", mk_type_info[type].name,
             heads, latent, rope, n);
    line(core, mk->isa, what, time_of(call_attend, &call), (double)n * (double)bytes,
         2.0 * heads * n * (width + latent));
    free(q);
    free(out);
    free(tmp);
    free(cache);
    free(codes);
}

static void bench_attend(struct check *check, const struct mk *mk, const struct core *core)
{
    static const int shapes[][4] = {{4, 256, 32, 512}, {16, 512, 64, 8192}, {64, 512, 64, 8192}};
    static const enum mk_type types[] = {MK_F32, MK_F16, MK_BF16, MK_Q8_0};
    for (int s = 0; s < 3; s++)
        for (int t = 0; t < 4; t++)
            bench_cache(check, mk, core, types[t], shapes[s][0], shapes[s][1], shapes[s][2],
                        shapes[s][3]);
}

enum { VEC_N = 2048 };

struct vec {
    const struct mk *mk;
    float *x, *y, *w, *turn;
};

static void call_norm(void *arg)
{
    struct vec *v = arg;
    v->mk->rms_norm(v->y, v->x, v->w, VEC_N, 1e-6f);
}

static void call_swiglu(void *arg)
{
    struct vec *v = arg;
    v->mk->swiglu(v->y, v->x, v->w, VEC_N);
}

static void call_softmax(void *arg)
{
    struct vec *v = arg;
    v->mk->softmax(v->y, VEC_N);
}

static void call_rope(void *arg)
{
    struct vec *v = arg;
    v->mk->rope(v->y, v->turn, VEC_N);
}

static void call_store(void *arg)
{
    struct vec *v = arg;
    v->mk->store(v->y, MK_F16, v->x, VEC_N);
}

static void call_route(void *arg)
{
    static const struct mk_route r = {MK_GATE_SIGMOID, 256, 8, 8, 4, true, 2.5f, NULL};
    struct vec *v = arg;
    int32_t expert[8];
    float weight[8];
    v->mk->route(&r, v->x, expert, weight, v->y);
}

static void bench_vec(struct check *check, const struct mk *mk, const struct core *core)
{
    const size_t bytes = VEC_N * sizeof(float);
    struct vec v = {mk, room(bytes), room(bytes), room(bytes), room(bytes)};
    for (int i = 0; i < VEC_N; i += 2) { /* lengths stay, however often it turns */
        v.turn[i] = 0.6f;
        v.turn[i + 1] = 0.8f;
    }
    fill_floats(check, PATTERN_RANDOM, v.x, VEC_N);
    fill_floats(check, PATTERN_RANDOM, v.w, VEC_N);
    static const struct {
        const char *what;
        void (*call)(void *arg);
        double bytes, operations; /* an element */
    } cases[] = {
        {"rms_norm 2048", call_norm, 12, 4},  {"swiglu 2048", call_swiglu, 12, 4},
        {"softmax 2048", call_softmax, 8, 4}, {"rope 2048", call_rope, 12, 3},
        {"store f16 2048", call_store, 6, 1}, {"route 8 of 256", call_route, 0.5, 0.125},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
        line(core, mk->isa, cases[c].what, time_of(cases[c].call, &v), cases[c].bytes * VEC_N,
             cases[c].operations * VEC_N);
    free(v.x);
    free(v.y);
    free(v.w);
    free(v.turn);
}

void bench(struct check *check, const struct mk *mk)
{
    struct span span = {.bytes = (size_t)256 << 20};
    span.start = memset(room(span.bytes), 1, span.bytes);
    struct core core = {(double)span.bytes / time_of(read_all, &span), flops_of(mk->isa)};
    free((void *)span.start);
    printf("%-7sone core reads %.1f GB/s and does %.0f GFLOP/s; shares are of these\n", mk->isa,
           core.read * 1e-9, core.flops * 1e-9);
    bench_mat(check, mk, &core);
    bench_attend(check, mk, &core);
    bench_vec(check, mk, &core);
}
