/* SPDX-License-Identifier: MIT
 *
 * Speaks for the daemon on the system's bus: what bus/ asks for, answered by models and service.
 * Loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"

struct access;
struct bus;
struct models;
struct service;
struct service_reloaded;

struct deputy {
    struct bus *bus; /* NULL: not wanted, or not to be had */
    struct models *models;
    struct service *service;
    const struct access *const *access; /* of the moment */
    const bool *draining;
    int (*reload)(void *arg, struct service_reloaded *ret, struct err *err);
    void *arg;
    uv_timer_t flush; /* before a machine sleeps; open as long as the bus is */
    uint64_t flush_began_ns, flush_end_ns;
};

/* `which` is Bus= of the configuration; fill in all but `bus` first. A bus that is not there is no
 * failure; -EINVAL: no such choice; -ENOTSUP: a build without any. */
int deputy_open(struct deputy *deputy, const char *which, uv_loop_t *loop, struct err *err);
/* Something changed. */
void deputy_touch(struct deputy *deputy);
/* What is wrong, for people; "": nothing. */
const char *deputy_trouble(const struct deputy *deputy);
/* Before the service is closed. */
void deputy_close(struct deputy *deputy);
