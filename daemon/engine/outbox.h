/* SPDX-License-Identifier: MIT
 *
 * What an engine tells: its events on their way up to the loop.
 *
 * The engine's thread pushes and tells, the loop pops.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct engine_event;
struct ring;

struct outbox {
    struct ring *ring;
    void (*wake)(void *arg);
    void *arg;
    atomic_bool closed; /* whoever should read has gone: nothing is waited for */
    bool is_news;       /* pushed since the last wake */
};

int outbox_init(struct outbox *outbox, void (*wake)(void *arg), void *arg); /* -ENOMEM */
void outbox_fini(struct outbox *outbox);

/* Waits while the loop lags by a thousand events. */
void outbox_push(struct outbox *outbox, const struct engine_event *event);
/* The event with its text; what doesn't fit a record goes ahead of it, since a reader takes the
 * text first and then acts on the token. */
void outbox_push_text(struct outbox *outbox, struct engine_event *event, const char *text,
                      size_t bytes);
/* Wakes the loop, if there is something new. */
void outbox_tell(struct outbox *outbox);
bool outbox_pop(struct outbox *outbox, struct engine_event *ret);
/* Any thread. */
void outbox_close(struct outbox *outbox);
