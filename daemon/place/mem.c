/* SPDX-License-Identifier: MIT */
#include "place/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "place/cgroup.h"

enum { HUGE_PAGE_BYTES = 2 << 20, LARGE_BYTES = 8 * HUGE_PAGE_BYTES };

/* Large blocks end with a huge page, whichever kind they get: unmapping asks for that. */
static size_t mapped_bytes(size_t bytes)
{
    if (bytes < LARGE_BYTES)
        return bytes ? bytes : 1;
    size_t rest = bytes % HUGE_PAGE_BYTES;
    return rest ? bytes + (HUGE_PAGE_BYTES - rest) : bytes;
}

static int map(size_t bytes, int flags, void **ret)
{
    size_t all = mapped_bytes(bytes);
    void *mem = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (mem == MAP_FAILED)
        return -ENOMEM;
    /* Both are wishes: without them everything works, slower or with larger dumps. */
    if (bytes >= LARGE_BYTES && !(flags & MAP_HUGETLB))
        madvise(mem, all, MADV_HUGEPAGE);
    madvise(mem, all, MADV_DONTDUMP);
    *ret = mem;
    return 0;
}

int mem_alloc(size_t bytes, void **ret)
{
    return map(bytes, 0, ret);
}

/* Set aside pages are promised by mmap, all or none; touching what was promised fails only where a
 * control group limits them, so there we leave them alone. */
static bool map_set_aside(size_t bytes, void **ret)
{
    return bytes >= LARGE_BYTES && mem_set_aside() >= mapped_bytes(bytes) &&
           map(bytes, MAP_HUGETLB | MAP_HUGE_2MB, ret) == 0;
}

int mem_alloc_long(size_t bytes, void **ret)
{
    return map_set_aside(bytes, ret) ? 0 : map(bytes, 0, ret);
}

int mem_reserve(size_t bytes, void **ret)
{
    return map_set_aside(bytes, ret) ? 0 : map(bytes, MAP_NORESERVE, ret);
}

void mem_free(void *mem, size_t bytes)
{
    int saved = errno;
    if (mem)
        munmap(mem, mapped_bytes(bytes));
    errno = saved;
}

size_t mem_give_back(void *mem, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)mem, end = at + bytes;
    uintptr_t first = (at + page - 1) / page * page, last = end / page * page;
    if (first >= last || madvise((char *)mem + (first - at), last - first, MADV_DONTNEED) < 0) {
        explicit_bzero(mem, bytes);
        return 0;
    }
    explicit_bzero(mem, first - at);
    explicit_bzero((char *)mem + (last - at), end - last);
    return last - first;
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

/* A limit beyond this is what version 1 writes for none. */
static void look_at_huge(void *arg, int version, const char *folder, const char *group)
{
    bool *limited = arg;
    uint64_t limit;
    (void)group;
    if (cgroup_read(folder, version == 2 ? "hugetlb.2MB.max" : "hugetlb.2MB.limit_in_bytes",
                    &limit) &&
        limit < UINT64_MAX / 4)
        *limited = true;
}

uint64_t mem_set_aside(void)
{
    static const char folder[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    uint64_t free_pages = 0, promised = 0;
    bool limited = false;
    cgroup_read(folder, "free_hugepages", &free_pages);
    cgroup_read(folder, "resv_hugepages", &promised);
    if (free_pages <= promised)
        return 0;
    cgroup_walk("", "hugetlb", look_at_huge, &limited);
    return limited ? 0 : (free_pages - promised) * HUGE_PAGE_BYTES;
}

/* ------------------------------------------------------------------ nodes */

uint64_t mem_node_room(int os, uint64_t wanted)
{
    char path[128], line[128];
    uint64_t kib, room = 0, pages = 0;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB", os);
    if (mem_set_aside() >= wanted && cgroup_read(path, "free_hugepages", &pages))
        return pages * HUGE_PAGE_BYTES;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", os);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) { /* "Node 0 MemFree:  123 kB" */
        char name[32];
        if (sscanf(line, "Node %*d %31s %" SCNu64, name, &kib) == 2 &&
            (!strcmp(name, "MemFree:") || !strcmp(name, "Active(file):") ||
             !strcmp(name, "Inactive(file):")))
            room += kib * 1024;
    }
    if (file)
        fclose(file);
    return room;
}

/* Where a cut at `at` goes: pages are the kernel's unit. */
static size_t cut_at(size_t bytes, size_t at)
{
    size_t page = bytes < LARGE_BYTES ? 4096 : HUGE_PAGE_BYTES;
    return at >= bytes ? mapped_bytes(bytes) : at / page * page;
}

