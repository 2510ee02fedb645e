/* SPDX-License-Identifier: MIT */
#include "engine/outbox.h"

#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/ring.h"
#include "engine/engine.h"

enum { EVENTS = 1024, FULL_RING_NS = 500000 };

int outbox_init(struct outbox *o, void (*wake)(void *arg), void *arg)
{
    *o = (struct outbox){.wake = wake, .arg = arg};
    return ring_new(EVENTS, sizeof(struct engine_event), &o->ring);
}

void outbox_fini(struct outbox *o)
{
    ring_free(o->ring);
    *o = (struct outbox){0};
}

/* The loop never waits for us, so this ends. */
void outbox_push(struct outbox *o, const struct engine_event *event)
{
    while (!ring_push(o->ring, event)) {
        if (atomic_load(&o->closed))
            return;
        o->wake(o->arg);
        nanosleep(&(struct timespec){.tv_nsec = FULL_RING_NS}, NULL);
    }
    o->is_news = true;
}

/* How much of the text fits a record without cutting a character. */
static size_t whole_characters(const char *text, size_t bytes)
{
    if (bytes <= ENGINE_TEXT_BYTES)
        return bytes;
    size_t n = ENGINE_TEXT_BYTES;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

void outbox_push_text(struct outbox *o, struct engine_event *event, const char *text, size_t bytes)
{
    while (bytes > ENGINE_TEXT_BYTES) {
        struct engine_event more = {.call = event->call, .kind = ENGINE_MORE};
        size_t n = whole_characters(text, bytes);
        memcpy(more.text, text, n);
        more.n_text = (uint16_t)n;
        outbox_push(o, &more);
        text += n;
        bytes -= n;
    }
    memcpy(event->text, text, bytes);
    event->n_text = (uint16_t)bytes;
    outbox_push(o, event);
}

void outbox_tell(struct outbox *o)
{
    if (o->is_news)
        o->wake(o->arg);
    o->is_news = false;
}

bool outbox_pop(struct outbox *o, struct engine_event *ret)
{
    return ring_pop(o->ring, ret);
}

void outbox_close(struct outbox *o)
{
    atomic_store(&o->closed, true);
}
