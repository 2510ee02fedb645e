/* SPDX-License-Identifier: MIT
 *
 * Folders are small: a name is looked for in the list of those that are there already.
 */
#include "sources.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"

static void own_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int add(struct sources *sources, const char *path, struct err *err)
{
    char **paths = realloc(sources->paths, (size_t)(sources->n + 1) * sizeof *paths);
    char *copy = strdup(path);
    if (paths)
        sources->paths = paths;
    if (!paths || !copy) {
        free(copy);
        return err_set(err, -ENOMEM, "no memory for the names of files");
    }
    sources->paths[sources->n++] = copy;
    return 0;
}

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool has(const struct sources *sources, int from, const char *name)
{
    for (int i = from; i < sources->n; i++)
        if (strcmp(name_of(sources->paths[i]), name) == 0)
            return true;
    return false;
}

static bool is_drop_in(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".conf") == 0;
}

static int list(const char *folder, int from, struct sources *ret, struct err *err)
{
    __attribute__((cleanup(own_dir))) DIR *dir = opendir(folder);
    if (!dir && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (!dir)
        return err_set(err, -errno, "cannot list '%s': %s", folder, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char path[PATH_MAX];
        if (!is_drop_in(entry->d_name) || has(ret, from, entry->d_name))
            continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= sizeof path)
            return err_set(err, -ENAMETOOLONG, "'%s' is too long a name", folder);
        int r = add(ret, path, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(name_of(*(char *const *)a), name_of(*(char *const *)b));
}

static int find(const char *const *folders, int n_folders, const char *name, struct sources *ret,
                struct err *err)
{
    char path[PATH_MAX];
    for (int i = 0, r; i < n_folders && ret->n == 0; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], name);
        if (access(path, F_OK) == 0 && (r = add(ret, path, err)) < 0)
            return r;
    }
    int from = ret->n;
    for (int i = 0; i < n_folders; i++) {
        snprintf(path, sizeof path, "%s/%s.d", folders[i], name);
        int r = list(path, from, ret, err);
        if (r < 0)
            return r;
    }
    if (ret->n > from)
        qsort(ret->paths + from, (size_t)(ret->n - from), sizeof *ret->paths, by_name);
    return 0;
}

int sources_find(const char *const *folders, int n_folders, const char *name, struct sources *ret,
                 struct err *err)
{
    struct sources found = {0};
    int r = find(folders, n_folders, name, &found, err);
    if (r < 0)
        sources_fini(&found);
    else
        *ret = found;
    return r;
}

void sources_fini(struct sources *sources)
{
    for (int i = 0; i < sources->n; i++)
        free(sources->paths[i]);
    free(sources->paths);
    *sources = (struct sources){0};
}
