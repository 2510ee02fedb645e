/* SPDX-License-Identifier: MIT */
#include "place/strain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "place/cgroup.h"

#define TRIGGER                                                                                    \
    "some 150000 2000000" /* µs waited for in µs: whoever has no rights may ask for 2 s */

enum {
    SHORT = 5,            /* the machine is short with less than a fifth left */
    LEAST_NS = 300000000, /* of time between two readings that tell what came in between */
};

/* A pressure file: percentages of the last ten seconds, and microseconds since the start. */
struct source {
    char path[4096 + 32];
    int trigger; /* -1: none */
    uint64_t some_us, full_us, read_ns;
    bool is_machine;
};

struct gauge {
    char root[256];
    struct source source[GAUGE_TRIGGERS]; /* the group's file, and the machine's */
    int n;
    char words[2 * (4096 + 32) + 64];
};

/* ------------------------------------------------------------------ waiting */

/* "some avg10=1.23 avg60=… avg300=… total=4567": share of the last ten seconds, or of those since
 * the last reading if that is more. */
static bool read_line(FILE *file, const char *name, double elapsed_us, uint64_t *total, double *ret)
{
    char line[256], format[64];
    uint64_t us = 0;
    double percent;
    snprintf(format, sizeof format, "%s avg10=%%lf", name);
    if (!fgets(line, sizeof line, file) || sscanf(line, format, &percent) != 1 || percent < 0 ||
        percent > 100)
        return false;
    const char *at = strstr(line, "total=");
    if (at && sscanf(at, "total=%" SCNu64, &us) == 1) {
        double lately =
            elapsed_us > 0 && us > *total ? 100 * (double)(us - *total) / elapsed_us : 0;
        if (lately > 100)
            lately = 100;
        if (lately > percent)
            percent = lately;
        *total = us;
    }
    *ret = percent;
    return true;
}

static int read_source(struct source *source, uint64_t now_ns, double *some, double *full)
{
    uint64_t ns = source->read_ns ? now_ns - source->read_ns : 0;
    uint64_t was_some = source->some_us, was_full = source->full_us;
    double elapsed_us = ns >= LEAST_NS ? (double)ns * 1e-3 : 0;
    FILE *file = fopen(source->path, "re");
    if (!file)
        return -errno;
    bool ok = read_line(file, "some", elapsed_us, &source->some_us, some) &&
              read_line(file, "full", elapsed_us, &source->full_us, full);
    fclose(file);
    if (elapsed_us > 0 || !source->read_ns) {
        source->read_ns = now_ns;
    } else { /* too soon: the next reading tells of the whole time */
        source->some_us = was_some;
        source->full_us = was_full;
    }
    return ok ? 0 : -EBADMSG;
}

/* Writing to a file that is not the kernel's would spoil it. */
static int open_trigger(const char *path)
{
    struct statfs fs;
    OWN_FD fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) < 0 ||
        (fs.f_type != PROC_SUPER_MAGIC && fs.f_type != CGROUP2_SUPER_MAGIC))
        return -1;
    if (write(fd, TRIGGER, sizeof TRIGGER) != sizeof TRIGGER)
        return -1;
    return TAKE_FD(fd);
}

static int add_source(struct gauge *gauge, const char *path, bool is_machine)
{
    struct source *source = &gauge->source[gauge->n];
    double some, full;
    *source = (struct source){.trigger = -1, .is_machine = is_machine};
    if ((size_t)snprintf(source->path, sizeof source->path, "%s", path) >= sizeof source->path)
        return -ENAMETOOLONG;
    int r = read_source(source, 0, &some, &full);
    if (r < 0)
        return r;
    source->trigger = open_trigger(path);
    gauge->n++;
    return 0;
}

static void look_for_group(void *arg, int version, const char *folder, const char *group)
{
    struct gauge *gauge = arg;
    char path[4096 + 32];
    if (version != 2 || !strcmp(group, "/") || gauge->n > 0) /* the root's is the machine's */
        return;
    snprintf(path, sizeof path, "%s/memory.pressure", folder);
    add_source(gauge, path, false);
}

static void describe(struct gauge *gauge, int machine)
{
    if (gauge->n == 0)
        snprintf(
            gauge->words, sizeof gauge->words,
            "the kernel does not tell how long tasks wait (no /proc/pressure/memory: %s), only "
            "what is left counts",
            machine == -EOPNOTSUPP ? "boot with psi=1" : strerror(-machine));
    else if (gauge->n == 1)
        snprintf(gauge->words, sizeof gauge->words, "%s", gauge->source[0].path);
    else
        snprintf(gauge->words, sizeof gauge->words, "%s, and %s while the machine is short",
                 gauge->source[0].path, gauge->source[1].path);
}

