/* SPDX-License-Identifier: MIT
 *
 * An op at work on the CPU place: its phases, and what they have in common.
 *
 * One at a time, on the stack of the thread that drives the place; in a phase the workers share it,
 * each with a tile.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mk.h"
#include "place/place.h"
#include "place/plan_nodes.h"
#include "place/pool.h"
#include "place/scratch.h"
#include "place/topo.h"

enum {
    NORM_ROWS = 8,                /* rows of a tile of row-wise work */
    ATTEND_ROWS = MK_ATTEND_ROWS, /* rows times heads of a tile of a prompt's attention */
};

struct cpu {
    struct place place;
    struct mk mk;
    struct topo topo;
    struct node_room node[TOPO_MAX_NODES];
    struct pool *pool;
    struct scratch scratch;
};

/* What a phase works on; one at a time, on the caller's stack. */
struct job {
    struct cpu *cpu;
    const struct op *op;
    const struct rows *rows;
    int tile_n;  /* weight rows of a tile */
    int n_tiles; /* tiles of the first matrix, where a phase has two */
    int n_second;
};

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}

static inline int max_int(int a, int b)
{
    return a > b ? a : b;
}

static inline int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

/* Weight rows a tile, so that every thread gets a few tiles of n rows. */
int job_tile_rows(const struct cpu *cpu, int n);

/* Runs a phase and tells who wants to see. */
void job_run_phase(struct job *job, const char *name, tile_fn phase, int n_tiles);
#define job_run(job, phase, n_tiles) job_run_phase(job, #phase, phase, n_tiles)

/* Where row `row` of matrix `index` lies: rows [*first, *end) of it, the first of them at what is
 * returned. */
const void *job_find_rows(const struct weight *w, int index, int row, int *first, int *end);

/* Matrix `index` of w times m rows, of which the first n_decode are of answers; the caller fills in
 * x, y, tile and options. */
void job_multiply(const struct cpu *cpu, int worker, const struct weight *w, int index,
                  struct mk_mm mm, int n_decode);

/* Tile `tile` of y (+)= x · wᵀ for all rows. */
void job_project(const struct job *job, int worker, const struct weight *w, const float *x,
                 float *y, bool add, int tile);

/* Tile `tile` of scratch's h = norm(x). */
void job_norm_tile(const struct job *job, const struct buf *x, const struct weight *norm, float eps,
                   int tile);

/* The ops that are large: mla.c, experts.c. */
void mla_run(struct job *job);
void ffn_run(struct job *job);
void moe_run(struct job *job);