int mem_bind(void *mem, size_t bytes, size_t from, size_t to, int os)
{
    unsigned long mask[1024 / (8 * sizeof(long))] = {0};
    const unsigned bits = 8 * sizeof *mask;
    if (os < 0 || os >= 1024)
        return -EINVAL;
    mask[(unsigned)os / bits] = 1ul << ((unsigned)os % bits);
    /* Preferred, not bound: of a node that is full after all the kernel takes another one's, where
     * binding would end us. */
    from = cut_at(bytes, from);
    to = cut_at(bytes, to);
    return from == to || syscall(SYS_mbind, (char *)mem + from, to - from, MPOL_PREFERRED, mask,
                                 1024, 0) == 0
               ? 0
               : -errno;
}

int mem_node_percent(const void *mem, size_t bytes, int os)
{
    enum { SAMPLES = 1024 };
    const void *page[SAMPLES];
    int status[SAMPLES], seen = 0, there = 0;
    size_t step = bytes / SAMPLES / 4096 * 4096, n = 0;
    if (step < 4096)
        step = 4096;
    for (size_t at = 0; at < bytes && n < SAMPLES; at += step)
        page[n++] = (const char *)mem + at;
    if (syscall(SYS_move_pages, 0, n, page, NULL, status, 0) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        seen += status[i] >= 0; /* others are not touched yet */
        there += status[i] == os;
    }
    return seen ? 100 * there / seen : -1;
}

/* ------------------------------------------------------------------ what was given */

/* A line of smaps' fields, of an area that has something of the block. */
static void look_at_line(const char *line, struct mem_look *ret)
{
    uint64_t kib;
    if (sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
        ret->touched += kib * 1024;
    } else if (sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1 ||
               sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1) {
        ret->huge += kib * 1024;
    } else if (sscanf(line, "Private_Hugetlb: %" SCNu64, &kib) == 1 ||
               sscanf(line, "Shared_Hugetlb: %" SCNu64, &kib) == 1) { /* not in Rss */
        ret->touched += kib * 1024;
        ret->huge += kib * 1024;
    } else if (!strncmp(line, "VmFlags:", 8)) {
        ret->is_set_aside |= strstr(line, " ht") != NULL;
        ret->is_asked |= strstr(line, " hg") != NULL;
        ret->is_shared |= strstr(line, " ms") != NULL;
    }
}

void mem_look(const void *mem, size_t bytes, struct mem_look *ret)
{
    uintptr_t first = (uintptr_t)mem, last = first + bytes;
    bool inside = false;
    char line[512];
    *ret = (struct mem_look){.bytes = bytes};
    FILE *file = fopen("/proc/self/smaps", "re");
    while (file && fgets(line, sizeof line, file)) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            if (from >= last && !inside)
                break;
            inside = from < last && to > first;
        } else if (inside) {
            look_at_line(line, ret);
        }
    }
    if (file)
        fclose(file);
}

/* What the administrator chose for transparent huge pages: the word in brackets. */
static bool are_never_given(void)
{
    char line[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    bool read = file && fgets(line, sizeof line, file);
    if (file)
        fclose(file);
    return !read || strstr(line, "[never]");
}

void mem_describe(const struct mem_look *l, char *dst, size_t size)
{
    double percent = l->touched ? 100 * (double)l->huge / (double)l->touched : 0;
    int n = snprintf(dst, size, "%.1f %s", (double)l->bytes / (l->bytes < 1000000000 ? 1e6 : 1e9),
                     l->bytes < 1000000000 ? "MB" : "GB");
    if (n < 0 || (size_t)n >= size)
        return;
    dst += n;
    size -= (size_t)n;
    if (l->is_set_aside)
        snprintf(dst, size, " in huge pages that were set aside (vm.nr_hugepages)");
    else if (l->bytes < LARGE_BYTES)
        snprintf(dst, size, " in small pages: too little for huge ones");
    else if (l->is_shared)
        snprintf(dst, size, ", %.0f %% in huge pages%s", percent > 100 ? 100 : percent,
                 percent == 0   ? ": the kernel gives none to shared memory (since Linux 6.1 it "
                                  "does, unless shmem_enabled says deny)"
                 : percent < 90 ? ": the kernel found no more, memory is in pieces"
                                : "");
    else if (are_never_given())
        snprintf(dst, size,
                 " in small pages: transparent huge pages are switched off "
                 "(/sys/kernel/mm/transparent_hugepage/enabled)");
    else if (l->touched == 0)
        snprintf(dst, size, ", will ask for transparent huge pages");
    else
        snprintf(dst, size, ", %.0f %% in transparent huge pages%s", percent > 100 ? 100 : percent,
                 percent < 90 ? ": the kernel found no more, memory is in pieces" : "");
}
