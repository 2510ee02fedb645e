/* SPDX-License-Identifier: MIT
 *
 * Getting onto the bus, and back onto it.
 */
#include "bus/bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"
#include "bus/link.h"
#include "bus/manager.h"
#include "bus/sleeper.h"

enum {
    LOOK_MS = 500,        /* changes are told together */
    FIRST_WAIT_MS = 250,  /* before the bus is tried again, ... */
    MOST_WAIT_MS = 60000, /* ... twice as long each time, up to this */
    N_HANDLES = 2
};

#define DRIVER "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"

struct bus {
    uv_loop_t *loop;
    struct bus_hooks hooks;
    struct link *link; /* NULL: none, and `retry` runs */
    struct manager *manager;
    struct sleeper *sleeper;
    uv_timer_t look, retry;
    uint64_t wait_ms;
    int n_open; /* handles */
    char trouble[sizeof(((struct err *)0)->text)];
};

static void on_retry(uv_timer_t *timer);

static void try_later(struct bus *b)
{
    uv_timer_start(&b->retry, on_retry, b->wait_ms, 0);
    b->wait_ms = b->wait_ms < MOST_WAIT_MS / 2 ? b->wait_ms * 2 : MOST_WAIT_MS;
}

/* Said once, not with every try. */
static void complain(struct bus *b, const char *words)
{
    char text[sizeof b->trouble];
    snprintf(text, sizeof text, "%s", words);
    if (strcmp(text, b->trouble) == 0)
        return;
    memcpy(b->trouble, text, sizeof text);
    log_about(LOG_LEVEL_WARNING, "bus", LOG_ABOUT(.event = EVENT_BUS_LOST), "%s", text);
}

static void leave(struct bus *b)
{
    sleeper_free(TAKE(b->sleeper));
    manager_free(TAKE(b->manager));
    link_close(TAKE(b->link));
}

static void on_lost(void *arg, int error)
{
    struct bus *b = arg;
    char words[128];
    snprintf(words, sizeof words, "the system's bus is lost (%s): it is tried again",
             strerror(-error));
    leave(b);
    complain(b, words);
    try_later(b);
}

/* ---- the name */

static int on_requested(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct bus *b = arg;
    uint32_t how = 0;
    char words[sizeof b->trouble];
    (void)error;
    if (sd_bus_message_is_method_error(reply, NULL)) {
        snprintf(words, sizeof words,
                 "the system's bus does not let us be " BUS_NAME " (%.100s): it is asked again",
                 sd_bus_message_get_error(reply)->name);
        complain(b, words);
        try_later(b);
    } else if (sd_bus_message_read(reply, "u", &how) >= 0 && how == 2) {
        complain(b, "somebody else is " BUS_NAME " on the system's bus: it is ours after him");
    }
    return 1;
}

static int ask_for_name(struct bus *b)
{
    return sd_bus_request_name_async(link_bus(b->link), NULL, BUS_NAME, SD_BUS_NAME_QUEUE,
                                     on_requested, b);
}

static int on_name(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    struct bus *b = arg;
    const char *name = NULL;
    (void)error;
    if (!link_is_driver(message) || sd_bus_message_read(message, "s", &name) < 0 ||
        strcmp(name, BUS_NAME) != 0)
        return 0;
    b->wait_ms = FIRST_WAIT_MS;
    if (sd_bus_message_is_signal(message, NULL, "NameAcquired")) {
        *b->trouble = '\0';
        log_about(LOG_LEVEL_INFO, "bus", LOG_ABOUT(.event = EVENT_BUS),
                  "we are %s on the system's bus", name);
    } else {
        complain(b, "the name " BUS_NAME " was taken away from us: it is asked for again");
        try_later(b);
    }
    return 0;
}

/* ---- the connection */

static int join(struct bus *b, struct err *err)
{
    int r = link_open(b->loop, on_lost, b, &b->link, err);
    if (r < 0)
        return r;
    sd_bus *bus = link_bus(b->link);
    r = manager_new(bus, &b->hooks, &b->manager, err);
    if (r == 0)
        r = sleeper_new(bus, &b->hooks, &b->sleeper, err);
    if (r < 0)
        return r;
    r = sd_bus_match_signal_async(bus, NULL, DRIVER, "NameAcquired", on_name, NULL, b);
    if (r >= 0)
        r = sd_bus_match_signal_async(bus, NULL, DRIVER, "NameLost", on_name, NULL, b);
    if (r >= 0)
        r = ask_for_name(b);
    return r < 0 ? err_set(err, r, "cannot ask the bus for a name: %s", strerror(-r)) : 0;
}

static void go_on(struct bus *b)
{
    struct err err = {0};
    int r = 0;
    if (!b->link)
        r = join(b, &err);
    else if ((r = ask_for_name(b)) < 0)
        err_set(&err, r, "cannot ask the bus for a name: %s", strerror(-r));
    if (r < 0) {
        leave(b);
        complain(b, err.text);
        try_later(b);
    }
}

static void on_retry(uv_timer_t *timer)
{
    go_on(timer->data);
}

/* ---- from outside */

static void on_look(uv_timer_t *timer)
{
    struct bus *b = timer->data;
    if (b->manager)
        manager_look(b->manager);
}

int bus_open(uv_loop_t *loop, const struct bus_hooks *hooks, struct bus **ret, struct err *err)
{
    struct bus *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(err, -ENOMEM, "no memory for the bus");
    b->loop = loop;
    b->hooks = *hooks;
    b->wait_ms = FIRST_WAIT_MS;
    uv_timer_init(loop, &b->look);
    uv_timer_init(loop, &b->retry);
    b->look.data = b->retry.data = b;
    b->n_open = N_HANDLES;
    go_on(b);
    *ret = b;
    return 0;
}

void bus_touch(struct bus *b)
{
    if (b->manager && !uv_is_active((uv_handle_t *)&b->look))
        uv_timer_start(&b->look, on_look, LOOK_MS, 0);
}

void bus_ready(struct bus *b)
{
    if (b->sleeper)
        sleeper_ready(b->sleeper);
}

const char *bus_trouble(const struct bus *b)
{
    return b->trouble;
}

static void on_closed(uv_handle_t *handle)
{
    struct bus *b = handle->data;
    if (--b->n_open == 0)
        free(b);
}

void bus_close(struct bus *b)
{
    if (!b)
        return;
    leave(b);
    uv_close((uv_handle_t *)&b->look, on_closed);
    uv_close((uv_handle_t *)&b->retry, on_closed);
}
