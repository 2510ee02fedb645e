/* SPDX-License-Identifier: MIT
 *
 * Where on a place's memory nodes the weights lie: a block for each node, and in it the parts of
 * each item, in the plan's order.
 *
 * Made by the loader before it reads; the memory is bound to its node by then, so whoever touches
 * it first may run anywhere. A place of one node has one block that holds everything whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "place/mem.h"
#include "place/plan_nodes.h"
#include "place/sealed.h"

struct hparams;
struct place;
struct plan;
struct plan_item;
struct weight_part;

struct spread {
    int n_nodes;
    struct {
        void *mem;
        size_t bytes;
        struct sealed sealed; /* what has the memory if it is to be kept, else mem NULL */
        int os;               /* the system's number, -1: any */
        int bound;            /* 0, or why the kernel did not bind it: negative errno */
    } block[TOPO_MAX_NODES];
    struct weight_part *part; /* [items][n_nodes] */
    struct node_sum sum[TOPO_MAX_NODES];
    size_t bytes;
    bool too_little;      /* room on each of several nodes: it is all in one block */
    bool is_kept;         /* it lies in memory that may outlive the process */
    struct mem_look look; /* of what is sealed: the pages as they were then */
};

/* Bytes of an item of the plan where it is whole. */
size_t spread_item_bytes(const struct place *place, const struct plan_item *item);

/* Whether its parts are whole matrices: those of heads. */
bool spread_by_matrix(const struct plan_item *item);

/* -ENOMEM. Where the nodes have too little room each, all lies in one block, wherever it fits.
 * `keep`: in memory that can be sealed. */
int spread_make(const struct plan *plan, const struct hparams *hp, struct place *place, bool keep,
                struct spread *ret);
/* The same as it was made by another process, from its cuts, and no memory yet: block[].mem is to
 * be set, then spread_settle() called. n_nodes ≥ 1; os NULL: any. -EINVAL: no such cuts. */
int spread_remake(const struct plan *plan, struct place *place, int n_nodes, const int32_t *cut,
                  struct spread *ret);
void spread_settle(struct spread *spread, const struct plan *plan);
/* Before something is written to the block of node j, anywhere in [at, at + bytes). */
void spread_expect(struct spread *spread, const void *at, size_t bytes);
/* Nobody writes any more. Negative errno. */
int spread_seal(struct spread *spread);
void spread_fini(struct spread *spread);
/* How many of an item's matrices, or pieces of matrices, lie on node j. */
int spread_matrices(const struct spread *spread, const struct plan *plan, int item, int j);
/* The part of an item that row `row` of matrix `matrix` lies in. */
const struct weight_part *spread_find(const struct spread *spread, const struct plan *plan,
                                      int item, int matrix, int row);
/* What pages the blocks were given. */
void spread_look(const struct spread *spread, struct mem_look *ret);
/* "2: 0 has 5.2 GB, 50 % of what a token reads, 100 % of it in place; 1 has …"; "" for one
 * node. Asks the kernel where pages are: when they are touched. */
void spread_describe(const struct spread *spread, char *dst, size_t size);
