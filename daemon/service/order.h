/* SPDX-License-Identifier: MIT
 *
 * Loading and unloading, for whoever asks: a call on the socket, or somebody in this process.
 *
 * Loop thread. An order is what somebody asks for who has no call; it lives until it is done.
 */
#pragma once

#include "base/err.h"
#include "service/service.h"

struct hub;
struct models_entry;

/* Begins to load what is open: 0, and it is loading or ready. -EAGAIN: it is stale; -EUNATCH: it is
 * being unloaded; -ENOMEM: memory is short; else as models_load(). */
int order_load(struct hub *hub, struct models_entry *entry, struct err *err);
/* Stops what runs on it and has it unloaded. 0: it is not loaded; -EINPROGRESS: it will be gone
 * when hub->uses of it says so; -EUNATCH: it is loading. */
int order_unload(struct hub *hub, struct models_entry *entry, struct err *err);
/* What order_unload() began. 0: it is gone; -EINPROGRESS; -EIO: it is still there. */
int order_unloaded(struct hub *hub, const struct models_entry *entry, struct err *err);

/* See service_order(). */
void order_give(struct hub *hub, enum service_order what, const char *model,
                void (*done)(void *arg, const struct err *err), void *arg);
/* Looks at all open orders, as calls are told of changes. */
void orders_changed(struct hub *hub);
/* Ends those that are open. */
void orders_close(struct hub *hub);
