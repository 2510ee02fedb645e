/* SPDX-License-Identifier: MIT
 *
 * What a request adds to its session, as lines. Made on a helper; pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "moed/v1/generate.pb-c.h"
#include "text/token.h"

struct line;

struct saying { /* zeroed is nothing */
    int n_kept; /* lines of the session that stay; the others go, and these come: */
    struct line **line;
    int n;
    bool is_raw;
    uint64_t vocabulary; /* digest of the one that ids are of; 0: they do not matter */
};
void saying_fini(struct saying *saying);
uint64_t saying_bytes(const struct saying *saying);

/* The first n_held messages are the session's, a line each. If its last is an answer that was cut
 * and others follow, it goes on no more. -EINVAL: there is nothing to answer, or an answer is put
 * into the model's mouth; -ENOMEM. */
int saying_of_chat(struct saying *saying, Moed__V1__Message **messages, size_t n, size_t n_held,
                   struct err *err);
/* The first n_held ids are the session's, in so many lines. -ENOMEM */
int saying_of_ids(struct saying *saying, const struct ids *ids, size_t n_held, int n_lines,
                  struct err *err);
