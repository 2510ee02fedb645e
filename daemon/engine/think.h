/* SPDX-License-Identifier: MIT
 *
 * How far an answer's thinking has come, and when it has to end.
 *
 * Thinking is what stands between the two markers of a chat family; a marker that was written is
 * one of its tokens, so the closing one always is. Pure; one sequence owns it, on the engine's
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct think_params { /* zeroed: there is no thinking */
    /* Tokens of thinking: it has at most `hard`, and once it has `soft` it is closed where a
     * sentence or a line ends. 0: no such limit. */
    int soft, hard;
    int32_t open, close; /* the markers' ids */
    bool is_open;        /* the prompt ends inside the thinking */
    int percent;         /* that it may take of an answer's time, where that is limited */
};

enum think_cut { THINK_UNCUT, THINK_CUT_SOFT, THINK_CUT_HARD, THINK_CUT_TIME };

struct think {
    const struct think_params *params;
    enum { THINK_MAY_COME, THINK_NOW, THINK_OVER } state;
    int n; /* tokens of thinking */
    enum think_cut cut;
    uint64_t soft_ns, hard_ns; /* the same by the clock; 0: no such limit */
    char tail[16];             /* the last bytes that were thought */
    int n_tail;
};

void think_init(struct think *think, const struct think_params *params);
/* The token that comes: the one that was drawn, or the closing marker where a limit demands it. */
int32_t think_limit(struct think *think, int32_t drawn, uint64_t now_ns);
/* Has it end by a time, in the last quarter of it with a sentence. */
void think_within(struct think *think, uint64_t from_ns, uint64_t until_ns);
bool think_is_on(const struct think *think); /* what comes next is thought */
/* What came, with the bytes it stands for: none, if it is special. */
void think_accept(struct think *think, int32_t id, const char *bytes, size_t n);
