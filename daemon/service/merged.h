/* SPDX-License-Identifier: MIT
 *
 * The parts of a Generate as the one request that they add up to: what a later part says counts,
 * what it adds is appended. On a helper; pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "moed/v1/generate.pb-c.h"
#include "service/ask.h"
#include "service/reason.h"
#include "text/token.h"
#include "ttrpc.h"

struct merged { /* zeroed is empty; lists borrow from the parts */
    Moed__V1__GenerateRequest **parts;
    int n_parts;
    bool has_chat, has_text, has_tokens;
    Moed__V1__Message **messages;
    size_t n_messages;
    bool thinking;
    struct reason reason;
    const char *tools, *response_format, *family; /* NULL: none */
    struct ttrpc_buf text, suffix; /* with a suffix, text is what stands before a hole */
    struct ids ids;
    char **stops;
    size_t n_stops;
    Moed__V1__LogitBias **bias;
    size_t n_bias;
    /* scalars: the last part that has one wins */
    int64_t max_tokens, top_logprobs, timeout_ms, queue_timeout_ms, class, top_k, n, best_of;
    int64_t finish_within_ms;
    double temperature, top_p, min_p, repetition, presence, frequency;
    double top_n_sigma, mirostat_tau, mirostat_eta, dry_multiplier, dry_base;
    int64_t dry_allowed_length, dry_range;
    char **breakers, **banned;
    size_t n_breakers, n_banned;
    uint64_t seed;
    Moed__V1__Receipt **receipt; /* of the last part that has one; NULL: none has */
    bool logprobs, prompt_logprobs, ignore_end, return_prompt, show_special;
    bool in_session;
    int n_lines; /* of the session, and what is in them */
    size_t n_line_messages, n_line_ids;
};

/* Of an empty one. -EBADMSG: a part is not the message; -ENOMEM. It wants merged_fini() in any
 * case.
 */
int merged_make(struct merged *merged, const struct ask_part *parts, int n_parts, struct err *err);
void merged_fini(struct merged *merged);
