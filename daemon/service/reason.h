/* SPDX-License-Identifier: MIT
 *
 * How much an answer may think: as the request says, else as its effort stands for. Pure.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "engine/think.h"
#include "text/chat.h"

struct vocab;

struct reason {     /* what a request says; 0: nothing */
    int64_t effort; /* of enum Effort */
    int64_t tokens, soft_tokens;
};

/**
 * Limits for a reply, but for whether it begins with thinking. A family that does not think needs
 * none.
 *
 *   family   NULL: the prompt is raw text or ids
 *   fails    -EINVAL a field, named
 */
int reason_limits(const struct reason *reason, const struct chat_family *family,
                  const struct vocab *vocab, struct think_params *ret, struct err *err);
/* What a prompt says of an effort that FIELD_EFFORT takes. */
enum chat_effort reason_words(int64_t effort);
