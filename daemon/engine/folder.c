/* SPDX-License-Identifier: MIT
 *
 * Names of a folder to models. On whichever thread lists; it touches nothing but its folder.
 */
#include "engine/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "format/part.h"
#include "model/model.h"
#include "text/utf8.h"

struct names {
    char **at;
    size_t n, room;
};
#define OWN_NAMES __attribute__((cleanup(names_fini))) struct names

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->at[i]);
    free(names->at);
    *names = (struct names){0};
}

int folder_open(const char *path, struct folder *ret)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    ret->path = strndup(path, n);
    if (!ret->path)
        return -ENOMEM;
    ret->fd = open(ret->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

void folder_close(struct folder *folder)
{
    int saved = errno;
    if (folder->path && folder->fd >= 0)
        close(folder->fd);
    free(folder->path);
    *folder = (struct folder){.fd = -1};
    errno = saved;
}

void found_fini(struct found *found)
{
    free(found->name);
    free(found->path);
    *found = (struct found){0};
}

void found_list_fini(struct found_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        found_fini(&list->at[i]);
    free(list->at);
    *list = (struct found_list){0};
}

/* ---- names */

static bool is_gguf(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcasecmp(name + n - 5, ".gguf") == 0;
}

/* A name that a client can say and a log can show. */
static bool is_sayable(const char *name)
{
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            return false;
    return utf8_valid(name, strlen(name)) == strlen(name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct names *names, const char *name)
{
    if (names->n == names->room) {
        size_t room = names->room ? 2 * names->room : 64;
        char **at = reallocarray(names->at, room, sizeof *at);
        if (!at)
            return -ENOMEM;
        names->at = at;
        names->room = room;
    }
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    names->at[names->n++] = copy;
    return 0;
}

/* An O_PATH descriptor lists nothing: its own "." is opened for that. */
static int read_names(const struct folder *folder, struct names *ret, struct err *err)
{
    OWN_FD fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int code = -errno;
        return err_set(err, code, "cannot list '%s': %s", folder->path, strerror(-code));
    }
    (void)TAKE_FD(fd);
    int r = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            r = -errno;
            break;
        }
        if (entry->d_name[0] == '.' || !is_sayable(entry->d_name))
            continue;
        r = ret->n < FOLDER_MOST_NAMES ? add_name(ret, entry->d_name) : -E2BIG;
        if (r < 0)
            break;
    }
    closedir(dir);
    if (r == -E2BIG)
        return err_set(err, r,
                       "'%s' holds more than %d names: models go into a folder of their own",
                       folder->path, FOLDER_MOST_NAMES);
    if (r < 0)
        return err_set(err, r, "cannot list '%s': %s", folder->path, strerror(-r));
    if (ret->n > 1)
        qsort(ret->at, ret->n, sizeof *ret->at, compare_names);
    return 0;
}

/* ---- models */

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * 0x9e3779b97f4a7c15u;
    return a ^ a >> 29;
}

static uint64_t stamp_of(const struct stat *st)
{
    uint64_t h = mix((uint64_t)st->st_ino, (uint64_t)st->st_size);
    return mix(mix(h, (uint64_t)st->st_mtim.tv_sec), (uint64_t)st->st_mtim.tv_nsec);
}

static const char *odd_kind(mode_t mode)
{
    return S_ISREG(mode)    ? NULL
           : S_ISLNK(mode)  ? "symbolic link"
           : S_ISFIFO(mode) ? "FIFO"
           : S_ISSOCK(mode) ? "socket"
                            : "device";
}

/* Whether a folder, which nobody may exchange for a link meanwhile, is a checkpoint. */
static bool is_checkpoint(int folder, const char *name, struct stat *st)
{
    OWN_FD fd = -1;
    return part_open_folder(folder, name, &fd, NULL) == 0 &&
           fstatat(fd, "config.json", st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode);
}

/* The length of what comes before "-00001-of-00002.gguf"; 0: no part of anything. */
static size_t split_prefix(const char *file, const char *name)
{
    size_t n = strlen(name);
    return strlen(file) > n + strlen(".gguf") ? n : 0;
}

/* What another part of the same split was listed as, or NULL. */
static struct found *sibling(struct found_list *list, const char *file, const char *name)
{
    size_t prefix = split_prefix(file, name);
    for (size_t i = list->n; prefix > 0 && i > 0; i--) {
        struct found *found = &list->at[i - 1];
        const char *other = strrchr(found->path, '/') + 1;
        if (!strcmp(found->name, name) && split_prefix(other, name) == prefix &&
            !strcmp(other + prefix + strlen("-00001"), file + prefix + strlen("-00001")))
            return found;
    }
    return NULL;
}

static int add_found(const struct folder *folder, const char *file, const char *name,
                     const struct stat *st, bool is_folder, struct found_list *list)
{
    struct found *first = is_folder ? NULL : sibling(list, file, name);
    if (first) {
        first->bytes += (uint64_t)st->st_size;
        first->stamp = mix(first->stamp, stamp_of(st));
        return 0;
    }
    if (list->n == FOLDER_MOST_MODELS)
        return -E2BIG;
    struct found *at = reallocarray(list->at, list->n + 1, sizeof *at);
    if (!at)
        return -ENOMEM;
    list->at = at;
    struct found found = {.name = strdup(name),
                          .bytes = is_folder ? 0 : (uint64_t)st->st_size,
                          .stamp = stamp_of(st),
                          .odd = odd_kind(st->st_mode)};
    if (asprintf(&found.path, "%s/%s", strcmp(folder->path, "/") ? folder->path : "", file) < 0)
        found.path = NULL;
    if (!found.name || !found.path) {
        found_fini(&found);
        return -ENOMEM;
    }
    list->at[list->n++] = found;
    return 0;
}

static int look_at(const struct folder *folder, const char *file, struct found_list *list)
{
    struct stat st;
    char name[256];
    if (fstatat(folder->fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0; /* gone again */
    bool is_folder = S_ISDIR(st.st_mode);
    if (is_folder ? !is_checkpoint(folder->fd, file, &st) : !is_gguf(file))
        return 0;
    model_name(file, name, sizeof name);
    return *name ? add_found(folder, file, name, &st, is_folder, list) : 0;
}

/* Opened once, but for one that was not there, or was removed: then anew, by its path. */
static int reach(struct folder *folder, struct err *err)
{
    struct stat st;
    if (folder->fd >= 0 && fstat(folder->fd, &st) == 0 && st.st_nlink == 0) {
        close(folder->fd);
        folder->fd = -1;
    }
    if (folder->fd < 0)
        folder->fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd >= 0)
        return 0;
    int code = -errno;
    return err_set(err, code, "cannot open the folder '%s': %s", folder->path, strerror(-code));
}

int folder_list(struct folder *folder, struct found_list *ret, struct err *err)
{
    OWN_NAMES names = {0};
    *ret = (struct found_list){0};
    int r = reach(folder, err);
    if (r == 0)
        r = read_names(folder, &names, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < names.n && r == 0; i++)
        r = look_at(folder, names.at[i], ret);
    if (r == -E2BIG)
        return err_set(err, r, "'%s' holds more than %d models: the others are not listed",
                       folder->path, FOLDER_MOST_MODELS);
    return r < 0 ? err_set(err, r, "no memory to list '%s'", folder->path) : 0;
}
