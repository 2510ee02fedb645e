/* SPDX-License-Identifier: MIT
 *
 * bus.h for builds without libsystemd.
 */
#include "bus/bus.h"

#include <errno.h>

int bus_open(uv_loop_t *loop, const struct bus_hooks *hooks, struct bus **ret, struct err *err)
{
    (void)loop;
    (void)hooks;
    (void)ret;
    return err_set(err, -ENOTSUP, "this build has no libsystemd, and so no bus");
}

void bus_touch(struct bus *bus)
{
    (void)bus;
}

void bus_ready(struct bus *bus)
{
    (void)bus;
}

const char *bus_trouble(const struct bus *bus)
{
    (void)bus;
    return "";
}

void bus_close(struct bus *bus)
{
    (void)bus;
}
