/* SPDX-License-Identifier: MIT
 *
 * Before the loop waits it asks the library what to wait for: that may change with every message.
 */
#include "bus/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"

enum { N_HANDLES = 3 };

struct link {
    sd_bus *bus;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_timer_t timer; /* of the library */
    int fd;           /* ours, a copy: the library closes its own when it likes */
    int events;       /* that are polled for */
    int n_open;       /* handles */
    bool is_lost;
    void (*lost)(void *arg, int error);
    void *arg;
};

static void process(struct link *l)
{
    int r = 1;
    if (l->is_lost)
        return;
    for (int i = 0; i < LINK_TURN && r > 0 && l->bus; i++)
        r = sd_bus_process(l->bus, NULL);
    uint64_t unsent = 0;
    if (r >= 0 && l->bus && sd_bus_get_n_queued_write(l->bus, &unsent) == 0 && unsent > LINK_UNSENT)
        r = -ENOBUFS;
    if (r >= 0)
        return;
    l->is_lost = true;
    l->lost(l->arg, r);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status; /* the library finds out by itself */
    (void)events;
    process(poll->data);
}

static void on_due(uv_timer_t *timer)
{
    process(timer->data);
}

static void wait_for(struct link *l, int events)
{
    int wanted = (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0);
    if (wanted == l->events)
        return;
    l->events = wanted;
    if (wanted)
        uv_poll_start(&l->poll, wanted, on_ready);
    else
        uv_poll_stop(&l->poll);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct link *l = prepare->data;
    uint64_t due_us = UINT64_MAX;
    if (l->is_lost)
        return;
    int events = sd_bus_get_events(l->bus);
    if (events < 0) { /* it is closing: process() says so */
        uv_timer_start(&l->timer, on_due, 0, 0);
        return;
    }
    wait_for(l, events);
    if (sd_bus_get_timeout(l->bus, &due_us) < 0 || due_us == UINT64_MAX) {
        uv_timer_stop(&l->timer);
        return;
    }
    uint64_t now_us = uv_hrtime() / 1000; /* CLOCK_MONOTONIC, as the library's */
    uint64_t ms = due_us > now_us ? (due_us - now_us + 999) / 1000 : 0;
    uv_timer_start(&l->timer, on_due, ms, 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;
    if (--l->n_open > 0)
        return;
    close(l->fd);
    free(l);
}

int link_open(uv_loop_t *loop, void (*lost)(void *arg, int error), void *arg, struct link **ret,
              struct err *err)
{
    OWN_MEM struct link *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, -ENOMEM, "no memory for a connection to the bus");
    l->lost = lost;
    l->arg = arg;
    int r = sd_bus_open_system(&l->bus);
    if (r < 0)
        return err_set(err, r, "cannot connect to the system's bus: %s", strerror(-r));
    int fd = sd_bus_get_fd(l->bus);
    l->fd = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    r = fd < 0 ? fd : l->fd < 0 ? -errno : uv_poll_init(loop, &l->poll, l->fd);
    if (r < 0) {
        sd_bus_unref(l->bus);
        if (l->fd >= 0)
            close(l->fd);
        return err_set(err, r, "cannot watch the system's bus: %s", strerror(-r));
    }
    uv_prepare_init(loop, &l->prepare);
    uv_timer_init(loop, &l->timer);
    l->poll.data = l->prepare.data = l->timer.data = l;
    l->n_open = N_HANDLES;
    uv_prepare_start(&l->prepare, on_prepare);
    *ret = TAKE(l);
    return 0;
}

sd_bus *link_bus(struct link *l)
{
    return l->bus;
}

bool link_is_driver(sd_bus_message *message)
{
    const char *sender = sd_bus_message_get_sender(message);
    return sender && strcmp(sender, "org.freedesktop.DBus") == 0;
}

void link_close(struct link *l)
{
    if (!l)
        return;
    l->is_lost = true;
    sd_bus_close(l->bus);
    l->bus = sd_bus_unref(l->bus);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->prepare, on_closed);
    uv_close((uv_handle_t *)&l->timer, on_closed);
}
