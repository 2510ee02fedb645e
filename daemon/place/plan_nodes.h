/* SPDX-License-Identifier: MIT
 *
 * Which node of memory each piece of the weights lies on. Pure: sizes in, cuts out.
 *
 * There is one copy of the weights. Every matrix, each of the experts' too, is cut along its rows,
 * which are outputs: gate and up along the width of an expert, down along the hidden size. So each
 * token reads from all nodes at once, whichever experts the router chose, and a piece needs no
 * other piece: nothing is summed across nodes, and the bits of an answer cannot depend on the plan.
 * (Cut along its columns, a down projection would leave partial sums to add; what is sent instead,
 * the middle of an expert, is smaller than those.) The matrices of the heads are whole and go by
 * head. What is read as one, norms and routers, is whole too.
 *
 * Shares go by bandwidth where it is known of all nodes with workers, else by the number of
 * workers, so that a token waits for all alike. A node with too little room keeps first what every
 * token reads; a node without workers holds only what fits nowhere else.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "place/topo.h"

struct node_room {
    int os; /* the system's number; -1: one that is only made up */
    int workers;
    uint64_t bandwidth; /* 0: unknown */
    uint64_t bytes;     /* that weights may take */
};

enum node_split {
    NODE_WHOLE,    /* all of it on one node */
    NODE_ROWS,     /* rows of each matrix, in units of NODE_UNIT_ROWS */
    NODE_MATRICES, /* whole matrices of a stack: heads */
};

enum { NODE_UNIT_ROWS = 64 };

struct node_item {
    enum node_split split;
    int n, count;   /* rows of a matrix, matrices */
    uint64_t bytes; /* of all */
    uint64_t read;  /* of them for one token, in the mean */
};

struct node_sum { /* of one node */
    uint64_t bytes, read;
};

/* The nodes that `threads` workers of the topology want weights on, their rooms unknown; at most
 * TOPO_MAX_NODES. `wanted` 0: those of the machine; as many otherwise, made up if it has others.
 * Returns how many. */
int plan_node_rooms(const struct topo *topo, int threads, int wanted, struct node_room *ret);

/* Relative shares of the nodes; 0 without workers. */
void plan_node_shares(const struct node_room *node, int n_nodes, double *ret);

/**
 * Cuts every item.
 *
 *   cut     [n_items][n_nodes + 1]: node j has rows or matrices [cut[j], cut[j + 1]); of a whole
 *           item all rows or none
 *   sum     [n_nodes] what comes of it; may be NULL
 *   fails   -ENOSPC: the nodes have too little room in all
 */
int plan_nodes(const struct node_room *node, int n_nodes, const struct node_item *item, int n_items,
               int *cut, struct node_sum *sum, struct err *err);
