/* SPDX-License-Identifier: MIT */
#include "engine/tally.h"

enum { NEW_PART = 4 }; /* of an average: a quarter */

#define READ(tally, field) atomic_load_explicit(&(tally)->field, memory_order_relaxed)

void tally_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void tally_store(atomic_uint_fast64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

void tally_set(atomic_uint *gauge, int value)
{
    atomic_store_explicit(gauge, (unsigned)value, memory_order_relaxed);
}

static atomic_uint_fast64_t *counter_of(struct tally *tally, enum engine_finish how)
{
    switch (how) {
    case ENGINE_STOP:
    case ENGINE_LENGTH:
    case ENGINE_TIME:
        break;
    case ENGINE_CANCELLED:
        return &tally->cancelled;
    case ENGINE_ERROR:
        return &tally->errors;
    case ENGINE_REFUSED:
        return &tally->refused;
    }
    return &tally->done;
}

void tally_end(struct tally *tally, enum engine_finish how, uint64_t now_ns)
{
    uint64_t last = READ(tally, ended_ns), pace = READ(tally, end_pace_ns);
    tally_add(counter_of(tally, how), 1);
    if (last)
        pace = pace ? pace - pace / NEW_PART + (now_ns - last) / NEW_PART : now_ns - last;
    tally_store(&tally->end_pace_ns, pace);
    tally_store(&tally->ended_ns, now_ns);
}

uint64_t tally_end_pace_ns(const struct tally *tally)
{
    return READ(tally, end_pace_ns);
}

void tally_read(const struct tally *tally, struct engine_stat *ret)
{
    ret->steps = READ(tally, steps);
    ret->prompt_tokens = READ(tally, prompt_tokens);
    ret->cached_tokens = READ(tally, cached_tokens);
    ret->decoded_tokens = READ(tally, decoded_tokens);
    ret->requests_done = READ(tally, done);
    ret->requests_cancelled = READ(tally, cancelled);
    ret->requests_refused = READ(tally, refused);
    ret->errors = READ(tally, errors);
    ret->prefill_ns = READ(tally, prefill_ns);
    ret->decode_ns = READ(tally, decode_ns);
    ret->plan_ns = READ(tally, plan_ns);
    ret->given_back_bytes = READ(tally, given_back);
    ret->pages_lost = READ(tally, lost);
    ret->pages_shared = READ(tally, pages_shared);
    ret->saves_failed = READ(tally, unwritten);
    ret->sequences = READ(tally, sequences);
    ret->pages_used = READ(tally, pages_used);
    ret->pages_kept = READ(tally, pages_kept);
    ret->pages_pinned = READ(tally, pages_pinned);
    ret->queued = 0;
    for (int i = 0; i < N_CLASSES; i++) {
        ret->queued_by_class[i] = READ(tally, queued[i]);
        ret->queued += ret->queued_by_class[i];
    }
}
