/* SPDX-License-Identifier: MIT
 *
 * mkcheck: is every fast kernel the truth, and how fast is it?
 *
 *   mkcheck [--seed N] [--isa NAME] [--list] [--bench]
 *
 * Compares the kernels of each instruction set that this CPU runs with the reference. Prints the
 * seed first, so that a failure can be repeated, and `N passed, N failed` last; exits 1 if anything
 * differs, and 2 if the command line is wrong.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "check.h"

/* ------------------------------------------------------------------ counting */

static char case_name[256]; /* for the signal handler, which has no other way to know */

void check_begin(struct check *check, const char *format, ...)
{
    check_end(check);
    va_list args;
    va_start(args, format);
    vsnprintf(case_name, sizeof(case_name), format, args);
    va_end(args);
}

void check_end(struct check *check)
{
    if (case_name[0])
        *(check->case_failed ? &check->failed : &check->passed) += 1;
    check->case_failed = false;
    case_name[0] = 0;
}

void check_fail(struct check *check, const char *format, ...)
{
    if (check->case_failed)
        return; /* the first fault of a case says enough */
    check->case_failed = true;
    printf("FAIL %s: ", case_name);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void on_crash(int sig)
{
    say(sig == SIGILL   ? "\nillegal instruction in "
        : sig == SIGFPE ? "\narithmetic fault in "
                        : "\nmemory fault in ");
    say(case_name);
    say("\n");
    _exit(1);
}

void check_catch_crashes(void)
{
    struct sigaction action = {.sa_handler = on_crash};
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
}

/* ------------------------------------------------------------------ random numbers */

uint64_t random_bits(struct check *check)
{
    uint64_t z = check->random += 0x9e3779b97f4a7c15; /* SplitMix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

int random_below(struct check *check, int below)
{
    return (int)(random_bits(check) % (uint64_t)below);
}

float random_float(struct check *check)
{
    return (float)(int32_t)(random_bits(check) >> 40) * 0x1p-23f - 1;
}

/* ------------------------------------------------------------------ guarded memory */

void *guard(int which, size_t bytes)
{
    static struct {
        uint8_t *end;
        size_t most;
    } region[GUARD_COUNT];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (!region[which].end || bytes > region[which].most) {
        size_t most = (bytes + page - 1) / page * page * 2;
        uint8_t *start = mmap(NULL, most + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED || mprotect(start + page, most, PROT_READ | PROT_WRITE)) {
            fprintf(stderr, "mkcheck: no memory for %zu bytes: %s\n", most, strerror(errno));
            exit(1);
        }
        if (region[which].end)
            munmap(region[which].end - region[which].most - page, region[which].most + 2 * page);
        region[which].end = start + page + most;
        region[which].most = most;
    }
    return region[which].end - bytes;
}

/* ------------------------------------------------------------------ data */

static const uint16_t f16_of[PATTERN_COUNT] = {
    [PATTERN_LARGE] = 0x7bff, /* 65504 */
    [PATTERN_TINY] = 0x0001,  /* the least subnormal */
    [PATTERN_ZERO] = 0x8000,  /* -0 */
};

static void put_f16(struct check *check, enum pattern pattern, uint8_t *p)
{
    uint16_t h = f16_of[pattern];
    if (pattern == PATTERN_RANDOM) /* magnitudes from 2^-11 to 2^-2 */
        h = (uint16_t)((random_bits(check) & 0x83ff) +
                       ((uint64_t)(4 + random_below(check, 9)) << 10));
    memcpy(p, &h, sizeof(h));
}

/* IQ1_M keeps a quarter of its f16 in the upper four bits of each of four words. */
static void put_quarters(struct check *check, enum pattern pattern, uint8_t *words)
{
    uint8_t half[2];
    put_f16(check, pattern, half);
    for (int i = 0; i < 4; i++)
        words[2 * i + 1] = (uint8_t)((words[2 * i + 1] & 15) | half[i / 2] >> 4 * (i % 2) << 4);
}

/* Over a block of any bytes: scales of the pattern's size, and none that is no number. */
static void put_scales(struct check *check, enum mk_type type, enum pattern pattern, uint8_t *p)
{
    /* Where a block has its halves, plus one; 0: none. */
    static const uint8_t f16_at[MK_TYPE_COUNT][2] = {
        [MK_Q8_0] = {1},    [MK_Q4_0] = {1},      [MK_Q4_1] = {1, 3}, [MK_Q5_0] = {1},
        [MK_Q5_1] = {1, 3}, [MK_Q2_K] = {81, 83}, [MK_Q3_K] = {109},  [MK_Q4_K] = {1, 3},
        [MK_Q5_K] = {1, 3}, [MK_Q6_K] = {209},    [MK_IQ1_S] = {1},   [MK_IQ2_XXS] = {1},
        [MK_IQ2_XS] = {1},  [MK_IQ2_S] = {1},     [MK_IQ3_XXS] = {1}, [MK_IQ3_S] = {1},
        [MK_IQ4_NL] = {1},  [MK_IQ4_XS] = {1},
    };
    static const uint8_t e8m0_of[PATTERN_COUNT] = {[PATTERN_LARGE] = 127 + 50};
    static const uint8_t e4m3_of[PATTERN_COUNT] = {[PATTERN_LARGE] = 0x7e, [PATTERN_TINY] = 1};
    for (int i = 0; i < 2; i++)
        if (f16_at[type][i])
            put_f16(check, pattern, p + f16_at[type][i] - 1);
    if (type == MK_IQ1_M)
        put_quarters(check, pattern, p + 48);
    if (type == MK_MXFP4)
        p[0] =
            pattern == PATTERN_RANDOM ? (uint8_t)(118 + random_below(check, 9)) : e8m0_of[pattern];
    if (type == MK_NVFP4 && pattern != PATTERN_RANDOM)
        memset(p, e4m3_of[pattern], 4);
    if (type == MK_FP8_E4M3) {
        float scale;
        fill_floats(check, pattern, &scale, 1);
        memcpy(p, &scale, sizeof(scale));
        for (int i = 4; i < 132; i++)
            p[i] = (p[i] & 0x7f) == 0x7f ? 0x7e : p[i];
    }
}

void fill_weights(struct check *check, enum mk_type type, enum pattern pattern, void *w, size_t n)
{
    uint8_t *p = w;
    const struct mk_type_info *info = &mk_type_info[type];

    if (type == MK_F32) {
        fill_floats(check, pattern, w, n);
        return;
    }
    for (size_t b = 0; b < n / info->block_elements; b++, p += info->block_bytes) {
        if (type == MK_F16) {
            put_f16(check, pattern, p);
            p[1] ^= (uint8_t)(random_bits(check) & 0x80);
            continue;
        }
        if (type == MK_BF16) {
            float f;
            uint16_t upper;
            fill_floats(check, pattern, &f, 1);
            memcpy(&upper, (const uint8_t *)&f + 2, sizeof(upper));
            memcpy(p, &upper, sizeof(upper));
            continue;
        }
        bool most = pattern == PATTERN_LARGE && random_below(check, 2);
        for (uint32_t i = 0; i < info->block_bytes; i++) /* all bits of scales and codes, or any */
            p[i] = most ? 0xff : (uint8_t)random_bits(check);
        put_scales(check, type, pattern, p);
    }
}

void fill_floats(struct check *check, enum pattern pattern, float *x, size_t n)
{
    static const float scale[PATTERN_COUNT] = {1, 0x1p50f, 0x1p-130f, 0};
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(check) * scale[pattern];
}

/* The bound of a sum of `terms` products is one rounding for each product and addition on the
 * longest way from a term to the result: terms / lanes additions in a lane, then the tree over the
 * lanes. It holds for any data; typical errors are some ten times smaller. */
double sum_tolerance(const char *isa, int terms)
{
    static const struct {
        const char *isa;
        int lanes, depth;
    } order[] = {
        {"c", 8, 3 + 1},       /* 8 sums; the tree of three levels; a product rounds by itself */
        {"avx2", 2 * 8, 4},    /* two registers of 8, fused: no rounding of products */
        {"avx512", 2 * 16, 5}, /* two registers of 16, fused */
        {"amx", 2 * 16, 5},    /* avx512's, but for many rows */
    };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (!strcmp(order[i].isa, isa))
            return ((terms + order[i].lanes - 1) / order[i].lanes + order[i].depth) * 0x1p-24;
    return 0; /* a set without a row here fails */
}

struct tolerance tolerance_of(const struct mk_mat *mat, enum mk_arithmetic arithmetic, int terms)
{
    int block = (int)mk_type_info[mat->type].block_elements;
    switch (arithmetic) {
    case MK_CODES:
    case MK_BYTES: /* steps are rounded, then two fused steps for each block and one for each group
                    */
        return (struct tolerance){
            .relative = (12 + 2.0 * terms / block + (double)terms / MK_DOT_GROUP) * 0x1p-24,
            .flushed = MK_DOT_LEAST,
            .rounds_x = true,
            .rounds_w = arithmetic == MK_BYTES,
        };
    case MK_HALVES:
        /* two roundings to 8 bits; a pair is added to each of the sums of 16 steps, one by one;
         * tiles know no subnormals */
        return (struct tolerance){
            .relative = 2 * 0x1p-8 + 0x1p-16 + (terms / 2 + 2) * 0x1p-23,
            .flushed = 0x1p-126,
        };
    default:
        return (struct tolerance){.relative = sum_tolerance(mat->isa, terms)};
    }
}

/* ------------------------------------------------------------------ main */

static void list(const struct mk *mk)
{
    static const char *const vec[] = {"rms_norm", "rope",  "swiglu", "softmax", "store",
                                      "attend",   "route", "narrow", "widen"};
    for (int t = 0; t < MK_TYPE_COUNT; t++)
        printf("%-7s mat %-8s kernels of %s, layout %d\n", mk->isa, mk_type_info[t].name,
               mk->mat[t].isa, (int)mk->mat[t].layout);
    for (size_t i = 0; i < sizeof(vec) / sizeof(vec[0]); i++)
        printf("%-7s %s\n", mk->isa, vec[i]);
}

static uint64_t fresh_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = (uint64_t)getpid();
    return seed;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seed", required_argument, NULL, 's'},
                                            {"isa", required_argument, NULL, 'i'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"bench", no_argument, NULL, 'b'},
                                            {0}};
    uint64_t seed = fresh_seed();
    const char *only = NULL;
    bool listing = false, timing = false;

    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's')
            seed = strtoull(optarg, NULL, 0);
        else if (o == 'i')
            only = optarg;
        else if (o == 'l')
            listing = true;
        else if (o == 'b')
            timing = true;
        else
            return 2;
    }
    struct mk mk;
    if (optind < argc || (only && mk_init(&mk, only) == -EINVAL)) {
        fprintf(stderr, "mkcheck: '%s' is neither an option nor an instruction set\n",
                optind < argc ? argv[optind] : only);
        return 2;
    }
    if (!listing)
        printf("mkcheck --seed %llu\n", (unsigned long long)seed);
    setvbuf(stdout, NULL, _IOLBF, 0);

    struct check check = {0};
    check_catch_crashes();
    for (int i = 0; mk_isa_names[i]; i++) {
        if (only && strcmp(only, mk_isa_names[i]))
            continue;
        if (mk_init(&mk, mk_isa_names[i])) {
            printf("%s: not on this CPU or not in this build, left out\n", mk_isa_names[i]);
            continue;
        }
        check.random = seed;
        if (listing) {
            list(&mk);
            continue;
        }
        check_mat(&check, &mk);
        check_vec(&check, &mk);
        check_route(&check, &mk);
        check_attend(&check, &mk);
        check_narrow(&check, &mk);
        check_end(&check);
        if (timing)
            bench(&check, &mk);
    }
    if (listing)
        return 0;
    printf("%ld passed, %ld failed\n", check.passed, check.failed);
    return check.failed || !check.passed ? 1 : 0;
}
