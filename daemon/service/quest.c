/* SPDX-License-Identifier: MIT */
#include "service/quest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/models.h"
#include "service/hub.h"
#include "service/order.h"

static int not_found(const struct quest *q, const char *name, struct err *err)
{
    struct models *models = q->hub->models;
    char known[256] = "";
    size_t used = 0;
    for (int i = 0; i < models_count(models) && used < sizeof known; i++)
        if (!models_at(models, i)->gone)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s'%.64s'",
                                     used ? ", " : "", models_at(models, i)->name);
    return err_set(err, -ENOENT, "there is no model '%.128s' here, only: %s", name,
                   known[0] ? known : "none");
}

int quest_begin(struct quest *q, struct hub *hub, const char *name, unsigned want, struct err *err)
{
    *q = (struct quest){.hub = hub, .want = want, .has_name = name != NULL};
    if (name && strlen(name) >= sizeof q->name)
        return not_found(q, name, err);
    strcpy(q->name, name ? name : "");
    return 0;
}

static int found(struct quest *q, struct models_entry *entry, struct models_entry **ret)
{
    if (entry)
        hub_touch_model(q->hub, hub_index(q->hub, entry));
    *ret = entry;
    return 0;
}

static int cannot_open(struct quest *q, struct models_entry *entry, struct models_entry **ret,
                       struct err *err)
{
    if (q->want & SEEK_ANYWAY)
        return found(q, entry, ret);
    return err_set(err, -EUNATCH, "model '%s' could not be opened: %s", entry->name,
                   entry->error.text);
}

/* False: the folders are being listed. */
static bool list_folders(struct quest *q)
{
    if (!q->is_listing && !q->was_listed) {
        q->ticket = models_scan(q->hub->models);
        q->is_listing = true;
    }
    if (q->is_listing && !models_is_scanned(q->hub->models, q->ticket))
        return false;
    q->is_listing = false;
    q->was_listed = true;
    return true;
}

static bool is_wanted_awake(const struct quest *q, const struct models_entry *entry)
{
    return q->want & SEEK_WAKE && entry->resting;
}

static int wake(struct quest *q, struct models_entry *entry, struct models_entry **ret,
                struct err *err)
{
    if (entry->stale) /* a moment later it is the file that is there now */
        return -EINPROGRESS;
    int r = order_load(q->hub, entry, err);
    return r < 0 ? r : found(q, entry, ret);
}

int quest_go_on(struct quest *q, struct models_entry **ret, struct err *err)
{
    struct models *models = q->hub->models;
    if ((q->is_listing || q->want & SEEK_LISTED) && !list_folders(q))
        return -EINPROGRESS;
    if (!q->has_name)
        return found(q, NULL, ret);
    struct models_entry *entry = models_find(models, q->name);
    if (!entry) {
        if (!list_folders(q))
            return -EINPROGRESS;
        entry = models_find(models, q->name);
    }
    if (!entry)
        return not_found(q, q->name, err);
    bool wakes = is_wanted_awake(q, entry);
    if (wakes && entry->state == MODELS_UNLOADING)
        return -EINPROGRESS;
    if (wakes && entry->model)
        return wake(q, entry, ret, err);
    if (entry->model || !(wakes || q->want & SEEK_OPEN))
        return found(q, entry, ret);
    if (entry->opening)
        return -EINPROGRESS;
    struct err why = {0};
    if (q->was_opened || models_open(models, entry, &why) < 0 || !entry->opening)
        return cannot_open(q, entry, ret, err);
    q->was_opened = true;
    return -EINPROGRESS;
}
