/* SPDX-License-Identifier: MIT
 *
 * The kernel wakes us where it can tell; a timer looks as well, for a limit may come near without
 * anybody waiting yet.
 */
#include "service/pressure.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/log.h"
#include "base/own.h"
#include "engine/models.h"
#include "place/strain.h"
#include "service/call.h"
#include "service/hub.h"

struct pressure {
    struct hub *hub;
    struct gauge *gauge; /* NULL: nobody looks */
    struct ladder ladder;
    struct strain strain;
    uint64_t changes;
    uv_timer_t timer;
    uv_poll_t poll[GAUGE_TRIGGERS];
    int n_polls, n_handles;
};

static const char off[] = "nobody looks (PressureFile=off)";

static void say(const struct pressure *p, bool is_up)
{
    const struct strain *s = &p->strain;
    char waited[64] = "";
    if (s->some >= 0)
        snprintf(waited, sizeof waited, ", tasks wait for it %.0f %% of the time", s->some);
    log_about(is_up ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "service",
              LOG_ABOUT(.event = is_up ? EVENT_MEMORY_SHORT : EVENT_MEMORY_EASES),
              "memory %s short: %.1f of %.1f GB left by %s%s; rung '%s'",
              is_up ? "is" : "gets less", (double)s->left / 1e9, (double)s->all / 1e9, s->limit,
              waited, rung_name(p->ladder.rung));
}

/* Engines that were opened since hear of it too. */
static void press_engines(const struct pressure *p)
{
    struct models *models = p->hub->models;
    for (int i = 0; models && i < models_count(models); i++)
        if (models_at(models, i)->engine)
            engine_press(models_at(models, i)->engine, p->ladder.rung);
}

static void on_timer(uv_timer_t *timer);

static void look(struct pressure *p)
{
    enum rung before = p->ladder.rung;
    gauge_read(p->gauge, uv_hrtime(), &p->strain);
    if (ladder_read(&p->ladder, &p->strain, uv_hrtime())) {
        p->changes++;
        say(p, p->ladder.rung > before);
        if (before == RUNG_CALM)
            malloc_trim(0); /* what clients had us hold, and lies about free */
        hub_change(p->hub);
    }
    press_engines(p);
    uv_timer_start(&p->timer, on_timer, ladder_wait_ms(&p->ladder, p->n_polls > 0), 0);
}

static void on_timer(uv_timer_t *timer)
{
    look(timer->data);
}

static void on_trigger(uv_poll_t *poll, int status, int events)
{
    struct pressure *p = poll->data;
    (void)events;
    if (status < 0) { /* its group is gone: the timer goes on */
        uv_poll_stop(poll);
        return;
    }
    look(p);
}

int pressure_new(struct hub *hub, const char *path, struct pressure **ret, struct err *err)
{
    OWN_MEM struct pressure *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, -ENOMEM, "no memory to watch memory");
    p->hub = hub;
    bool is_off = path && !strcmp(path, "off");
    int r = is_off ? 0 : gauge_open("", path && *path ? path : NULL, &p->gauge, err);
    if (r < 0)
        return r;
    uv_timer_init(hub->loop, &p->timer);
    p->timer.data = p;
    p->n_handles = 1;
    for (int i = 0; p->gauge && i < GAUGE_TRIGGERS; i++) {
        uv_poll_t *poll = &p->poll[p->n_polls];
        int fd = gauge_trigger(p->gauge, i);
        if (fd < 0 || uv_poll_init(hub->loop, poll, fd) < 0)
            continue;
        poll->data = p;
        p->n_polls++;
        p->n_handles++;
        uv_poll_start(poll, UV_PRIORITIZED, on_trigger);
    }
    hub->n_alive++;
    if (p->gauge)
        look(p);
    *ret = TAKE(p);
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct pressure *p = handle->data;
    if (--p->n_handles > 0)
        return;
    struct hub *hub = p->hub;
    gauge_close(p->gauge);
    free(p);
    hub_leave(hub);
}

void pressure_close(struct pressure *p)
{
    if (!p)
        return;
    uv_close((uv_handle_t *)&p->timer, on_closed);
    for (int i = 0; i < p->n_polls; i++)
        uv_close((uv_handle_t *)&p->poll[i], on_closed);
}

enum rung pressure_rung(const struct pressure *p)
{
    return p->ladder.rung;
}

uint64_t pressure_changes(const struct pressure *p)
{
    return p->changes;
}

void pressure_describe(const struct pressure *p, Moed__V1__Pressure *ret)
{
    const struct strain *s = &p->strain;
    moed__v1__pressure__init(ret);
    ret->has_rung = ret->has_changes = true;
    ret->rung = (Moed__V1__Rung)p->ladder.rung;
    ret->changes = p->changes;
    ret->source = (char *)(p->gauge ? gauge_words(p->gauge) : off);
    if (!p->gauge)
        return;
    ret->has_some_percent = ret->has_full_percent = s->some >= 0;
    ret->some_percent = s->some;
    ret->full_percent = s->full;
    ret->has_left_bytes = ret->has_limit_bytes = true;
    ret->left_bytes = s->left;
    ret->limit_bytes = s->all;
    ret->limit = (char *)s->limit;
}

int pressure_check(const struct pressure *p, struct err *err)
{
    const struct strain *s = &p->strain;
    if (p->ladder.rung < RUNG_REFUSE)
        return 0;
    return err_set(err, -ENOMEM,
                   "memory is short, %.1f of %.1f GB left by %s: no new work is taken; try again "
                   "in a few seconds, or free some",
                   (double)s->left / 1e9, (double)s->all / 1e9, s->limit);
}

bool pressure_refuses(const struct pressure *p, struct call *call)
{
    struct err err = {0};
    int r = pressure_check(p, &err);
    if (r < 0)
        call_refuse(call, ladder_eases_ns(&p->ladder, uv_hrtime()), "%s", err.text);
    return r < 0;
}
