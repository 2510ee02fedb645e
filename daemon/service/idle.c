/* SPDX-License-Identifier: MIT */
#include "service/idle.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <uv.h>

#include "base/log.h"
#include "base/own.h"
#include "engine/engine.h"
#include "engine/models.h"
#include "service/hub.h"

struct idle {
    struct hub *hub;
    uv_timer_t timer;
};

static void on_timer(uv_timer_t *timer)
{
    const struct idle *idle = timer->data;
    hub_change(idle->hub); /* which has us look before the loop waits */
}

/* When a model's time comes; 0: not now, and somebody tells when that changes. */
static uint64_t due_ms(struct use *use, const struct models_entry *entry, uint64_t now)
{
    if (use->generation != entry->generation) { /* it has just become what it is */
        use->generation = entry->generation;
        use->worked_ms = now;
    }
    if (entry->state != MODELS_READY || entry->idle_ms == 0 || use->users > 0 || use->unloading)
        return 0;
    return use->worked_ms + entry->idle_ms;
}

/* Somebody wants to find his session in memory. */
static bool is_pinned(const struct models_entry *entry)
{
    struct engine_stat stat;
    engine_stat(entry->engine, &stat);
    return stat.pages_pinned > 0;
}

void idle_look(struct idle *idle)
{
    struct hub *hub = idle->hub;
    uint64_t now = uv_now(hub->loop), next = 0;
    struct err err = {0};
    uv_timer_stop(&idle->timer);
    for (int i = 0; i < hub->n_uses && !hub->draining; i++) {
        struct models_entry *entry = models_at(hub->models, i);
        uint64_t due = due_ms(&hub->uses[i], entry, now);
        if (due == 0)
            continue;
        if (due <= now && is_pinned(entry)) { /* nobody tells when that ends */
            hub->uses[i].worked_ms = now;
            due = now + entry->idle_ms;
        }
        if (due > now)
            next = next == 0 || due < next ? due : next;
        else if (models_rest(hub->models, entry, &err) < 0)
            log_error("service", "cannot unload '%s': %s", entry->name, err.text);
        else
            hub_change(hub);
    }
    if (next > 0)
        uv_timer_start(&idle->timer, on_timer, next - now, 0);
}

int idle_new(struct hub *hub, struct idle **ret, struct err *err)
{
    struct idle *idle = calloc(1, sizeof *idle);
    if (!idle)
        return err_set(err, -ENOMEM, "no memory to watch for idle models");
    idle->hub = hub;
    uv_timer_init(hub->loop, &idle->timer);
    idle->timer.data = idle;
    hub->n_alive++;
    *ret = idle;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct idle *idle = handle->data;
    struct hub *hub = idle->hub;
    free(idle);
    hub_leave(hub);
}

void idle_close(struct idle *idle)
{
    if (idle)
        uv_close((uv_handle_t *)&idle->timer, on_closed);
}
