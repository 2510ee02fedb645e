/* SPDX-License-Identifier: MIT
 *
 * How long rows take, as measured: how many rows of prompts go beside answers without holding them
 * up. Pure; the engine's thread's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { PACE_SIZES = 72 };

struct pace {
    /* A step of answers alone, by how many: each number to 15, then eighths of an octave up to 2047
     * and more; 0: not known. */
    double answers_ns[PACE_SIZES];
    int since[PACE_SIZES]; /* steps with prompts beside so many since that was measured */
    double row_ns;         /* of a prompt where few are read at a time; 0: not known */
    int rows;              /* the most that were read so */
    double many_row_ns;    /* where many are; 0: not known */
    double saved_ns;       /* that prompts could have taken, and did not */
    bool is_short;         /* the next step's rows are few, to keep it short */
};

/* What so many answers take alone; 0: to be measured, by a step of nothing else. */
uint64_t pace_answers_ns(const struct pace *pace, int n_answers);
/* How many of the waiting rows take no longer than that: at least 1, at most `most`. But each time
 * a prompt goes on, its whole past is looked at; where that makes few rows dear, many are read at
 * once, and 0 until they have saved up as much time as they take; with `now` they do not wait. */
int pace_rows(struct pace *pace, uint64_t limit_ns, int waiting, int most, bool now);
/* Another prompt is read now: what few of its rows take is to be seen. */
void pace_forget(struct pace *pace);
/* As many rows as there is room for. */
void pace_all_rows(struct pace *pace);
/* A step of so many answers and rows of prompts took that long: says how much of it the prompts. */
uint64_t pace_learn(struct pace *pace, int n_answers, int n_rows, uint64_t ns);
