/* SPDX-License-Identifier: MIT */
#include "place/mem.h"

#include <errno.h>
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
