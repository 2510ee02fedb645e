/* SPDX-License-Identifier: MIT
 *
 * What a session holds as the beginning of a request, so that one within it can be kept whole.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "moectl/link.h"

struct held { /* zeroed is empty */
    uint8_t *bytes;
    size_t n; /* a GenerateRequest; more of one may follow */
    uint64_t revision;
};

/* Nothing of a session that is not there. An exit code; a failure has been reported. */
int held_fetch(const struct options *o, struct moed *moed, const char *session, struct held *ret);
void held_fini(struct held *held);
