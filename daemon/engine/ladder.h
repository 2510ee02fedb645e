/* SPDX-License-Identifier: MIT
 *
 * What to give up while memory is short: a ladder whose rungs ask for more and more. Pure: readings
 * and times come from outside.
 *
 * Each reading climbs at most one rung, so that what a rung gives back is seen before the next. It
 * comes down a rung when readings have been far enough below for a while.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct strain;

enum rung {
    RUNG_CALM,
    RUNG_SCRATCH, /* memory that only a step needs, between steps */
    RUNG_PARK,    /* what is kept goes to the disk, and then from memory */
    RUNG_DROP,    /* what is kept and nobody uses goes, saved or not */
    RUNG_REFUSE,  /* no new work */
    N_RUNGS
};
const char *rung_name(enum rung rung); /* "calm", "scratch", "park", "drop", "refuse" */

struct ladder { /* zeroed: calm */
    enum rung rung;
    uint64_t calm_ns; /* since when readings have been those of a lower rung; 0: the last was not */
};

/* Whether the rung changed. */
bool ladder_read(struct ladder *ladder, const struct strain *strain, uint64_t now_ns);
/* How long until it comes down, if readings allow that from now on; 0: it is down. */
uint64_t ladder_eases_ns(const struct ladder *ladder, uint64_t now_ns);
/* When the next reading is due, after the last. `can_wake`: something tells when there is need. */
uint64_t ladder_wait_ms(const struct ladder *ladder, bool can_wake);
