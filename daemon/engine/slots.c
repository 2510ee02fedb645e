/* SPDX-License-Identifier: MIT */
#include "engine/slots.h"

#include <errno.h>
#include <stdlib.h>

int slots_init(struct slots *s, int n)
{
    *s = (struct slots){.slot = calloc((size_t)n, sizeof *s->slot), .n = n};
    return s->slot ? 0 : -ENOMEM;
}

void slots_fini(struct slots *s)
{
    free(s->slot);
    *s = (struct slots){0};
}

static struct slot *free_slot(const struct slots *s)
{
    if (s->n_calls == s->n)
        return NULL;
    for (int i = 0; i < s->n; i++)
        if (!s->slot[i].call)
            return &s->slot[i];
    return NULL;
}

struct slot *slots_take(struct slots *s, uint64_t now_ns)
{
    struct slot *slot = free_slot(s);
    if (!slot)
        return NULL;
    slot->generation++;
    if (slot->generation == 0)
        slot->generation = 1; /* a call is never 0 */
    slot->call = (uint64_t)slot->generation << 32 | (uint64_t)(slot - s->slot);
    atomic_store(&slot->cancelled, false);
    atomic_store(&slot->paused, false);
    slot->taken_ns = now_ns;
    atomic_store(&slot->position, 1);
    atomic_store(&slot->n_cached, -1);
    atomic_store(&slot->n_read, 0);
    atomic_store(&slot->begun_ns, 0);
    atomic_store(&slot->first_ns, 0);
    s->n_calls++;
    return slot;
}

struct slot *slots_find(const struct slots *s, uint64_t call)
{
    uint32_t index = (uint32_t)call;
    if (!call || index >= (uint32_t)s->n || s->slot[index].call != call)
        return NULL;
    return &s->slot[index];
}

void slots_give_back(struct slots *s, struct slot *slot)
{
    slot->call = 0;
    s->n_calls--;
}

struct slot *slots_of(const struct slots *s, uint64_t call)
{
    return &s->slot[(uint32_t)call];
}

bool slots_is_cancelled(const struct slots *s, uint64_t call)
{
    return atomic_load_explicit(&s->slot[(uint32_t)call].cancelled, memory_order_relaxed);
}

bool slots_is_paused(const struct slots *s, uint64_t call)
{
    return atomic_load_explicit(&s->slot[(uint32_t)call].paused, memory_order_relaxed);
}

void slots_cancel_all(struct slots *s)
{
    for (int i = 0; i < s->n; i++)
        atomic_store(&s->slot[i].cancelled, true);
}
