/* SPDX-License-Identifier: MIT
 *
 * Banned strings: which tokens would complete one behind the text so far.
 *
 * Made for one request on a helper, since it looks at the whole vocabulary; then owned by the
 * request's sequence, on the engine's thread, where it allocates nothing. Nothing is ever taken
 * back: the beginning of a banned string may be written, and then goes on otherwise. Only the
 * answer counts, byte for byte, and as with stop strings a hidden special token is a border that no
 * string crosses.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ban;
struct vocab;

/* The strings are copied; none is empty. `show_special`: as for detok. -ENOMEM */
int ban_new(const struct vocab *vocab, const char *const *strings, int n, bool show_special,
            struct ban **ret);
void ban_free(struct ban *ban);

int ban_count(const struct ban *ban); /* of strings */
void ban_push(struct ban *ban, int32_t id);
/* Whether a token of the vocabulary must not come next. */
bool ban_has(const struct ban *ban, int32_t id);
