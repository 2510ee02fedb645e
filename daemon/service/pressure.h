/* SPDX-License-Identifier: MIT
 *
 * Watches how short memory is, climbs the ladder, and has engines give back what its rung asks for.
 * Loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/ladder.h"
#include "moed/v1/stats.pb-c.h"

struct call;
struct hub;
struct pressure;

/* `path` as in service_config. The words name a file that cannot be read. */
int pressure_new(struct hub *hub, const char *path, struct pressure **ret, struct err *err);
/* Its memory goes with its last handle. NULL is taken. */
void pressure_close(struct pressure *pressure);

enum rung pressure_rung(const struct pressure *pressure);
/* Of the rung, since the start. */
uint64_t pressure_changes(const struct pressure *pressure);
/* The message borrows. */
void pressure_describe(const struct pressure *pressure, Moed__V1__Pressure *ret);
/* -ENOMEM with words on the ladder's last rung: no new work is taken. */
int pressure_check(const struct pressure *pressure, struct err *err);
/* There a call that would bring some, or have more kept, is refused with a time to come back;
 * whether it was. */
bool pressure_refuses(const struct pressure *pressure, struct call *call);
