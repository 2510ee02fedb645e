/* SPDX-License-Identifier: MIT
 *
 * Looks at kept weights again and again, slowly, while nobody asks for anything: whether their
 * checksums still hold. A matrix that broke is read from the file again.
 *
 * A thread of its own for each model whose weights are kept; started and stopped on the loop. What
 * broke is covered by new memory for this process alone, since sealed memory cannot be mended, and
 * goes from the vault: the next process reads the file.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct engine;
struct model;
struct scrub;

struct scrub_config {
    struct model *model;
    const struct engine *engine;
    uint64_t every_ns;         /* from the beginning of a round to the next, unless one hurries */
    int pace_ms;               /* from one piece of SCRUB_PIECE bytes to the next, ... */
    int idle_ms;               /* ... once the engine has not stepped for so long */
    void (*broken)(void *arg); /* on its thread, when the first matrix is found broken */
    void *arg;
};

enum { SCRUB_PIECE = 4 << 20, SCRUB_PACE_MS = 250, SCRUB_IDLE_MS = 1000 };

struct scrub_stat {
    uint64_t bytes, rounds;  /* looked at; ended */
    uint64_t broken, mended; /* matrices */
};

int scrub_start(const struct scrub_config *config, struct scrub **ret, struct err *err);
/* NULL: all zero. */
void scrub_stat(const struct scrub *scrub, struct scrub_stat *ret);
/* Begin a round now: as fast as it goes while nobody asks, at the usual pace while somebody does.
 * Its end is logged. */
void scrub_hurry(struct scrub *scrub);
void scrub_stop(struct scrub *scrub);
OWN_DEFINE(scrub, scrub_stop);
