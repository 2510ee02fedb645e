/* SPDX-License-Identifier: MIT */
#include "service/order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "engine/models.h"
#include "service/care.h"
#include "service/embedding.h"
#include "service/generation.h"
#include "service/hub.h"
#include "service/pressure.h"
#include "service/quest.h"
#include "ttrpc.h"

struct order {
    struct order *next;
    enum service_order what;
    struct quest quest;
    struct models_entry *entry; /* being unloaded; NULL: looked for */
    void (*done)(void *arg, const struct err *err);
    void *arg;
};

/* ---- what is done */

int order_load(struct hub *hub, struct models_entry *entry, struct err *err)
{
    bool is_there = models_is_in_memory(entry->state);
    if (entry->stale && !is_there)
        return err_set(err, -EAGAIN, "'%s' was changed, and its old self is in use: try again",
                       entry->name);
    if (hub_is_unloading(hub, hub_index(hub, entry)))
        return err_set(err, -EUNATCH, "model '%s' is being unloaded", entry->name);
    int r = is_there ? 0 : pressure_check(hub->pressure, err);
    if (r < 0)
        return r;
    struct err why = {0};
    r = models_load(hub->models, entry, &why);
    if (r < 0)
        return err_set(err, r, "cannot load '%s': %s", entry->name, why.text);
    hub_change(hub);
    return 0;
}

int order_unload(struct hub *hub, struct models_entry *entry, struct err *err)
{
    if (entry->state == MODELS_LOADING)
        return err_set(err, -EUNATCH, "model '%s' is loading: wait for it first", entry->name);
    int index = hub_index(hub, entry);
    if (entry->resting)
        models_unload(hub->models, entry, NULL); /* from now on it stays away */
    if (entry->state != MODELS_READY && !hub_is_unloading(hub, index))
        return 0;
    generation_stop_all(hub, index, TTRPC_UNAVAILABLE, "the model is being unloaded");
    embedding_stop_all(hub, index, TTRPC_UNAVAILABLE, "the model is being unloaded");
    care_stop_all(hub, index);
    if (entry->state == MODELS_READY)
        hub_unload(hub, index);
    return -EINPROGRESS;
}

int order_unloaded(struct hub *hub, const struct models_entry *entry, struct err *err)
{
    if (hub_is_unloading(hub, hub_index(hub, entry)))
        return -EINPROGRESS;
    return entry->state == MODELS_READY
               ? err_set(err, -EIO, "model '%s' could not be unloaded", entry->name)
               : 0;
}

/* ---- for whom no call asks */

static int go_on(struct hub *hub, struct order *order, struct err *err)
{
    if (hub->draining)
        return err_set(err, -ESHUTDOWN, "draining: the daemon is going away");
    if (order->entry)
        return order_unloaded(hub, order->entry, err);
    struct models_entry *entry;
    int r = quest_go_on(&order->quest, &entry, err);
    if (r < 0 || order->what == SERVICE_LIST)
        return r;
    if (order->what == SERVICE_LOAD)
        return order_load(hub, entry, err);
    r = order_unload(hub, entry, err);
    if (r == -EINPROGRESS)
        order->entry = entry;
    return r;
}

/* It is in no list. */
static void end(struct order *order, int result, struct err *err)
{
    err->code = result;
    order->done(order->arg, err);
    free(order);
}

void order_give(struct hub *hub, enum service_order what, const char *model,
                void (*done)(void *arg, const struct err *err), void *arg)
{
    static const unsigned want[] = {[SERVICE_LIST] = SEEK_LISTED,
                                    [SERVICE_LOAD] = SEEK_LISTED | SEEK_OPEN | SEEK_WAKE,
                                    [SERVICE_UNLOAD] = 0};
    struct err err = {0};
    struct order *order = calloc(1, sizeof *order);
    if (!order)
        abort(); /* a few bytes, of an order that somebody was let give */
    order->what = what;
    order->done = done;
    order->arg = arg;
    int r = quest_begin(&order->quest, hub, what == SERVICE_LIST ? NULL : model, want[what], &err);
    if (r == 0)
        r = go_on(hub, order, &err);
    if (r != -EINPROGRESS) {
        end(order, r, &err);
        return;
    }
    order->next = hub->orders;
    hub->orders = order;
}

/* Who hears that his order is done may give another, which is then the first of the list. */
void orders_changed(struct hub *hub)
{
    struct order *left = hub->orders;
    hub->orders = NULL;
    while (left) {
        struct order *order = left;
        struct err err = {0};
        left = order->next;
        int r = go_on(hub, order, &err);
        if (r != -EINPROGRESS) {
            end(order, r, &err);
            continue;
        }
        order->next = hub->orders;
        hub->orders = order;
    }
}

void orders_close(struct hub *hub)
{
    while (hub->orders) {
        struct order *order = hub->orders;
        struct err err = {0};
        hub->orders = order->next;
        end(order, err_set(&err, -ESHUTDOWN, "the daemon has ended"), &err);
    }
}
