/* SPDX-License-Identifier: MIT */
#include "service/seek.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/call.h"
#include "service/status.h"
#include "ttrpc.h"

struct seeking {
    struct quest quest;
    void *data; /* the method's */
    const struct call_hooks *hooks;
    void (*found)(struct call *call, struct models_entry *entry);
};

static void give_back(struct call *call)
{
    struct seeking *s = call->data;
    call->data = s->data;
    call->hooks = s->hooks;
    free(s);
}

static void go_on(struct call *call)
{
    struct seeking *s = call->data;
    struct models_entry *entry;
    struct err err = {0};
    int r = quest_go_on(&s->quest, &entry, &err);
    if (r == -EINPROGRESS)
        return;
    if (r < 0) {
        call_fail(call, status_of(r), "%s", err.text);
        return;
    }
    void (*then)(struct call *, struct models_entry *) = s->found;
    give_back(call);
    then(call, entry);
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
    struct err err = {0};
    struct seeking *s = calloc(1, sizeof *s);
    if (!s) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    int r = quest_begin(&s->quest, call->hub, name, want, &err);
    if (r < 0) {
        free(s);
        call_fail(call, status_of(r), "%s", err.text);
        return;
    }
    s->found = then;
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
