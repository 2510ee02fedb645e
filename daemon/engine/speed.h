/* SPDX-License-Identifier: MIT
 *
 * How fast an engine is just now, by the steps that it has made.
 *
 * Owned by the engine's thread. Newer steps count more; what was never seen is guessed from what
 * was, and 0 where nothing was.
 */
#pragma once

#include <stdint.h>

enum { SPEED_COMPANY = 64 }; /* answers in a step; more count as so many */

struct speed { /* zeroed knows nothing */
    double row_ns;
    double token_ns[SPEED_COMPANY];
};

/* A step with so many rows of prompts and of answers took so long. */
void speed_note(struct speed *speed, int prompt_rows, int answer_rows, uint64_t ns);
/* For a row of a prompt, in steps that are full of them. */
double speed_row_ns(const struct speed *speed);
/* From one token of an answer to its next, where so many answers are written together. */
double speed_token_ns(const struct speed *speed, int answers);
