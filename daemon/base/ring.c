/* SPDX-License-Identifier: MIT */
#include "base/ring.h"

#include <stdatomic.h>
#include <string.h>

struct ring {
    _Alignas(64) atomic_size_t written; /* by the writer */
    _Alignas(64) atomic_size_t read;    /* by the reader */
    size_t mask, bytes;
    char *record;
};

int ring_new(size_t capacity, size_t record_bytes, struct ring **ret)
{
    size_t n = 1;
    while (n < capacity)
        n *= 2;
    struct ring *ring = aligned_alloc(64, sizeof *ring);
    if (!ring)
        return -ENOMEM;
    memset(ring, 0, sizeof *ring);
    ring->mask = n - 1;
    ring->bytes = record_bytes;
    ring->record = calloc(n, record_bytes);
    if (!ring->record) {
        free(ring);
        return -ENOMEM;
    }
    *ret = ring;
    return 0;
}

void ring_free(struct ring *ring)
{
    if (!ring)
        return;
    free(ring->record);
    free(ring);
}

bool ring_push(struct ring *ring, const void *record)
{
    size_t at = atomic_load_explicit(&ring->written, memory_order_relaxed);
    if (at - atomic_load_explicit(&ring->read, memory_order_acquire) > ring->mask)
        return false;
    memcpy(ring->record + (at & ring->mask) * ring->bytes, record, ring->bytes);
    atomic_store_explicit(&ring->written, at + 1, memory_order_release);
    return true;
}

bool ring_pop(struct ring *ring, void *record)
{
    size_t at = atomic_load_explicit(&ring->read, memory_order_relaxed);
    if (at == atomic_load_explicit(&ring->written, memory_order_acquire))
        return false;
    memcpy(record, ring->record + (at & ring->mask) * ring->bytes, ring->bytes);
    atomic_store_explicit(&ring->read, at + 1, memory_order_release);
    return true;
}
