/* SPDX-License-Identifier: MIT
 *
 * A sequence's view of the cache: its pages in order, as the page list an attention op takes.
 *
 * Owned by one sequence on the engine's thread. Room for the longest possible context is asked for
 * once, so that growing by a page allocates nothing.
 */
#pragma once

#include <stdint.h>

#include "kv/page.h"

struct branch;

struct view {
    void **data;        /* [n] page memory, in token order: struct rows wants this */
    struct page **page; /* [n] the same pages */
    int n, room;
    uint32_t uid;
    uint64_t talk;       /* the session whose it is, for the tree; 0: of none */
    int home;            /* where its pages are, chosen with the first of them */
    int quota;           /* pages that its uid may keep, if it is less than all may */
    uint64_t disk_bytes; /* and how much may lie on the disk of what it says */

    /* The tree's: the first n_kept pages are those of its branches from the root to this one. */
    struct branch *branch;
    int n_kept;
};

int view_init(struct view *view, int max_tokens, uint32_t uid); /* -ENOMEM */
void view_fini(struct view *view, struct page_pool *pool);
/* Pages that `tokens` need in all. */
int view_pages(int tokens);
/* Makes room for positions below `tokens`; -ENOSPC (and nothing taken) if the pool is short. */
int view_grow(struct view *view, struct page_pool *pool, int tokens);
/* Rows [from, from + n) were made by the arithmetic of answers. */
void view_mark_answers(struct view *view, int from, int n);
/* How many rows from there on, below `tokens`, were made by the same arithmetic as the first. */
int view_run(const struct view *view, int from, int tokens);
