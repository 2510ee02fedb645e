/* SPDX-License-Identifier: MIT */
#include "place/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "place/cgroup.h"

enum { HUGE_PAGE_BYTES = 2 << 20 };

static int map(size_t bytes, int flags, void **ret)
{
    void *mem = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (mem == MAP_FAILED)
        return -ENOMEM;
    /* Both are wishes: without them everything works, slower or with larger dumps. */
    if (bytes >= 8 * HUGE_PAGE_BYTES)
        madvise(mem, bytes, MADV_HUGEPAGE);
    madvise(mem, bytes ? bytes : 1, MADV_DONTDUMP);
    *ret = mem;
    return 0;
}

int mem_alloc(size_t bytes, void **ret)
{
    return map(bytes, 0, ret);
}

int mem_reserve(size_t bytes, void **ret)
{
    return map(bytes, MAP_NORESERVE, ret);
}

void mem_free(void *mem, size_t bytes)
{
    int saved = errno;
    if (mem)
        munmap(mem, bytes ? bytes : 1);
    errno = saved;
}

/* ------------------------------------------------------------------ what is left */

static uint64_t machine_available(void)
{
    char line[128];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

struct tightest {
    uint64_t bytes;
    char *limit;
    size_t size;
};

static void look_at_memory(void *arg, int version, const char *folder, const char *group)
{
    struct tightest *t = arg;
    uint64_t limit, used;
    bool limited =
        cgroup_read(folder, version == 2 ? "memory.max" : "memory.limit_in_bytes", &limit);
    if (!limited ||
        !cgroup_read(folder, version == 2 ? "memory.current" : "memory.usage_in_bytes", &used))
        return;
    uint64_t left = limit - (used < limit ? used : limit);
    if (left < t->bytes) {
        t->bytes = left;
        snprintf(t->limit, t->size, "cgroup %s", group);
    }
}

uint64_t mem_available(char *limit, size_t size)
{
    struct tightest t = {.bytes = machine_available(), .limit = limit, .size = size};
    snprintf(limit, size, "MemAvailable");
    cgroup_walk("", "memory", look_at_memory, &t);
    return t.bytes;
}
