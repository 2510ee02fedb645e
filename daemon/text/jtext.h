/* SPDX-License-Identifier: MIT
 *
 * JSON as text: checked, walked and set anew as Python's json.dumps would, numbers as they stand.
 *
 * Schemas and arguments reach a prompt as the text somebody else's program would have printed: one
 * space after ',' and ':', keys in their order, letters unescaped. A parsed value would lose the
 * spelling of numbers, so only the check builds one. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* A growing text; zeroed is empty. The first failure sticks. */
struct jtext_out {
    char *data;
    size_t n, room;
    bool failed; /* out of memory: what there is lacks something */
};
void jtext_put(struct jtext_out *out, const char *text, size_t n);
void jtext_fini(struct jtext_out *out);

enum jtext_kind { JTEXT_ANY, JTEXT_OBJECT, JTEXT_ARRAY };

/**
 * Whether a text is JSON of a kind, no key twice. `what` begins the words of a refusal.
 *
 *   fails   -EINVAL, -ENOMEM
 */
int jtext_check(const char *text, size_t n, enum jtext_kind kind, const char *what,
                struct err *err);

/* ---- all below: for texts that have been checked */

struct jtext_walk {
    const char *at, *end;
    bool members; /* an object's, with keys */
};
struct jtext_item {
    const char *key; /* as it stands, in its quotes; NULL in an array */
    size_t key_n;
    const char *value;
    size_t n;
};
/* The members of an object or the elements of an array, in order; of anything else there are none.
 */
struct jtext_walk jtext_open(const char *text, size_t n);
bool jtext_next(struct jtext_walk *walk, struct jtext_item *ret);
/* The value of a member; false: there is none. */
bool jtext_member(const char *text, size_t n, const char *key, struct jtext_item *ret);

void jtext_space(struct jtext_out *out, const char *text, size_t n);
/* What a string says; its quotes and escapes go. */
void jtext_unquote(struct jtext_out *out, const char *text, size_t n);
/* Any UTF-8 as a string; without its quotes too, so that it can be done in pieces. */
void jtext_escape(struct jtext_out *out, const char *text, size_t n);
void jtext_quote(struct jtext_out *out, const char *text, size_t n);
