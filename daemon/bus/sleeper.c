/* SPDX-License-Identifier: MIT
 *
 * Signals count if they come from whom the bus says has logind's name: anybody may send us one.
 */
#include "bus/sleeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "bus/link.h"

#define DRIVER      "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"
#define LOGIND_NAME "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"
#define LOGIND_FACE "org.freedesktop.login1.Manager"

enum {
    DELAY_MS = 5000,      /* logind's, if it does not say */
    LEAST_DELAY_MS = 100, /* of what it says */
    MOST_DELAY_MS = 60000,
};

struct sleeper {
    sd_bus *bus;
    const struct bus_hooks *hooks;
    /* Answers that are awaited, or signals. */
    sd_bus_slot *owner_reply, *lock_reply, *delay_reply, *owner_signal, *sleep_signal;
    char owner[64]; /* who has logind's name; "": nobody */
    int lock;       /* -1: none */
    uint64_t delay_ms;
    bool sleeps;
};

static void let_go(struct sleeper *s)
{
    if (s->lock >= 0)
        close(s->lock);
    s->lock = -1;
}

/* ---- the lock */

static int on_lock(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct sleeper *s = arg;
    int fd = -1;
    (void)error;
    s->lock_reply = sd_bus_slot_unref(s->lock_reply);
    if (sd_bus_message_is_method_error(reply, NULL)) {
        log_warning("bus", "logind does not have sleep wait for us: %.128s",
                    sd_bus_message_get_error(reply)->name);
        return 1;
    }
    /* The message owns its own. If the machine is on its way meanwhile, it does not wait for this
     * one. */
    if (sd_bus_message_read(reply, "h", &fd) < 0 || s->sleeps)
        return 1;
    let_go(s);
    s->lock = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 1;
}

static int on_delay(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct sleeper *s = arg;
    uint64_t us = 0;
    (void)error;
    s->delay_reply = sd_bus_slot_unref(s->delay_reply);
    if (sd_bus_message_is_method_error(reply, NULL) ||
        sd_bus_message_read(reply, "v", "t", &us) <= 0)
        return 1;
    uint64_t ms = us / 1000;
    s->delay_ms = ms < LEAST_DELAY_MS ? LEAST_DELAY_MS : ms > MOST_DELAY_MS ? MOST_DELAY_MS : ms;
    return 1;
}

static int call(struct sleeper *s, sd_bus_slot **slot, const char *interface, const char *member,
                sd_bus_message_handler_t then, const char *types, ...)
{
    sd_bus_message *m = NULL;
    *slot = sd_bus_slot_unref(*slot);
    int r = sd_bus_message_new_method_call(s->bus, &m, LOGIND_NAME, LOGIND_PATH, interface, member);
    if (r >= 0)
        r = sd_bus_message_set_auto_start(m, 0); /* where there is none, none is wanted */
    va_list args;
    va_start(args, types);
    if (r >= 0)
        r = sd_bus_message_appendv(m, types, args);
    va_end(args);
    if (r >= 0)
        r = sd_bus_call_async(s->bus, slot, m, then, s, LINK_CALL_S * UINT64_C(1000000));
    sd_bus_message_unref(m);
    return r;
}

static void take_lock(struct sleeper *s)
{
    int r = call(s, &s->lock_reply, LOGIND_FACE, "Inhibit", on_lock, "ssss", "sleep", "moed",
                 "Writing what it remembers to the disk", "delay");
    if (r >= 0)
        r = call(s, &s->delay_reply, "org.freedesktop.DBus.Properties", "Get", on_delay, "ss",
                 LOGIND_FACE, "InhibitDelayMaxUSec");
    if (r < 0)
        log_warning("bus", "logind cannot be asked to have sleep wait for us: %s", strerror(-r));
}

/* ---- who is logind */

static void meet(struct sleeper *s, const char *owner)
{
    snprintf(s->owner, sizeof s->owner, "%s", owner);
    if (*s->owner)
        take_lock(s); /* a new logind may not know of the old lock */
}

static int on_owner(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct sleeper *s = arg;
    const char *owner;
    (void)error;
    s->owner_reply = sd_bus_slot_unref(s->owner_reply);
    /* An error: nobody has the name. A signal says when that changes. */
    if (!sd_bus_message_is_method_error(reply, NULL) && link_is_driver(reply) &&
        sd_bus_message_read(reply, "s", &owner) > 0)
        meet(s, owner);
    return 1;
}

static int on_owner_changed(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct sleeper *s = arg;
    const char *name, *old, *new;
    (void)error;
    if (link_is_driver(m) && sd_bus_message_read(m, "sss", &name, &old, &new) > 0 &&
        strcmp(name, LOGIND_NAME) == 0)
        meet(s, new);
    return 0;
}

/* ---- sleeping */

static int on_sleep(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct sleeper *s = arg;
    const char *sender = sd_bus_message_get_sender(m);
    int begins;
    (void)error;
    if (!*s->owner || !sender || strcmp(sender, s->owner) != 0 ||
        sd_bus_message_read(m, "b", &begins) <= 0 || s->sleeps == (begins != 0))
        return 0;
    s->sleeps = begins;
    if (begins) {
        s->hooks->sleep(s->hooks->arg, s->delay_ms - s->delay_ms / 4);
    } else {
        s->hooks->wake(s->hooks->arg);
        take_lock(s);
    }
    return 0;
}

void sleeper_ready(struct sleeper *s)
{
    if (s->sleeps)
        let_go(s);
}

/* ---- birth and death */

OWN_DEFINE(sleeper, sleeper_free);

int sleeper_new(sd_bus *bus, const struct bus_hooks *hooks, struct sleeper **ret, struct err *err)
{
    OWN(sleeper) *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "no memory to wait for sleep");
    s->bus = bus;
    s->hooks = hooks;
    s->lock = -1;
    s->delay_ms = DELAY_MS;
    int r = sd_bus_match_signal_async(bus, &s->sleep_signal, LOGIND_NAME, LOGIND_PATH, LOGIND_FACE,
                                      "PrepareForSleep", on_sleep, NULL, s);
    if (r >= 0)
        r = sd_bus_add_match_async(bus, &s->owner_signal,
                                   "type='signal',sender='org.freedesktop.DBus',"
                                   "member='NameOwnerChanged',arg0='" LOGIND_NAME "'",
                                   on_owner_changed, NULL, s);
    if (r >= 0)
        r = sd_bus_call_method_async(bus, &s->owner_reply, DRIVER, "GetNameOwner", on_owner, s, "s",
                                     LOGIND_NAME);
    if (r < 0)
        return err_set(err, r, "cannot ask the bus for logind: %s", strerror(-r));
    *ret = TAKE(s);
    return 0;
}

void sleeper_free(struct sleeper *s)
{
    if (!s)
        return;
    sd_bus_slot *slots[] = {s->owner_reply, s->lock_reply, s->delay_reply, s->owner_signal,
                            s->sleep_signal};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        sd_bus_slot_unref(slots[i]);
    let_go(s);
    free(s);
}
