/* SPDX-License-Identifier: MIT
 *
 * probe needs: calls what moed wants of the kernel; probe must-not: what it must never get, which
 * does harm outside of a sandbox. Each call is a line "name error". booted.py runs it within the
 * unit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    BYTES = 1 << 16,
    HUGE = 1 << 21,
    HUGE_2MB = 21 << 26, /* MFD_HUGE_2MB */
    PREFERRED = 1,       /* MPOL_PREFERRED */
    ASK_FOR = 0x1023,    /* ARCH_REQ_XCOMP_PERM */
    TILE_DATA = 18,      /* XFEATURE_XTILE_DATA */
};

static void tell(const char *name, long result)
{
    printf("%s %s\n", name, result == -1 ? strerrorname_np(errno) : "ok");
}

static void *fresh(int flags, int fd, size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
}

static void needs(void)
{
    unsigned long node = 1;
    cpu_set_t cpus;
    struct {
        unsigned size, policy;
        unsigned long long flags;
        int nice;
        unsigned priority;
        unsigned long long runtime, deadline, period;
    } attr = {.size = 48, .nice = getpriority(PRIO_PROCESS, 0)};
    void *mem = fresh(MAP_PRIVATE | MAP_ANONYMOUS, -1, BYTES);
    tell("get_mempolicy", syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0));
    tell("set_mempolicy", syscall(SYS_set_mempolicy, PREFERRED, &node, 8));
    tell("mbind", syscall(SYS_mbind, mem, BYTES, PREFERRED, &node, 8, 0));
    tell("sched_getaffinity", sched_getaffinity(0, sizeof cpus, &cpus));
    tell("sched_setaffinity", sched_setaffinity(0, sizeof cpus, &cpus));
    tell("sched_setattr", syscall(SYS_sched_setattr, 0, &attr, 0));
    tell("mlock", mlock(mem, BYTES));
    tell("madvise_huge", madvise(mem, BYTES, MADV_HUGEPAGE));
    tell("madvise_populate", madvise(mem, BYTES, MADV_POPULATE_WRITE));
    tell("arch_prctl_amx", syscall(SYS_arch_prctl, ASK_FOR, TILE_DATA));

    int fd = memfd_create("probe", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    tell("memfd_create", fd);
    tell("ftruncate", ftruncate(fd, BYTES));
    tell("seal", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
    int huge = memfd_create("probe", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB | HUGE_2MB);
    tell("memfd_create_huge", huge);
    tell("ftruncate_huge", ftruncate(huge, HUGE));
    /* without pages set aside: ENOMEM, which is what the daemon takes for none */
    tell("mmap_huge", (long)fresh(MAP_SHARED, huge, HUGE));
}

static void must_not(void)
{
    tell("inet", socket(AF_INET, SOCK_STREAM, 0));
    tell("inet6", socket(AF_INET6, SOCK_DGRAM, 0));
    tell("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    tell("packet", socket(AF_PACKET, SOCK_RAW, 0));
    tell("write_and_execute", (long)mmap(NULL, BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    tell("unshare_user", unshare(CLONE_NEWUSER));
    tell("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    tell("write_usr", open("/usr/probe", O_WRONLY | O_CREAT, 0600));
    tell("write_etc", open("/etc/moed/probe", O_WRONLY | O_CREAT, 0600));
    tell("write_sys", open("/proc/sys/vm/nr_hugepages", O_WRONLY));
    tell("read_home",
         open("/home/.", O_RDONLY | O_DIRECTORY) < 0 ? -1 : access("/home/member", F_OK));
    tell("read_shadow", open("/etc/shadow", O_RDONLY));
    tell("chroot", chroot("/"));
    tell("keys", syscall(SYS_keyctl, 0, -3, 0));
    tell("perf", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    tell("set_id", fchmod(memfd_create("probe", MFD_CLOEXEC), 04700));
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "needs") == 0)
        needs();
    else if (argc == 2 && strcmp(argv[1], "must-not") == 0)
        must_not();
    else
        return 2;
    return 0;
}
