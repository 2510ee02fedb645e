/* SPDX-License-Identifier: MIT */
#include "place/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

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

static bool read_number(const char *path, uint64_t *ret)
{
    FILE *file = fopen(path, "re");
    bool ok = file && fscanf(file, "%" SCNu64, ret) == 1; /* "max" is no number: no limit */
    if (file)
        fclose(file);
    return ok;
}

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

/* A cgroup and all above it: each may have a limit of its own. */
static void look_up(struct tightest *t, const char *root, char *group, const char *limit_file,
                    const char *usage_file)
{
    for (;;) {
        char path[1024];
        uint64_t limit, used;
        snprintf(path, sizeof path, "%s%s/%s", root, group, limit_file);
        bool limited = read_number(path, &limit);
        snprintf(path, sizeof path, "%s%s/%s", root, group, usage_file);
        if (limited && read_number(path, &used) &&
            limit - (used < limit ? used : limit) < t->bytes) {
            t->bytes = limit - (used < limit ? used : limit);
            snprintf(t->limit, t->size, "cgroup %s", *group ? group : "/");
        }
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

uint64_t mem_available(char *limit, size_t size)
{
    struct tightest t = {.bytes = machine_available(), .limit = limit, .size = size};
    snprintf(limit, size, "MemAvailable");
    char line[640];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *group = strrchr(line, ':');
        if (!group++)
            continue;
        if (!strcmp(group, "/"))
            *group = '\0';
        if (!strncmp(line, "0::", 3))
            look_up(&t, "/sys/fs/cgroup", group, "memory.max", "memory.current");
        else if (strstr(line, ":memory:"))
            look_up(&t, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
                    "memory.usage_in_bytes");
    }
    if (file)
        fclose(file);
    return t.bytes;
}
