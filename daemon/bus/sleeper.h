/* SPDX-License-Identifier: MIT
 *
 * Hears from logind that the machine is about to sleep, and has it wait until we are ready. Loop
 * thread.
 *
 * A lock of kind "delay" is a descriptor; while it is open, sleep waits for at most logind's
 * InhibitDelayMaxSec=. Without logind there is no sleep either.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "base/err.h"
#include "bus/bus.h"

struct sleeper;

/* Of a connection; pointers are borrowed. */
int sleeper_new(sd_bus *bus, const struct bus_hooks *hooks, struct sleeper **ret, struct err *err);
/* What had to be done before the machine sleeps is done: it need not wait any more. */
void sleeper_ready(struct sleeper *sleeper);
/* NULL is taken. */
void sleeper_free(struct sleeper *sleeper);
