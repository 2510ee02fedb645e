/* SPDX-License-Identifier: MIT
 *
 * The kernel takes a wish, gives what it finds in one piece, and tells how much that was.
 */
#include "huge.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define PAGES "hugepages/hugepages-2048kB/nr_hugepages"
enum { PAGE_BYTES = 2 << 20, MOST_NODES = 1024 };

static bool is_node(const char *name)
{
    return strncmp(name, "node", 4) == 0 && isdigit((unsigned char)name[4]);
}

static int list_nodes(const char *folder, int *dst, struct err *err)
{
    int n = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return err_set(err, -errno, "cannot list '%s': %s", folder, strerror(errno));
    for (const struct dirent *entry; n < MOST_NODES && (entry = readdir(dir));)
        if (is_node(entry->d_name))
            dst[n++] = atoi(entry->d_name + 4);
    closedir(dir);
    return n > 0 ? n : err_set(err, -ENOENT, "'%s' has no nodes of memory", folder);
}

static int read_pages(const char *path, uint64_t *ret, struct err *err)
{
    unsigned long long pages = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return err_set(err, -errno, "cannot open '%s': %s", path, strerror(errno));
    int n = fscanf(file, "%llu", &pages);
    fclose(file);
    *ret = n == 1 ? pages : 0;
    return 0;
}

static int write_pages(const char *path, uint64_t pages, struct err *err)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return err_set(err, -errno, "cannot write '%s': %s", path, strerror(errno));
    fprintf(file, "%llu\n", (unsigned long long)pages);
    return fclose(file) == 0 ? 0
                             : err_set(err, -errno, "cannot write '%s': %s", path, strerror(errno));
}

/* How many there are in the end goes to *ret. */
static int reserve_on(const char *folder, int node, uint64_t pages, uint64_t *ret, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/node%d/" PAGES, folder, node);
    int r = read_pages(path, ret, err);
    if (r < 0 || *ret >= pages)
        return r;
    r = write_pages(path, pages, err);
    return r < 0 ? r : read_pages(path, ret, err);
}

int huge_reserve(const char *nodes, uint64_t bytes, struct err *err)
{
    int node[MOST_NODES];
    int n = list_nodes(nodes, node, err);
    if (n < 0)
        return n;
    uint64_t all = bytes / PAGE_BYTES + (bytes % PAGE_BYTES > 0);
    uint64_t each = all / (uint64_t)n + (all % (uint64_t)n > 0), short_of = 0;
    for (int i = 0; i < n; i++) {
        uint64_t given = 0;
        int r = reserve_on(nodes, node[i], each, &given, err);
        if (r < 0)
            return r;
        log_info("huge", "node %d has %llu huge pages of 2 MiB, %llu were wished for", node[i],
                 (unsigned long long)given, (unsigned long long)each);
        short_of += given < each ? each - given : 0;
    }
    if (short_of > 0)
        return err_set(
            err, -ENOMEM,
            "%llu of %llu huge pages could not be had: memory is in use or in pieces; "
            "earlier in the boot there is more of it, and hugepages=%llu on the kernel's "
            "command line comes first of all",
            (unsigned long long)short_of, (unsigned long long)(each * (uint64_t)n),
            (unsigned long long)all);
    return 0;
}
