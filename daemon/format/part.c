/* SPDX-License-Identifier: MIT
 *
 * Opening the files of a model, and reading their bytes. Opening belongs to one thread; reading is
 * free to any.
 */
#include "format/part.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"
#include "format/reader.h"

/* Without O_NONBLOCK the open of a FIFO would wait for its other end. */
enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* The path as messages show it: printable, and short enough to leave room for the words. */
static void make_label(char *dst, size_t size, const char *folder, size_t folder_bytes,
                       const char *name)
{
    size_t length = folder_bytes + strlen(name);
    size_t from = length >= size ? length - (size - 4) : 0;
    const char *tail = from < folder_bytes ? name : name + (from - folder_bytes);
    size_t kept = from < folder_bytes ? folder_bytes - from : 0;
    const char *head = folder + (folder_bytes - kept);
    while (from && kept && (*head & 0xc0) == 0x80)
        head++, kept--;
    while (from && !kept && (*tail & 0xc0) == 0x80)
        tail++;
    snprintf(dst, size, "%s%.*s%s", from ? "..." : "", (int)kept, head, tail);
    bool text = reader_is_utf8(dst, strlen(dst));
    for (char *c = dst; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || (!text && (*c & 0x80)))
            *c = '?';
}

/* Checks and measures the open file; takes the descriptor whatever happens. */
static int adopt(int raw, struct part *part, struct err *err)
{
    OWN_FD fd = raw;
    struct stat st;
    if (fstat(fd, &st) < 0) {
        int code = -errno;
        return err_set(err, code, "cannot examine '%s': %s", part->label, strerror(-code));
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "'%s': found a %s, expected a regular file", part->label,
                       S_ISDIR(st.st_mode)    ? "directory"
                       : S_ISFIFO(st.st_mode) ? "FIFO"
                                              : "special file");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        int code = -errno;
        return err_set(err, code, "cannot use '%s': %s", part->label, strerror(-code));
    }
    part->bytes = (uint64_t)st.st_size;
    part->changed = st.st_mtim;
    part->fd = TAKE_FD(fd);
    return 0;
}

static int cannot_open(const struct part *part, int code, struct err *err)
{
    if (code == -ENXIO) /* a socket, or a device without a driver */
        return err_set(err, -EINVAL, "'%s': found a special file, expected a regular file",
                       part->label);
    return err_set(err, code, "cannot open '%s': %s", part->label, strerror(-code));
}

int part_open(const char *path, struct part *ret, struct err *err)
{
    struct part part = {.fd = -1};
    make_label(part.label, sizeof part.label, "", 0, path);
    int fd = open(path, OPEN_FLAGS);
    if (fd < 0)
        return cannot_open(&part, -errno, err);
    int r = adopt(fd, &part, err);
    if (r == 0)
        *ret = part;
    return r;
}

/* glibc has no wrapper. A name without a slash cannot leave the folder but by a link, so where the
 * call is missing or forbidden, O_NOFOLLOW says the same. */
static int open_in(int folder, const char *name, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, folder, name, &how, sizeof how);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(folder, name, flags | O_NOFOLLOW);
    return (int)fd;
}

/* The descriptor of a bare name in the folder; `part` lends its label. */
static int open_name(int folder, const char *name, int flags, const struct part *part,
                     struct err *err)
{
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return err_set(err, -EINVAL,
                       "'%s': found '%.200s' as the name of a file, expected one "
                       "without a path",
                       part->label, name);
    int fd = open_in(folder, name, flags);
    if (fd < 0 && errno == ELOOP)
        return err_set(err, -EINVAL, "'%s': found a symbolic link, expected a regular file",
                       part->label);
    return fd < 0 ? cannot_open(part, -errno, err) : fd;
}

int part_open_beside(int folder, const char *beside, const char *name, struct part *ret,
                     struct err *err)
{
    struct part part = {.fd = -1};
    const char *slash = strrchr(beside, '/');
    make_label(part.label, sizeof part.label, beside, slash ? (size_t)(slash + 1 - beside) : 0,
               name);
    int fd = open_name(folder, name, OPEN_FLAGS, &part, err);
    if (fd < 0)
        return fd;
    int r = adopt(fd, &part, err);
    if (r == 0)
        *ret = part;
    return r;
}

void part_close(struct part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    part->fd = -1;
}

int part_open_folder(int folder, const char *path, int *ret, struct err *err)
{
    struct part part = {.fd = -1};
    const char *slash = strrchr(path, '/');
    make_label(part.label, sizeof part.label, "", 0, path);
    int fd =
        open_name(folder, slash ? slash + 1 : path, O_PATH | O_DIRECTORY | O_CLOEXEC, &part, err);
    if (fd >= 0)
        *ret = fd;
    return fd < 0 ? fd : 0;
}

int part_folder(const char *path, int *ret, struct err *err)
{
    const char *slash = strrchr(path, '/');
    OWN_MEM char *folder = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    if (!folder)
        return err_set(err, -ENOMEM, "no memory to open the folder of '%.160s'", path);
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int code = -errno;
        return err_set(err, code, "cannot open the folder of '%.160s': %s", path, strerror(-code));
    }
    *ret = fd;
    return 0;
}

int part_read(const struct part *part, uint64_t offset, void *dst, size_t bytes, struct err *err)
{
    char *to = dst;
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(part->fd, to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int code = -errno;
            return err_set(err, code, "'%s', byte %" PRIu64 ": cannot read: %s", part->label,
                           offset + done, strerror(-code));
        }
        if (got == 0)
            return err_set(err, -EIO,
                           "'%s', byte %" PRIu64 ": the file ends here, expected %" PRIu64
                           " bytes: it became shorter after it was opened",
                           part->label, offset + done, part->bytes);
        done += (size_t)got;
    }
    return 0;
}

int part_check_unchanged(const struct part *part, struct err *err)
{
    struct stat st;
    if (fstat(part->fd, &st) < 0) {
        int code = -errno;
        return err_set(err, code, "cannot examine '%s': %s", part->label, strerror(-code));
    }
    if ((uint64_t)st.st_size != part->bytes || st.st_mtim.tv_sec != part->changed.tv_sec ||
        st.st_mtim.tv_nsec != part->changed.tv_nsec)
        return err_set(err, -EIO,
                       "'%s': it was changed after it was opened: found %lld bytes, expected "
                       "%" PRIu64 " and the same time of change",
                       part->label, (long long)st.st_size, part->bytes);
    return 0;
}
