/* SPDX-License-Identifier: MIT
 *
 * Log-probabilities: of a token that was drawn or stands in a prompt, and of the most probable ones
 * beside it. Natural, of all logits as the model gives them. Pure.
 */
#pragma once

#include <stdint.h>

struct engine_event;

/* Into the event: its id, which is one of the n logits, and the `top` most probable ones. `log_sum`
 * is sample_log_sum()'s. */
void score(const float *logits, int n, double log_sum, int top, struct engine_event *event);
