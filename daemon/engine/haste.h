/* SPDX-License-Identifier: MIT
 *
 * An answer that has to be there by a time: what fits into that, and when enough was thought.
 *
 * Limits are by the clock, so that they hold whatever company comes and goes; tokens are what they
 * are expected to come to. Of a sequence; the engine's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct engine_event;
struct seq;
struct speed;

/* What to expect of a sequence that begins to read. So many rows of prompts are read before its
 * first token, and so many answers are written together then. */
void haste_estimate(const struct seq *seq, const struct speed *speed, int rows, int answers,
                    uint64_t now_ns, struct engine_event *ret);
/* Its first token is there: parts the time that is left between thinking and answer. */
void haste_begin(struct seq *seq, uint64_t now_ns);
/* Whether a token that takes so long would come too late. */
bool haste_is_over(const struct seq *seq, uint64_t now_ns, double token_ns);
