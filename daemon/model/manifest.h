/* SPDX-License-Identifier: MIT
 *
 * The manifest of kept weights: whose they are, how they are packed, where each lies, and what
 * their checksums are. In the machine's own numbers: it never leaves the machine.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "place/topo.h"

enum { MANIFEST_VERSION = 1 };

struct manifest_node {
    uint64_t bytes, read; /* of the block; of them for one token */
    int32_t os;           /* -1: any */
    int32_t bound;
};

struct manifest_head {
    char magic[8];
    uint32_t version, head_bytes;
    uint64_t bytes;         /* of all of it */
    uint64_t hash;          /* XXH3 of all that follows */
    uint64_t ident[2];      /* the file */
    uint64_t packing[2];    /* the plan, and how the place packs */
    uint64_t touched, huge; /* of the pages when it was sealed */
    uint32_t is_set_aside, too_little;
    uint32_t n_items, n_nodes, n_sums, path_bytes;
    struct manifest_node node[TOPO_MAX_NODES];
};

/* Views of a manifest's bytes. */
struct manifest {
    const struct manifest_head *head;
    const int32_t *cut;  /* [n_items][n_nodes + 1] */
    const uint64_t *sum; /* [n_sums] */
    const char *path;    /* ends with a NUL */
};

/* Bytes of a manifest with these counts. */
size_t manifest_bytes(uint32_t n_items, uint32_t n_nodes, uint32_t n_sums, uint32_t path_bytes);
/* Where a manifest's parts are in memory of manifest_bytes(), its counts set in `head`. */
void manifest_lay(struct manifest_head *head, struct manifest *ret);
/* Completes it: magic, version, hash. */
void manifest_end(struct manifest_head *head);
/* Checks everything that can be checked without knowing the model. `bytes` are 8-byte aligned.
 * -EBADMSG with words. */
int manifest_read(const void *bytes, size_t n, struct manifest *ret, struct err *err);
