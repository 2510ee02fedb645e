/* SPDX-License-Identifier: MIT */
#include "service/seek.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models.h"
#include "service/call.h"
#include "service/hub.h"
#include "service/status.h"
#include "ttrpc.h"

struct seeking {
    void *data; /* the method's */
    const struct call_hooks *hooks;
    void (*found)(struct call *call, struct models_entry *entry);
    unsigned want, ticket;
    bool is_listing, was_listed; /* waits for the ticket; has waited */
    bool was_opened;             /* tried to, once */
    bool has_name;
    char name[SEEK_NAME_BYTES];
};

static void give_back(struct call *call)
{
    struct seeking *s = call->data;
    call->data = s->data;
    call->hooks = s->hooks;
    free(s);
}

static void found(struct call *call, struct models_entry *entry)
{
    struct seeking *s = call->data;
    void (*then)(struct call *, struct models_entry *) = s->found;
    give_back(call);
    if (entry)
        hub_touch_model(call->hub, hub_index(call->hub, entry));
    then(call, entry);
}

static void not_found(struct call *call, const char *name)
{
    struct models *models = call->hub->models;
    char known[256] = "";
    size_t used = 0;
    for (int i = 0; i < models_count(models) && used < sizeof known; i++)
        if (!models_at(models, i)->gone)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s'%.64s'",
                                     used ? ", " : "", models_at(models, i)->name);
    call_fail(call, TTRPC_NOT_FOUND, "there is no model '%.128s' here, only: %s", name,
              known[0] ? known : "none");
}

static void cannot_open(struct call *call, struct models_entry *entry)
{
    const struct seeking *s = call->data;
    if (s->want & SEEK_ANYWAY)
        found(call, entry);
    else
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' could not be opened: %s",
                  entry->name, entry->error.text);
}

/* False: the folders are being listed. */
static bool list_folders(struct call *call)
{
    struct seeking *s = call->data;
    if (!s->is_listing && !s->was_listed) {
        s->ticket = models_scan(call->hub->models);
        s->is_listing = true;
    }
    if (s->is_listing && !models_is_scanned(call->hub->models, s->ticket))
        return false;
    s->is_listing = false;
    s->was_listed = true;
    return true;
}

static void go_on(struct call *call)
{
    struct seeking *s = call->data;
    struct models *models = call->hub->models;
    if ((s->is_listing || s->want & SEEK_LISTED) && !list_folders(call))
        return;
    if (!s->has_name) {
        found(call, NULL);
        return;
    }
    struct models_entry *entry = models_find(models, s->name);
    if (!entry) {
        if (!list_folders(call))
            return;
        entry = models_find(models, s->name);
    }
    if (!entry) {
        not_found(call, s->name);
    } else if (!(s->want & SEEK_OPEN) || entry->model) {
        found(call, entry);
    } else if (!entry->opening) {
        struct err err = {0};
        if (s->was_opened || models_open(models, entry, &err) < 0 || !entry->opening)
            cannot_open(call, entry);
        else
            s->was_opened = true;
    }
}

static void on_end(struct call *call)
{
    give_back(call);
    if (call->hooks->end)
        call->hooks->end(call);
}

static const struct call_hooks hooks = {.changed = go_on, .end = on_end};

void seek(struct call *call, const char *name, unsigned want,
          void (*then)(struct call *call, struct models_entry *entry))
{
    struct seeking *s = calloc(1, sizeof *s);
    if (!s) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    if (name && strlen(name) >= sizeof s->name) {
        free(s);
        not_found(call, name);
        return;
    }
    s->has_name = name != NULL;
    strcpy(s->name, name ? name : "");
    s->found = then;
    s->want = want;
    s->data = call->data;
    s->hooks = call->hooks;
    call->data = s;
    call->hooks = &hooks;
    go_on(call);
}

bool seek_name(struct call *call, const struct payload *request, char ret[SEEK_NAME_BYTES])
{
    const char *name;
    size_t n;
    if (!ttrpc_peek(request->data, request->n, 1, &name, &n) || n >= SEEK_NAME_BYTES ||
        !ttrpc_is_utf8(name, n) || (n > 0 && memchr(name, 0, n))) {
        call_fail(call, TTRPC_INVALID_ARGUMENT, "the request is broken, or its model no name");
        return false;
    }
    if (n > 0)
        memcpy(ret, name, n);
    ret[n] = '\0';
    return true;
}
