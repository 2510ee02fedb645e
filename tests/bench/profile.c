/* SPDX-License-Identifier: MIT */
#include "profile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_PHASES = 64 };

struct sum {
    const char *what;
    uint64_t ns, calls;
};

struct profile {
    bool table;
    FILE *trace;
    bool has_event;
    struct sum sum[MOST_PHASES];
    int n;
    uint64_t between, last_end; /* time from the end of a phase to the start of the next */
};

struct profile *profile_new(bool table, const char *trace)
{
    struct profile *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->table = table;
    if (trace) {
        p->trace = fopen(trace, "w");
        if (!p->trace) {
            perror(trace);
            exit(1);
        }
        fputs("[\n", p->trace);
    }
    return p;
}

void profile_free(struct profile *p)
{
    if (p && p->trace) {
        fputs("\n]\n", p->trace);
        if (fclose(p->trace)) {
            perror("moed-bench: trace");
            exit(1);
        }
    }
    free(p);
}

static void event(struct profile *p, const char *name, const char *kind, uint64_t start,
                  uint64_t ns)
{
    fprintf(p->trace,
            "%s{\"name\":\"%s\",\"ph\":\"%s\",\"s\":\"g\",\"pid\":1,\"tid\":1,\"ts\":%.3f,"
            "\"dur\":%.3f}",
            p->has_event ? ",\n" : "", name, kind, (double)start * 1e-3, (double)ns * 1e-3);
    p->has_event = true;
}

void profile_begin(struct profile *p, const char *test, int tokens, int depth, int sequences)
{
    char name[128];
    p->n = 0;
    p->between = p->last_end = 0;
    if (!p->trace)
        return;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    snprintf(name, sizeof name, "%s %d at %d, %d sequences", test, tokens, depth, sequences);
    event(p, name, "i", (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec, 0);
}

void profile_phase(void *arg, const char *what, uint64_t start_ns, uint64_t end_ns)
{
    struct profile *p = arg;
    int i = 0;
    while (i < p->n && p->sum[i].what != what)
        i++;
    if (i == p->n) {
        if (p->n == MOST_PHASES)
            return;
        p->sum[p->n++] = (struct sum){.what = what};
    }
    p->sum[i].ns += end_ns - start_ns;
    p->sum[i].calls++;
    if (p->last_end && start_ns - p->last_end < 1000000) /* longer: between steps */
        p->between += start_ns - p->last_end;
    p->last_end = end_ns;
    if (p->trace)
        event(p, what, "X", start_ns, end_ns - start_ns);
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = ((const struct sum *)a)->ns, y = ((const struct sum *)b)->ns;
    return x < y ? 1 : x > y ? -1 : 0;
}

void profile_end(struct profile *p, FILE *to)
{
    uint64_t all = p->between;
    if (!p->table || !to)
        return;
    for (int i = 0; i < p->n; i++)
        all += p->sum[i].ns;
    qsort(p->sum, (size_t)p->n, sizeof *p->sum, by_time);
    for (int i = 0; i < p->n; i++)
        fprintf(to, "    %-16s %8" PRIu64 " times %10.3f ms %5.1f%%\n", p->sum[i].what,
                p->sum[i].calls, (double)p->sum[i].ns * 1e-6,
                100 * (double)p->sum[i].ns / (double)all);
    fprintf(to, "    %-16s %14s %10.3f ms %5.1f%%\n", "between", "", (double)p->between * 1e-6,
            100 * (double)p->between / (double)all);
}
