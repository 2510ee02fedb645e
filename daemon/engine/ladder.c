/* SPDX-License-Identifier: MIT */
#include "engine/ladder.h"

#include "place/strain.h"

enum {
    CLIMB_MS = 250, /* between readings on the ladder */
    LOOK_MS = 1000, /* on the ground */
    DOZE_MS = 5000, /* there, if somebody wakes us */
    COMFORT_NS = 2000000000,
};

/* A rung is right when one of these holds: percent of time waited for, at least; share of memory
 * left, at most. */
static const struct {
    const char *name;
    double some, full, left;
} rungs[N_RUNGS] = {
    [RUNG_CALM] = {"calm", 0, 0, 1},           [RUNG_SCRATCH] = {"scratch", 5, 1, 0.10},
    [RUNG_PARK] = {"park", 10, 3, 0.07},       [RUNG_DROP] = {"drop", 20, 8, 0.05},
    [RUNG_REFUSE] = {"refuse", 40, 20, 0.025},
};

const char *rung_name(enum rung rung)
{
    return rungs[rung].name;
}

/* The highest that is right for the reading, taken for `factor` times as bad as it is. */
static enum rung right_rung(const struct strain *s, double factor)
{
    double left = s->all ? (double)s->left / (double)s->all : 1;
    int rung = RUNG_REFUSE;
    while (rung > RUNG_CALM && s->some * factor < rungs[rung].some &&
           s->full * factor < rungs[rung].full && left > rungs[rung].left * factor)
        rung--;
    return (enum rung)rung;
}

bool ladder_read(struct ladder *ladder, const struct strain *strain, uint64_t now_ns)
{
    if (right_rung(strain, 1) > ladder->rung) {
        ladder->rung++;
        ladder->calm_ns = 0;
        return true;
    }
    if (right_rung(strain, 1.5) >= ladder->rung) {
        ladder->calm_ns = 0;
        return false;
    }
    if (!ladder->calm_ns)
        ladder->calm_ns = now_ns;
    if (now_ns - ladder->calm_ns < COMFORT_NS)
        return false;
    ladder->rung--;
    ladder->calm_ns = now_ns;
    return true;
}

uint64_t ladder_eases_ns(const struct ladder *ladder, uint64_t now_ns)
{
    if (ladder->rung == RUNG_CALM)
        return 0;
    uint64_t calm_ns = ladder->calm_ns ? now_ns - ladder->calm_ns : 0;
    uint64_t left_ns = calm_ns < COMFORT_NS ? COMFORT_NS - calm_ns : 0;
    return left_ns + (uint64_t)CLIMB_MS * 1000000; /* it is a reading that tells */
}

uint64_t ladder_wait_ms(const struct ladder *ladder, bool can_wake)
{
    return ladder->rung > RUNG_CALM ? CLIMB_MS : can_wake ? DOZE_MS : LOOK_MS;
}
