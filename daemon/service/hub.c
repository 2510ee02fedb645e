/* SPDX-License-Identifier: MIT
 *
 * Peers by uid, users of models, complaints by ration.
 */
#include "service/hub.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "engine/models.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/idle.h"
#include "service/order.h"

static const enum event event_of[N_CAUSES] = {
    [CAUSE_UID_LIMIT] = EVENT_CLIENT_LIMIT,
    [CAUSE_UID_REFUSED] = EVENT_CLIENT_REFUSED,
    [CAUSE_FULL] = EVENT_FULL,
    [CAUSE_NO_FDS] = EVENT_FULL,
    [CAUSE_NOT_TTRPC] = EVENT_CLIENT_BROKEN,
    [CAUSE_TIMEOUT] = EVENT_CLIENT_SLOW,
    [CAUSE_SLOW] = EVENT_CLIENT_SLOW,
    [CAUSE_MEMORY] = EVENT_HELD_MEMORY,
    [CAUSE_ENGINE] = EVENT_GENERATION_FAILED,
    [CAUSE_SESSION] = EVENT_DISK,
};

void hub_complain(struct hub *hub, enum hub_cause cause, const struct log_facts *about,
                  const char *fmt, ...)
{
    struct log_facts facts = *about;
    uint32_t kept_back;
    if (!ration_take(&hub->rations[cause], uv_now(hub->loop), &kept_back))
        return;
    char text[384];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    facts.event = event_of[cause];
    if (kept_back > 0)
        log_about(LOG_LEVEL_WARNING, "service", &facts, "%s (and %u lines like it were kept back)",
                  text, kept_back);
    else
        log_about(LOG_LEVEL_WARNING, "service", &facts, "%s", text);
}

void hub_leave(struct hub *hub)
{
    if (--hub->n_alive == 0)
        hub->gone(hub);
}

struct peer *hub_peer(struct hub *hub, uint32_t uid)
{
    struct peer *peer = hub->peers;
    while (peer && peer->uid != uid)
        peer = peer->next;
    if (!peer) {
        peer = calloc(1, sizeof *peer);
        if (!peer)
            return NULL;
        peer->uid = uid;
        peer->next = hub->peers;
        hub->peers = peer;
    }
    peer->n_conns++;
    return peer;
}

void hub_peer_drop(struct hub *hub, struct peer *peer)
{
    if (--peer->n_conns > 0)
        return;
    struct peer **at = &hub->peers;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    free(peer);
}

int hub_index(struct hub *hub, const struct models_entry *entry)
{
    for (int i = 0; i < hub->n_uses; i++)
        if (models_at(hub->models, i) == entry)
            return i;
    return -1;
}

void hub_fit(struct hub *hub)
{
    int n = models_count(hub->models);
    if (n <= hub->n_uses)
        return;
    struct use *uses = reallocarray(hub->uses, (size_t)n, sizeof *uses);
    if (!uses)
        abort(); /* a few bytes a model, of which there is a most */
    memset(uses + hub->n_uses, 0, (size_t)(n - hub->n_uses) * sizeof *uses);
    hub->uses = uses;
    hub->n_uses = n;
}

void hub_touch_model(struct hub *hub, int entry)
{
    hub->uses[entry].last = ++hub->n_sought;
}

void hub_hold(struct hub *hub, int entry)
{
    hub->uses[entry].users++;
}

void hub_release(struct hub *hub, int entry)
{
    struct use *use = &hub->uses[entry];
    use->users--;
    if (use->users == 0)
        hub->is_dirty = true; /* it may be unloaded, or shut */
}

void hub_release_worked(struct hub *hub, int entry)
{
    hub->uses[entry].worked_ms = uv_now(hub->loop);
    hub_release(hub, entry);
}

void hub_unload(struct hub *hub, int entry)
{
    hub->uses[entry].unloading = true;
    hub->is_dirty = true;
}

bool hub_is_unloading(const struct hub *hub, int entry)
{
    return hub->uses[entry].unloading || models_at(hub->models, entry)->state == MODELS_UNLOADING;
}

void hub_change(struct hub *hub)
{
    hub->is_dirty = true;
}

static void unload_unused(struct hub *hub)
{
    for (int i = 0; i < hub->n_uses; i++) {
        struct use *use = &hub->uses[i];
        if (!use->unloading || use->users > 0)
            continue;
        struct err err = {0};
        struct models_entry *entry = models_at(hub->models, i);
        use->unloading = false;
        if (models_unload(hub->models, entry, &err) < 0)
            log_error("service", "cannot unload '%s': %s", entry->name, err.text);
    }
}

/* An open file of a folder that is not loaded and that nobody works with. */
static bool is_idle(struct hub *hub, int i)
{
    const struct models_entry *entry = models_at(hub->models, i);
    return entry->in_folder && entry->model && hub->uses[i].users == 0 &&
           !models_is_in_memory(entry->state);
}

static void shut_stale(struct hub *hub)
{
    for (int i = 0; i < hub->n_uses; i++)
        if (models_at(hub->models, i)->stale && is_idle(hub, i))
            models_shut(models_at(hub->models, i));
}

/* Those that were sought last stay open. */
static void shut_idle(struct hub *hub)
{
    for (;;) {
        int n = 0, oldest = -1;
        for (int i = 0; i < hub->n_uses; i++) {
            if (!is_idle(hub, i))
                continue;
            n++;
            if (oldest < 0 || hub->uses[i].last < hub->uses[oldest].last)
                oldest = i;
        }
        if (n <= HUB_IDLE_MODELS)
            return;
        models_shut(models_at(hub->models, oldest));
    }
}

/* A hook ends at most its own call, and connections close only when they settle: so both walks
 * may look up the next one before. */
static void tell_calls(struct hub *hub)
{
    for (struct conn *conn = hub->conns, *next; conn; conn = next) {
        next = conn->next;
        conn_changed(conn);
    }
}

static void settle_touched(struct hub *hub)
{
    while (hub->touched) {
        struct conn *conn = hub->touched;
        hub->touched = conn->next_touched;
        conn_settle(conn);
        conn->is_touched = false; /* only now: what it did to itself is settled */
    }
}

/* The one that holds most goes first, until what is held is below the limit again. */
static void evict(struct hub *hub)
{
    while (hub->held_bytes > hub->config.all_bytes) {
        struct conn *most = hub->conns;
        for (struct conn *conn = hub->conns; conn; conn = conn->next)
            if (conn->charged > most->charged)
                most = conn;
        if (!most)
            return;
        conn_doom(most, CAUSE_MEMORY, "it holds the most of a memory that is used up");
        conn_close(most);
    }
}

void hub_settle(struct hub *hub)
{
    for (int round = 0; (hub->is_dirty || hub->touched) && round < 4; round++) {
        if (hub->is_dirty) {
            hub->is_dirty = false;
            unload_unused(hub);
            shut_stale(hub);
            if (hub->idle)
                idle_look(hub->idle);
            tell_calls(hub); /* whoever waited for a file to be opened takes it now */
            orders_changed(hub);
            if (hub->config.changed)
                hub->config.changed(hub->config.arg);
            shut_idle(hub);
        }
        settle_touched(hub);
    }
    evict(hub);
    if (hub->is_dirty || hub->touched)
        hub->again(hub);
}

void hub_random(void *dst, size_t bytes)
{
    uint8_t *at = dst;
    while (bytes > 0) {
        ssize_t n = getrandom(at, bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* Linux always has it */
        at += n;
        bytes -= (size_t)n;
    }
}
