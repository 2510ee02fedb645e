/* SPDX-License-Identifier: MIT */
#include "service/cabinet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/log.h"
#include "service/record.h"

#define ENDING ".session"
#define HALF   ".tmp"
enum { NAME_ROOM = 32 };

struct cabinet {
    int folder;
};

/* ---- folders */
static int check_ours(int fd, const char *name, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set(err, -errno, "cannot ask for the owner of '%s': %s", name, strerror(errno));
    if (st.st_uid != geteuid())
        return err_set(err, -EPERM, "'%s' belongs to uid %u, expected %u", name, st.st_uid,
                       geteuid());
    if (st.st_mode & 0022)
        return err_set(err, -EPERM, "others may write '%s' (%03o)", name, st.st_mode & 0777);
    return 0;
}

/* A folder in one; made, and its name synced, if it is not there. The descriptor. */
static int enter(int above, const char *name, bool make, struct err *err)
{
    bool made = make && mkdirat(above, name, 0700) == 0;
    if (make && !made && errno != EEXIST)
        return err_set(err, -errno, "cannot make the folder '%s': %s", name, strerror(errno));
    int path =
        above == AT_FDCWD ? 0 : O_NOFOLLOW; /* where the administrator says, links may lead */
    OWN_FD fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | path);
    if (fd < 0)
        return err_set(err, -errno, "cannot open the folder '%s': %s", name, strerror(errno));
    int r = check_ours(fd, name, err);
    if (r < 0)
        return r;
    if (made) { /* its own name is in the folder above, which may be a path's end */
        OWN_FD holder = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (holder < 0 || fsync(holder) < 0)
            return err_set(err, -errno, "cannot sync the folder above '%s': %s", name,
                           strerror(errno));
    }
    return TAKE_FD(fd);
}

static int enter_user(const struct cabinet *c, uint32_t uid, bool make, struct err *err)
{
    char name[NAME_ROOM];
    snprintf(name, sizeof name, "%u", uid);
    return enter(c->folder, name, make, err);
}

int cabinet_open(const char *folder, struct cabinet **ret, struct err *err)
{
    OWN_FD above = enter(AT_FDCWD, folder, true, err);
    if (above < 0)
        return above;
    OWN_FD fd = enter(above, "sessions", true, err);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? err_set(err, -EBUSY, "the folder '%s' is in use by another process", folder)
                   : err_set(err, -errno, "cannot lock the folder '%s': %s", folder,
                             strerror(errno));
    struct cabinet *c = malloc(sizeof *c);
    if (!c)
        return err_set(err, -ENOMEM, "no memory for a cabinet");
    c->folder = TAKE_FD(fd);
    *ret = c;
    return 0;
}

void cabinet_close(struct cabinet *c)
{
    if (!c)
        return;
    close(c->folder);
    free(c);
}

/* ---- reading */
static int read_all(int fd, uint8_t *dst, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, dst, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EBADMSG;
        dst += got;
        n -= (size_t)got;
    }
    return 0;
}

static int read_record(int folder, const char *name, uint64_t most_bytes, struct record *ret,
                       struct err *err)
{
    OWN_FD fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, -errno, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > most_bytes)
        return err_set(err, -ESTALE, "it is no file, or has %lld bytes", (long long)st.st_size);
    OWN_MEM uint8_t *data = malloc((size_t)st.st_size + 1);
    if (!data)
        return err_set(err, -ENOMEM, "no memory for %lld bytes", (long long)st.st_size);
    int r = read_all(fd, data, (size_t)st.st_size);
    if (r < 0)
        return err_set(err, r, "it cannot be read: %s", strerror(-r));
    return record_parse(data, (size_t)st.st_size, ret, err);
}

static bool ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n >= m && strcmp(name + n - m, ending) == 0;
}

/* "0123456789abcdef.session" */
static bool is_session(const char *name, uint64_t *id)
{
    char digits[RECORD_ID_DIGITS + 1];
    if (strlen(name) != RECORD_ID_DIGITS + strlen(ENDING) || !ends_in(name, ENDING))
        return false;
    memcpy(digits, name, RECORD_ID_DIGITS);
    digits[RECORD_ID_DIGITS] = '\0';
    return record_is_id(digits, id);
}

struct scan {
    uint64_t most_bytes;
    int (*each)(void *arg, struct record *record);
    void *arg;
    int n_passed;
};

