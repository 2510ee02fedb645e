/* SPDX-License-Identifier: MIT
 *
 * The file is text: the boot's id, then a line for each birth, in seconds. It is written anew and
 * renamed, so a crash in the middle costs one line at the most.
 */
#include "births.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64 };

struct births {
    char boot[40];
    long at[MOST + 1];
    int n;
};

static void read_boot(char dst[40])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file || !fgets(dst, 40, file))
        strcpy(dst, "unknown\n");
    if (file)
        fclose(file);
}

static long now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (long)t.tv_sec;
}

/* Those of this boot and in the window. */
static void read_births(const char *path, long now, struct births *ret)
{
    char line[64];
    read_boot(ret->boot);
    ret->n = 0;
    FILE *file = fopen(path, "re");
    if (file && fgets(line, sizeof line, file) && !strcmp(line, ret->boot))
        while (ret->n < MOST && fgets(line, sizeof line, file)) {
            long at = strtol(line, NULL, 10);
            if (at > now - BIRTHS_WINDOW_S && at <= now)
                ret->at[ret->n++] = at;
        }
    if (file)
        fclose(file);
}

static int write_births(const char *path, const struct births *births)
{
    char other[PATH_MAX + 16];
    snprintf(other, sizeof other, "%s.new", path);
    FILE *file = fopen(other, "we");
    if (!file)
        return -1;
    fputs(births->boot, file);
    for (int i = 0; i < births->n; i++)
        fprintf(file, "%ld\n", births->at[i]);
    return fclose(file) == 0 && rename(other, path) == 0 ? 0 : -1;
}

int births_note(const char *folder)
{
    char path[PATH_MAX];
    struct births births;
    long now = now_s();
    snprintf(path, sizeof path, "%s/births", folder);
    read_births(path, now, &births);
    int before = births.n;
    births.at[births.n++] = now;
    return write_births(path, &births) == 0 ? before : 0;
}

void births_forget(const char *folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/births", folder);
    unlink(path);
}
