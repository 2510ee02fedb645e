/* SPDX-License-Identifier: MIT
 *
 * Pinned workers that run the tiles of one job at a time.
 *
 * pool_run() is called by one thread, which works too; the others spin only between the jobs of a
 * step and sleep after pool_rest(). A job is over when its last tile is, not when every worker has
 * looked: a worker that lost its processor holds up nothing but the tile it has.
 */
#pragma once

#include "base/err.h"
#include "base/own.h"
#include "place/topo.h"

struct pool;

/* threads ≥ 1, the caller included; threads - 1 workers are started, pinned in the topology's
 * order from the second core on. */
int pool_new(const struct topo *topo, int threads, struct pool **ret, struct err *err);
void pool_free(struct pool *pool);
OWN_DEFINE(pool, pool_free);

/* Runs fn(arg, worker, tile) for each tile in [0, n_tiles), every one exactly once; worker is in
 * [0, threads). Writes of all tiles are visible to the caller on return. */
void pool_run(struct pool *pool, void (*fn)(void *arg, int worker, int tile), void *arg,
              int n_tiles);
void pool_rest(struct pool *pool);
