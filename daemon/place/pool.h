/* SPDX-License-Identifier: MIT
 *
 * Pinned workers that run the tiles of one job at a time.
 *
 * Each worker has a share of a job's tiles, neighbours in ascending order, so that what it reads
 * lies in a row; who has done its own takes from the ends of others' shares, first of those next to
 * the same memory. pool_run() is called
 * by one thread, which works too; the others spin only between the jobs of a step and sleep after
 * pool_rest(). A job is over when its last tile is, not when every worker has looked: a worker that
 * lost its processor holds up nothing but the tile it has.
 */
#pragma once

#include <stdatomic.h>

#include "base/err.h"
#include "base/own.h"
#include "place/topo.h"

struct pool;

/* threads ≥ 1, the caller included; threads - 1 workers are started, pinned in the topology's
 * order from the second core on. */
int pool_new(const struct topo *topo, int threads, struct pool **ret, struct err *err);
void pool_free(struct pool *pool);
OWN_DEFINE(pool, pool_free);

typedef void (*tile_fn)(void *arg, int worker, int tile);

/* Shares in proportion to weight[worker], not alike. Before the first job. */
void pool_weigh(struct pool *pool, const double *weight);

/* Pins the calling thread, which is to call pool_run(), to the first core of the topology: for
 * threads that do nothing else, as those they start inherit it. */
void pool_pin_caller(struct pool *pool);

/* Runs fn(arg, worker, tile) for each tile in [0, n_tiles), every one exactly once; worker is in
 * [0, threads). Writes of all tiles are visible to the caller on return. */
void pool_run(struct pool *pool, tile_fn fn, void *arg, int n_tiles);
/* The same of [0, n_first + n_then): every worker begins with its share of the first. */
void pool_run_two(struct pool *pool, tile_fn fn, void *arg, int n_first, int n_then);
void pool_rest(struct pool *pool);
/* Another number whenever a tile was taken since it was last asked; any thread. */
uint64_t pool_beat(const struct pool *pool);

/* Waits in a tile until *count is n, which it must become by tiles that are under way. */
void pool_await(const atomic_int *count, int n);
