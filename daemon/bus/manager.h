/* SPDX-License-Identifier: MIT
 *
 * The object on the bus: properties that say how the daemon is, methods that give it orders. Loop
 * thread.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "base/err.h"
#include "bus/bus.h"

struct manager;

/* Of a connection; pointers are borrowed. */
int manager_new(sd_bus *bus, const struct bus_hooks *hooks, struct manager **ret, struct err *err);
/* Looks how things are, and tells the bus what has changed since. */
void manager_look(struct manager *manager);
/* Orders that are given go on; nobody hears of them. NULL is taken. */
void manager_free(struct manager *manager);
