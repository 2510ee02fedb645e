/* SPDX-License-Identifier: MIT
 *
 * What an engine counts: its thread writes, any thread reads.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "engine/engine.h"

struct tally {
    atomic_uint_fast64_t steps, prompt_tokens, cached_tokens, decoded_tokens, done, cancelled,
        errors, refused, prefill_ns, decode_ns, plan_ns, given_back, lost, unwritten;
    atomic_uint_fast64_t ended_ns, end_pace_ns; /* the last end; from one to the next */
    atomic_uint sequences, queued[N_CLASSES], pages_used, pages_kept, pages_shared, pages_pinned;
};

void tally_add(atomic_uint_fast64_t *counter, uint64_t n);
void tally_store(atomic_uint_fast64_t *counter, uint64_t value);
void tally_set(atomic_uint *gauge, int value);
/* A call is over. */
void tally_end(struct tally *tally, enum engine_finish how, uint64_t now_ns);
/* How long until one ends, by the pace of late; 0: nobody knows. */
uint64_t tally_end_pace_ns(const struct tally *tally);
/* What is counted; the rest is left as it is. */
void tally_read(const struct tally *tally, struct engine_stat *ret);