int gauge_open(const char *root, const char *path, struct gauge **ret, struct err *err)
{
    OWN(gauge) *gauge = calloc(1, sizeof *gauge);
    if (!gauge)
        return err_set(err, -ENOMEM, "no memory to watch memory");
    snprintf(gauge->root, sizeof gauge->root, "%s", root);
    int r = 0;
    if (path) {
        r = add_source(gauge, path, false);
        if (r < 0)
            return err_set(err, r, "cannot read '%s' as a pressure file: %s", path, strerror(-r));
    } else {
        char machine[512];
        cgroup_walk(root, "memory", look_for_group, gauge);
        snprintf(machine, sizeof machine, "%s/proc/pressure/memory", root);
        r = add_source(gauge, machine, true);
    }
    describe(gauge, r);
    *ret = TAKE(gauge);
    return 0;
}

void gauge_close(struct gauge *gauge)
{
    if (!gauge)
        return;
    for (int i = 0; i < gauge->n; i++)
        if (gauge->source[i].trigger >= 0)
            close(gauge->source[i].trigger);
    free(gauge);
}

int gauge_trigger(const struct gauge *gauge, int i)
{
    return i < gauge->n ? gauge->source[i].trigger : -1;
}

const char *gauge_words(const struct gauge *gauge)
{
    return gauge->words;
}

/* ------------------------------------------------------------------ what is left */

static void read_machine(const char *root, struct strain *ret)
{
    char path[512], line[128];
    uint64_t kib;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %" SCNu64, &kib) == 1)
            ret->all = kib * 1024;
        else if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            ret->left = kib * 1024;
    }
    if (file)
        fclose(file);
    snprintf(ret->limit, sizeof ret->limit, "MemAvailable");
}

/* What a group holds of files goes when somebody needs the memory. */
static uint64_t file_bytes(int version, const char *folder)
{
    char path[4096 + 512], line[128], name[64];
    uint64_t sum = 0, n;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %" SCNu64, name, &n) == 2 &&
            (!strcmp(name, version == 2 ? "active_file" : "total_active_file") ||
             !strcmp(name, version == 2 ? "inactive_file" : "total_inactive_file")))
            sum += n;
    if (file)
        fclose(file);
    return sum;
}

static bool read_limit(int version, const char *folder, uint64_t *ret)
{
    uint64_t high;
    if (version == 1)
        return cgroup_read(folder, "memory.limit_in_bytes", ret);
    bool limited = cgroup_read(folder, "memory.max", ret);
    if (!cgroup_read(folder, "memory.high", &high))
        return limited;
    *ret = limited && *ret < high ? *ret : high;
    return true;
}

struct tightest {
    struct strain *strain;
    uint64_t machine; /* bytes: a limit beyond is what version 1 writes for none */
};

static void look_at_group(void *arg, int version, const char *folder, const char *group)
{
    const struct tightest *t = arg;
    struct strain *s = t->strain;
    uint64_t limit, used;
    if (!read_limit(version, folder, &limit) || limit == 0 || limit >= t->machine ||
        !cgroup_read(folder, version == 2 ? "memory.current" : "memory.usage_in_bytes", &used))
        return;
    uint64_t files = file_bytes(version, folder);
    used -= files < used ? files : used;
    uint64_t left = limit - (used < limit ? used : limit);
    if ((double)left * (double)s->all >= (double)s->left * (double)limit)
        return;
    s->left = left;
    s->all = limit;
    snprintf(s->limit, sizeof s->limit, "cgroup %.100s", group);
}

void gauge_read(struct gauge *gauge, uint64_t now_ns, struct strain *ret)
{
    *ret = (struct strain){.some = -1, .full = -1};
    read_machine(gauge->root, ret);
    bool is_short = ret->left < ret->all / SHORT;
    cgroup_walk(gauge->root, "memory", look_at_group,
                &(struct tightest){.strain = ret, .machine = ret->all});
    for (int i = 0; i < gauge->n; i++) {
        double some, full;
        if (read_source(&gauge->source[i], now_ns, &some, &full) < 0)
            continue;
        if (gauge->source[i].is_machine && !is_short)
            some = full = 0;
        if (some > ret->some)
            ret->some = some;
        if (full > ret->full)
            ret->full = full;
    }
}
