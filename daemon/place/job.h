/* SPDX-License-Identifier: MIT
 *
 * An op at work on the CPU place: its phases, and what they have in common.
 *
 * One at a time, on the stack of the thread that drives the place; in a phase the workers share it,
 * each with a tile.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mk.h"
#include "place/place.h"
#include "place/plan_nodes.h"
#include "place/pool.h"
#include "place/scratch.h"
#include "place/topo.h"

enum {
    NORM_ROWS = SCRATCH_FEW, /* rows of a tile of row-wise work */
    ATTEND_ROWS = 64,        /* rows times heads that attend in the absorbed form together */
};

struct cpu {
    struct place place;
    struct mk mk;
    struct topo topo;
    struct node_room node[TOPO_MAX_NODES];
    struct pool *pool;
    struct scratch scratch;
    uint64_t n_inputs; /* so far: their numbers */
};

/* Rows that an op's matrices multiply: norm(x[which[i]]), or x[i] without a norm. */
struct input {
    const float *x;
    const int32_t *which; /* NULL: all in order */
    const struct weight *norm;
    float eps;
    int n, k;
    int n_rounded; /* the first so many are rounded to integers as well: job_round_for() */
    bool is_few;   /* every worker makes them for itself */
    uint64_t number;
};

/* What every worker finds of an input: n rows, k apart, and mk_rounded_bytes(k) apart, or NULL. */
struct made_rows {
    const float *x;
    const uint8_t *rounded;
};

/* What a phase works on; one at a time, on the caller's stack. */
struct job {
    struct cpu *cpu;
    const struct op *op;
    const struct rows *rows;
    struct input input[SCRATCH_INPUTS]; /* the second where what experts share is another */
    int tile_n;                         /* weight rows of a tile */
    int n_tiles;     /* tiles of the first matrix, or of an expert, where a phase has several */
    atomic_int left; /* tiles of kv_a that have not been multiplied */

    /* The router of few rows: its parts are taken by whoever comes, before tiles. */
    int part_n, n_parts, n_slots; /* experts of a part; parts; experts that may be chosen */
    atomic_int next_part, parts_done, routed;
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

/* Few rows are bound by memory and by meetings: what is short is then done by every worker for
 * itself, in memory of its own. */
static inline bool is_few(int rows)
{
    return rows <= SCRATCH_FEW;
}

/* Weight rows a tile, so that every thread gets some tiles of n rows: whole groups of rounded
 * numbers where there are enough, and never less than what a kernel takes at once. */
int job_tile_rows(const struct job *job, int n);

/* Runs a phase of n_first + n_then tiles, of which every worker begins with the first, and tells
 * who wants to see. */
void job_run_phase(struct job *job, const char *name, tile_fn phase, int n_first, int n_then);
#define job_run(job, phase, n_tiles)             job_run_phase(job, #phase, phase, 0, n_tiles)
#define job_run_two(job, phase, n_first, n_then) job_run_phase(job, #phase, phase, n_first, n_then)

/* Where row `row` of matrix `index` lies: rows [*first, *end) of it, the first of them at what is
 * returned. */
const void *job_find_rows(const struct weight *w, int index, int row, int *first, int *end);

/* Matrix `index` of w times m rows, of which the first n_decode are of answers; the caller fills in
 * x, y, tile and options. */
void job_multiply(const struct cpu *cpu, int worker, const struct weight *w, int index,
                  struct mk_mm mm, int n_decode);
/* The same for feed-forward layers: what a weight adds there is one of many sums and looked at by
 * nothing but the next layer, so that a prompt's rows may be computed more coarsely. */
void job_multiply_coarse(const struct cpu *cpu, int worker, const struct weight *w, int index,
                         struct mk_mm mm, int n_decode);

/* Tile `tile` of y (+)= x · wᵀ for all rows x of the first input. */
void job_project(const struct job *job, int worker, const struct weight *w, float *y, bool add,
                 int tile);
void job_project_coarse(const struct job *job, int worker, const struct weight *w, float *y,
                        bool add, int tile);

/* How many rows of the step are to be rounded for products with w: those that a kernel would
 * round, tile by tile, if nobody had. */
int job_round_for(const struct job *job, const struct weight *w, bool coarse);

/* The phases that follow read rows of input `index` by job_input_rows(): few are made by each
 * worker that asks, when it asks first; many by job_run_input() in a phase of their own, or by
 * job_make_rows() in a phase of the caller's. */
void job_set_input(struct job *job, int index, struct input input);
void job_run_input(struct job *job, int index, struct input input);
struct made_rows job_input_rows(const struct job *job, int index, int worker);
/* Rows [first, first + m), in the memory that all workers share. */
void job_make_rows(const struct job *job, int index, int first, int m);

/* The ops that are large: mla.c, experts.c. */
void mla_run(struct job *job);
void ffn_run(struct job *job);
void moe_run(struct job *job);