/* -ENOMEM alone ends the scan. */
static int scan_file(struct scan *scan, int folder, uint32_t uid, const char *name)
{
    uint64_t id;
    if (ends_in(name, HALF)) { /* nobody else writes: we did, and died */
        unlinkat(folder, name, 0);
        return 0;
    }
    if (!is_session(name, &id))
        return 0;
    struct record record = {0};
    struct err err = {0};
    int r = read_record(folder, name, scan->most_bytes, &record, &err);
    if (r == 0 && (record.uid != uid || record.id != id))
        r = err_set(&err, -ESTALE, "it is another's: uid %u", record.uid);
    if (r == 0)
        r = scan->each(scan->arg, &record);
    record_fini(&record);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        scan->n_passed++;
        log_warning("service", "a session of uid %u is passed over, '%s': %s", uid, name, err.text);
    }
    return 0;
}

static DIR *list(int fd)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (!dir && again >= 0)
        close(again);
    return dir;
}

static int scan_user(struct cabinet *c, struct scan *scan, const char *name)
{
    char *end, again[NAME_ROOM];
    unsigned long uid = strtoul(name, &end, 10);
    snprintf(again, sizeof again, "%lu", uid);
    if (uid > UINT32_MAX || strcmp(name, again) != 0) /* the one spelling that we write */
        return 0;
    OWN_FD fd = enter_user(c, (uint32_t)uid, false, NULL);
    DIR *dir = fd < 0 ? NULL : list(fd);
    if (!dir)
        return 0;
    const struct dirent *found;
    int r = 0;
    while (r == 0 && (found = readdir(dir)))
        r = scan_file(scan, fd, (uint32_t)uid, found->d_name);
    closedir(dir);
    return r;
}

int cabinet_scan(struct cabinet *c, uint64_t most_bytes,
                 int (*each)(void *arg, struct record *record), void *arg, struct err *err)
{
    struct scan scan = {.most_bytes = most_bytes, .each = each, .arg = arg};
    DIR *dir = list(c->folder);
    if (!dir)
        return err_set(err, -errno, "cannot list the folder of sessions: %s", strerror(errno));
    const struct dirent *found;
    int r = 0;
    while (r == 0 && (found = readdir(dir)))
        r = scan_user(c, &scan, found->d_name);
    closedir(dir);
    return r < 0 ? err_set(err, r, "no memory for all sessions") : scan.n_passed;
}

/* ---- writing */
static int write_all(int fd, const uint8_t *data, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, data, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        data += put;
        n -= (size_t)put;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int write_tmp(int folder, const char *name, const uint8_t *data, size_t n, struct err *err)
{
    unlinkat(folder, name, 0); /* of a write that failed, and could not even be taken back */
    OWN_FD fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, -errno, "cannot make a file: %s", strerror(errno));
    int r = write_all(fd, data, n);
    if (r < 0)
        unlinkat(folder, name, 0);
    return r < 0 ? err_set(err, r, "cannot write a file: %s", strerror(-r)) : 0;
}

int cabinet_put(struct cabinet *c, const struct record *record, struct err *err)
{
    char name[NAME_ROOM], tmp[NAME_ROOM];
    OWN_MEM uint8_t *data = NULL;
    size_t n;
    if (record_pack(record, &data, &n) < 0)
        return err_set(err, -ENOMEM, "no memory to write it");
    snprintf(name, sizeof name, "%016" PRIx64 ENDING, record->id);
    snprintf(tmp, sizeof tmp, "%016" PRIx64 HALF, record->id);
    OWN_FD folder = enter_user(c, record->uid, true, err);
    if (folder < 0)
        return folder;
    int r = write_tmp(folder, tmp, data, n, err);
    if (r < 0)
        return r;
    if (renameat(folder, tmp, folder, name) < 0) {
        r = err_set(err, -errno, "cannot rename a file: %s", strerror(errno));
        unlinkat(folder, tmp, 0);
        return r;
    }
    return fsync(folder) < 0 ? err_set(err, -errno, "cannot sync a folder: %s", strerror(errno))
                             : 0;
}

int cabinet_remove(struct cabinet *c, uint32_t uid, uint64_t id, struct err *err)
{
    char name[NAME_ROOM];
    snprintf(name, sizeof name, "%016" PRIx64 ENDING, id);
    OWN_FD folder = enter_user(c, uid, true, err);
    if (folder < 0)
        return folder;
    if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
        return err_set(err, -errno, "cannot remove a file: %s", strerror(errno));
    return fsync(folder) < 0 ? err_set(err, -errno, "cannot sync a folder: %s", strerror(errno))
                             : 0;
}
