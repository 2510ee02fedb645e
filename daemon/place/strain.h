/* SPDX-License-Identifier: MIT
 *
 * How short memory is: how long tasks wait for it, as the kernel's pressure files tell, and how
 * much is left of what the machine and the control groups have.
 *
 * The group's tasks are ours: what they wait for counts. Of the machine's it counts only while the
 * machine itself is short, for other groups wait at limits of their own, and nothing that we give
 * back helps them. Any thread, one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct strain {        /* a reading */
    double some, full; /* percent of the last seconds in which some, or all, tasks waited; negative:
                          nobody tells */
    uint64_t left, all; /* bytes, of what has the least left in proportion */
    char limit[128];    /* what that is: "MemAvailable", "cgroup /…" */
};

struct gauge;
enum { GAUGE_TRIGGERS = 2 };

/* `path` is a pressure file to read instead of the group's and the machine's; NULL: those. `root`
 * stands in front of /proc and /sys: "" but for tests. -ENOENT and its like: that file cannot be
 * read; without a path this never fails but for -ENOMEM. */
int gauge_open(const char *root, const char *path, struct gauge **ret, struct err *err);
void gauge_close(struct gauge *gauge);
OWN_DEFINE(gauge, gauge_close);

/* A descriptor that has POLLPRI when tasks begin to wait for memory; -1: there is none by that
 * number. Without any: look now and then. */
int gauge_trigger(const struct gauge *gauge, int i);
/* Where waiting is read, or why nowhere; for people. */
const char *gauge_words(const struct gauge *gauge);
void gauge_read(struct gauge *gauge, uint64_t now_ns, struct strain *ret);
