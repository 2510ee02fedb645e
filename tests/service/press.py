# SPDX-License-Identifier: MIT
"""Makes memory short for the tasks of one control group, and for nobody else: a hog within that group reads
more files than a limit lets it keep in memory, again and again.

The limit is one of the first version of control groups: a container within such a machine has no controller
of the second, so MemoryHigh= does nothing there. What waiting for memory costs the kernel tells by the second
all the same.
"""
import contextlib
import os
import subprocess
import sys

GROUPS = "/run/press"
LIMIT = 32 << 20
READ = 128 << 20


def why_not():
    """What this machine lacks for it; empty: nothing."""
    if not os.path.exists("/sys/fs/cgroup/system.slice/memory.pressure"):
        return "the kernel does not tell how long tasks wait for memory"
    os.makedirs(GROUPS, exist_ok=True)
    done = subprocess.run(["mount", "-t", "cgroup", "-o", "memory", "none", GROUPS], capture_output=True, text=True)
    return "no limit can be set: " + done.stderr.strip() if done.returncode else ""


@contextlib.contextmanager
def hog(group):
    """Works while the block runs, as a task of this control group."""
    folder = os.path.join(GROUPS, "press")
    os.makedirs(folder, exist_ok=True)
    process = None
    try:
        with open(os.path.join(folder, "memory.limit_in_bytes"), "w") as file:
            file.write(str(LIMIT))
        process = subprocess.Popen([sys.executable, __file__, folder, "/sys/fs/cgroup" + group])
        yield process
    finally:
        if process:
            process.kill()
            process.wait()
        os.rmdir(folder)
        subprocess.run(["umount", GROUPS])


def large_files():
    """Some of the system's, of so many bytes together."""
    found = []
    for at, _, names in os.walk("/usr/lib"):
        for name in names:
            path = os.path.join(at, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) > 1 << 20:
                found.append(path)
    total = 0
    for path in sorted(found):
        if total < READ:
            total += os.path.getsize(path)
            yield path


def main(*groups):
    for group in groups:
        with open(os.path.join(group, "cgroup.procs"), "w") as file:
            file.write(str(os.getpid()))
    files = [os.open(path, os.O_RDONLY) for path in large_files()]
    for fd in files:  # they count where they are read first
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    while True:
        for fd in files:
            for at in range(0, os.fstat(fd).st_size, 1 << 16):
                os.pread(fd, 1 << 16, at)


if __name__ == "__main__":
    main(*sys.argv[1:])
