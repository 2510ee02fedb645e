/* SPDX-License-Identifier: MIT */
#include "place/cgroup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool cgroup_read(const char *folder, const char *file, uint64_t *ret)
{
    char path[4096 + 512];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "re");
    bool ok = f && fscanf(f, "%" SCNu64, ret) == 1;
    if (f)
        fclose(f);
    return ok;
}

/* Whether the comma list of a line of /proc/self/cgroup names the controller. */
static bool names(const char *list, size_t length, const char *controller)
{
    size_t n = strlen(controller);
    for (const char *c = list; c + n <= list + length; c++)
        if (!strncmp(c, controller, n) && (c == list || c[-1] == ',') &&
            (c + n == list + length || c[n] == ','))
            return true;
    return false;
}

void cgroup_walk(const char *root, const char *controller,
                 void (*look)(void *arg, int version, const char *folder, const char *group),
                 void *arg)
{
    char line[4096 + 64], path[256];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) { /* "4:cpu,cpuacct:/group", "0::/group" */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group)
            continue;
        size_t length = (size_t)(group++ - ++list);
        int version = length ? 1 : 2;
        if (version == 1 && !names(list, length, controller))
            continue;
        if (!strcmp(group, "/"))
            *group = '\0';
        for (;;) {
            char folder[4096 + 256];
            snprintf(folder, sizeof folder, "%s/sys/fs/cgroup%s%s%s", root, version == 1 ? "/" : "",
                     version == 1 ? controller : "", group);
            look(arg, version, folder, *group ? group : "/");
            char *slash = strrchr(group, '/');
            if (!slash)
                break;
            *slash = '\0';
        }
    }
    if (file)
        fclose(file);
}

/* ------------------------------------------------------------------ processor time */

struct tightest {
    uint64_t limit;
    char *group;
    size_t size;
};

/* "250000 100000": microseconds of processor time in each period. */
static bool read_max(const char *folder, uint64_t *quota, uint64_t *period)
{
    char path[4096 + 512];
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *f = fopen(path, "re");
    bool ok = f && fscanf(f, "%" SCNu64 " %" SCNu64, quota, period) == 2;
    if (f)
        fclose(f);
    return ok;
}

static void look_at_cpu(void *arg, int version, const char *folder, const char *group)
{
    struct tightest *t = arg;
    uint64_t quota, period;
    bool limited = version == 2 ? read_max(folder, &quota, &period)
                                : cgroup_read(folder, "cpu.cfs_quota_us", &quota) &&
                                      cgroup_read(folder, "cpu.cfs_period_us", &period);
    if (!limited || period == 0 || quota == 0 || quota > UINT64_MAX / 2000) /* -1: no limit */
        return;
    uint64_t limit = quota * 1000 / period;
    if (limit == 0)
        limit = 1;
    if (t->limit == 0 || limit < t->limit) {
        t->limit = limit;
        snprintf(t->group, t->size, "%s", group);
    }
}

uint64_t cgroup_cpu_limit(const char *root, char *group, size_t size)
{
    struct tightest t = {.group = group, .size = size};
    snprintf(group, size, "%s", "");
    cgroup_walk(root, "cpu", look_at_cpu, &t);
    return t.limit;
}
