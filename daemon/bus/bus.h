/* SPDX-License-Identifier: MIT
 *
 * The daemon on the system's D-Bus: a name, an object that tells how it is and takes orders, and a
 * lock that has a machine wait, before it sleeps, until everything is on the disk.
 *
 *     org.moed.Moed1   /org/moed/Moed1   org.moed.Manager1
 *
 * Loop thread. Nothing here is needed to serve: a bus that is not there or does not want us is told
 * once and tried again, ever more rarely. Whatever comes from the bus is checked; who may change
 * something is asked polkit about, unless the configuration says so. bus_stub.c is for builds
 * without libsystemd.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"
#include "service/service.h"

#define BUS_NAME      "org.moed.Moed1"
#define BUS_PATH      "/org/moed/Moed1"
#define BUS_INTERFACE "org.moed.Manager1"
#define BUS_ACTIONS   "org.moed." /* load, unload, manage: see packaging/dbus/org.moed.policy */

struct bus;

struct bus_model { /* borrowed */
    const char *name, *state;
    const char *error; /* why it did not load; NULL */
    uint64_t file_bytes;
    uint64_t bytes_done, bytes_all; /* bytes_all 0: it does not load */
    bool is_active;                 /* more than a file in a folder */
};

struct bus_state {
    const char *state;    /* "idle", "loading", "ready", "draining" */
    const char *pressure; /* how short memory is: "calm", ... */
    uint64_t memory_bytes;
    uint32_t running, waiting;
    uint32_t loading_percent; /* of what loads; 100: nothing does */
};

enum bus_verdict { BUS_DENIED, BUS_ASK, BUS_MAY }; /* ASK: polkit */

/* What the bus wants to know and to have done; nothing of it may be NULL. */
struct bus_hooks {
    void (*state)(void *arg, struct bus_state *ret);
    void (*models)(void *arg, void (*each)(void *to, const struct bus_model *model), void *to);
    /* `done` once, with a code of 0 or why not; perhaps at once. */
    void (*order)(void *arg, enum service_order what, const char *model,
                  void (*done)(void *to, const struct err *err), void *to);
    int (*reload)(void *arg, struct service_reloaded *ret, struct err *err);
    /* The machine sleeps in so many milliseconds, or when bus_ready() says that we are; and is
     * awake again. */
    void (*sleep)(void *arg, uint64_t within_ms);
    void (*wake)(void *arg);
    enum bus_verdict (*judge)(void *arg, uint32_t uid, const uint32_t *gids, int n_gids);
    void *arg;
};

/* Begins to look for the bus. -ENOMEM, -ENOTSUP: a build without it. */
int bus_open(uv_loop_t *loop, const struct bus_hooks *hooks, struct bus **ret, struct err *err);
/* Something may be other than it was; cheap. */
void bus_touch(struct bus *bus);
/* The machine need not wait for us any more. */
void bus_ready(struct bus *bus);
/* What is wrong with it, for people; "": nothing. Changes with the loop. */
const char *bus_trouble(const struct bus *bus);
/* Its memory goes with its last handle. NULL is taken. */
void bus_close(struct bus *bus);
