/* SPDX-License-Identifier: MIT */
#include "place/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/own.h"
#include "place/mem.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

enum {
    HUGE = 2 << 20,
    LARGE = 8 * HUGE, /* less is not worth a huge page */
    PATIENCE = 16,    /* refusals until we stop asking */
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
};

static size_t whole_pages(size_t bytes)
{
    size_t page = bytes < LARGE ? 4096 : HUGE;
    return bytes == 0 ? page : (bytes + page - 1) / page * page;
}

/* Room for a block at an address that a huge page may begin at. */
static void *find_room(size_t all)
{
    char *mem = mmap(NULL, all + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED)
        return NULL;
    size_t before = (HUGE - (uintptr_t)mem % HUGE) % HUGE;
    if (before)
        munmap(mem, before);
    munmap(mem + before + all, HUGE - before);
    return mem + before;
}

static int map_at(void *at, size_t all, int protection, int fd)
{
    if (mmap(at, all, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        return -errno;
    madvise(at, all, MADV_DONTDUMP);
    return 0;
}

static int make(size_t bytes, unsigned flags, struct sealed *ret)
{
    size_t all = whole_pages(bytes);
    OWN_FD fd = memfd_create("moed-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0 || ftruncate(fd, (off_t)all) < 0)
        return -errno;
    void *mem = find_room(all);
    if (!mem)
        return -ENOMEM;
    int r = map_at(mem, all, PROT_READ | PROT_WRITE, fd);
    if (r < 0) {
        munmap(mem, all);
        return r;
    }
    ret->fd = TAKE_FD(fd);
    ret->mem = mem;
    ret->bytes = bytes;
    ret->is_set_aside = flags & MFD_HUGETLB;
    return 0;
}

int sealed_make(size_t bytes, struct sealed *ret)
{
    if (bytes > SIZE_MAX / 4)
        return -ENOMEM;
    *ret = (struct sealed){.fd = -1};
    if (bytes >= LARGE && mem_set_aside() >= whole_pages(bytes) &&
        make(bytes, MFD_HUGETLB | MFD_HUGE_2MB, ret) == 0)
        return 0;
    int r = make(bytes, 0, ret);
    if (r == 0 && bytes >= LARGE)
        ret->asked = calloc(whole_pages(bytes) / HUGE, 1); /* without: small pages */
    return r == -EINVAL || r == -EFBIG ? -ENOMEM : r;      /* more than a file can have */
}

/* Whatever the setting for shared memory, but for "deny", the kernel makes a huge page if it is
 * asked for just this one; of the node that its first small one is on, so that one is touched. */
static void ask_for(struct sealed *s, size_t page)
{
    if (atomic_exchange_explicit(&s->asked[page], 1, memory_order_relaxed))
        return;
    char *at = (char *)s->mem + page * HUGE;
    madvise(at, (size_t)sysconf(_SC_PAGESIZE), MADV_POPULATE_WRITE); /* leaves what others write */
    if (madvise(at, HUGE, MADV_COLLAPSE) == 0)
        atomic_store_explicit(&s->refused, 0, memory_order_relaxed);
    else if (errno == EINVAL) /* an old kernel, or denied */
        atomic_store_explicit(&s->refused, PATIENCE, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
}

void sealed_expect(struct sealed *s, size_t from, size_t n)
{
    if (!s->asked || n == 0)
        return;
    for (size_t page = from / HUGE; page <= (from + n - 1) / HUGE; page++)
        if (atomic_load_explicit(&s->refused, memory_order_relaxed) < PATIENCE &&
            !atomic_load_explicit(&s->asked[page], memory_order_relaxed))
            ask_for(s, page);
}

/* The same memory through a descriptor that cannot write, which older kernels want for a mapping of
 * what is sealed. */
static int open_to_read(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    return read_only < 0 ? -errno : read_only;
}

int sealed_seal(struct sealed *s)
{
    size_t all = whole_pages(s->bytes);
    OWN_FD fd = open_to_read(s->fd);
    if (fd < 0)
        return fd;
    /* Seals are refused while anybody could write; the address is kept by a mapping of nothing. */
    if (mmap(s->mem, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
             0) == MAP_FAILED)
        return -errno;
    int r = fcntl(s->fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0 ? -errno : 0;
    int mapped = map_at(s->mem, all, PROT_READ, fd);
    free(s->asked);
    s->asked = NULL;
    if (r < 0 || mapped < 0)
        return r < 0 ? r : mapped;
    close(s->fd);
    s->fd = TAKE_FD(fd);
    return 0;
}

/* ------------------------------------------------------------------ handed over */

static bool is_set_aside(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

static int check(int fd, struct stat *st, struct err *err)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, st) < 0 || !S_ISREG(st->st_mode))
        return err_set(err, -EBADF, "it is no memory that could be sealed");
    if (st->st_uid != geteuid())
        return err_set(err, -EPERM, "it belongs to uid %u, expected %u", (unsigned)st->st_uid,
                       (unsigned)geteuid());
    if ((seals & SEALS) != SEALS)
        return err_set(err, -EACCES, "it has seals %#x, expected %#x: it could still be changed",
                       (unsigned)seals, (unsigned)SEALS);
    return 0;
}

int sealed_map(int fd, size_t bytes, struct sealed *ret, struct err *err)
{
    struct stat st;
    int r = check(fd, &st, err);
    if (r < 0)
        return r;
    size_t all = whole_pages(bytes);
    if ((uint64_t)st.st_size != all)
        return err_set(err, -EMSGSIZE, "it has %lld bytes, expected %zu", (long long)st.st_size,
                       all);
    OWN_FD read_only = open_to_read(fd);
    if (read_only < 0)
        return err_set(err, read_only, "it cannot be opened: %s", strerror(-read_only));
    void *mem = find_room(all);
    if (!mem)
        return err_set(err, -ENOMEM, "no room for %zu bytes of addresses", all);
    r = map_at(mem, all, PROT_READ, read_only);
    if (r < 0) {
        munmap(mem, all);
        return err_set(err, r, "it cannot be mapped: %s", strerror(-r));
    }
    *ret = (struct sealed){
        .fd = TAKE_FD(read_only), .mem = mem, .bytes = bytes, .is_set_aside = is_set_aside(fd)};
    return 0;
}

int sealed_copy(int fd, size_t most, char **ret, size_t *bytes, struct err *err)
{
    struct stat st;
    int r = check(fd, &st, err);
    if (r < 0)
        return r;
    if (st.st_size <= 0 || (uint64_t)st.st_size > most)
        return err_set(err, -EMSGSIZE, "it has %lld bytes, expected at most %zu",
                       (long long)st.st_size, most);
    size_t n = (size_t)st.st_size, have = 0;
    OWN_MEM char *copy = malloc(n + 1);
    if (!copy)
        return err_set(err, -ENOMEM, "no memory for %zu bytes", n);
    while (have < n) {
        ssize_t got = pread(fd, copy + have, n - have, (off_t)have);
        if (got <= 0)
            return err_set(err, -EIO, "it cannot be read");
        have += (size_t)got;
    }
    copy[n] = '\0';
    *bytes = n;
    *ret = TAKE(copy);
    return 0;
}

int sealed_cover(struct sealed *s, size_t from, size_t n, const void *src)
{
    size_t page = s->is_set_aside ? HUGE : 4096;
    size_t first = from / page * page, last = (from + n + page - 1) / page * page;
    char *made =
        mmap(NULL, last - first, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return -ENOMEM;
    memcpy(made, (char *)s->mem + first, from - first);
    memcpy(made + (from - first), src, n);
    memcpy(made + (from - first) + n, (char *)s->mem + from + n, last - (from + n));
    madvise(made, last - first, MADV_DONTDUMP);
    if (mprotect(made, last - first, PROT_READ) == 0 &&
        mremap(made, last - first, last - first, MREMAP_MAYMOVE | MREMAP_FIXED,
               (char *)s->mem + first) != MAP_FAILED)
        return 0;
    munmap(made, last - first);
    return -ENOMEM;
}

void sealed_fini(struct sealed *s)
{
    int saved = errno;
    if (s->mem)
        munmap(s->mem, whole_pages(s->bytes));
    if (s->mem && s->fd >= 0)
        close(s->fd);
    free(s->asked);
    *s = (struct sealed){.fd = -1};
    errno = saved;
}
