/* SPDX-License-Identifier: MIT
 *
 * What a tree is made of; for tree.c, which grows and fells, and saving.c, which knows what is on
 * the disk.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "kv/page.h"

TAILQ_HEAD(branches, branch);

enum saving {
    UNSAVED,
    GIVEN, /* to be saved: tree_settle() says what came of it */
    SAVED,
    FAILED,
    REFUSED, /* never given again */
};

struct branch {
    struct page *page;
    struct owner *owner;
    struct branch *parent;    /* NULL: a talk begins with it */
    struct branches children; /* of its owner; the one used last comes first */
    int n_guests;             /* children of others, which are in their owners' lists */
    TAILQ_ENTRY(branch) beside;
    TAILQ_ENTRY(branch) leaf; /* while it has no children */
    uint64_t used, tried;     /* when, by the tree's clock; to be saved */
    uint64_t talk;            /* the session that used it last; 0: none */
    int n;                    /* tokens; where a talk ended there may be fewer than a page's */
    enum saving saving;
    int32_t token[PAGE_TOKENS];
};

struct owner {
    uint32_t uid;
    int quota; /* pages; as it was said last */
    uint64_t disk_bytes;
    int n;                    /* branches; 0: nobody */
    struct branches children; /* how talks begin, perhaps behind what is shared */
    struct branches leaves;   /* the one used last comes first */
};

struct listed { /* what all may share: whole pages */
    int32_t *token;
    int n;
};

struct tree {
    struct page_pool *pool;
    size_t branch_bytes, owner_bytes;
    struct branch *branch; /* by the index of its page */
    struct owner *owner;   /* [n_owners], with room for one a page */
    struct owner shared;   /* nobody's branches; no uid finds its own there */
    struct listed *listed;
    int n_listed;
    int n_owners, quota;
    uint64_t clock, n_lost;
};

/* Which of two idle ones is dropped first. */
static inline bool branch_goes_before(const struct branch *a, const struct branch *b)
{
    return a->owner->n != b->owner->n ? a->owner->n > b->owner->n : a->used < b->used;
}
