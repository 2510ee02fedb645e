/* SPDX-License-Identifier: MIT
 *
 * The calls of an engine as its two threads see them: the loop takes a slot at submit and gives it
 * back when it has popped the call's last event, so the engine's thread never looks at a slot that
 * means another call.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct slot {
    uint64_t call; /* generation << 32 | index; 0: free. The loop's. */
    uint32_t generation;
    uint64_t taken_ns;
    atomic_bool cancelled, paused; /* the loop sets them, the engine's thread reads */
    /* The engine's thread sets these, the loop reads: as in struct engine_look. */
    atomic_int position, n_cached, n_read;
    atomic_uint_fast64_t begun_ns, first_ns; /* 0: not yet */
};

struct slots {
    struct slot *slot;
    int n, n_calls; /* calls: the loop's */
};

int slots_init(struct slots *slots, int n); /* -ENOMEM */
void slots_fini(struct slots *slots);

/* The loop's. NULL: all are taken; a call that is over, or never was. */
struct slot *slots_take(struct slots *slots, uint64_t now_ns);
struct slot *slots_find(const struct slots *slots, uint64_t call);
void slots_give_back(struct slots *slots, struct slot *slot);

/* Any thread, of a call that is not over. */
struct slot *slots_of(const struct slots *slots, uint64_t call);
bool slots_is_cancelled(const struct slots *slots, uint64_t call);
bool slots_is_paused(const struct slots *slots, uint64_t call);
void slots_cancel_all(struct slots *slots);
