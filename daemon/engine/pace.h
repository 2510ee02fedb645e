/* SPDX-License-Identifier: MIT
 *
 * How steps that are under way at once share the machine, op by op, as measured.
 *
 * Answers go on in one step, prompts are read in two others: what is soon done does not wait for
 * what is long. Prompts get three quarters of the time that answers take beside them, within a step
 * of answers no more than that and 50 ms, or one op; only short ones of somebody who has no answers
 * there begin with 50 ms in advance. Pure; the engine's thread's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum track { TRACK_ANSWERS, TRACK_SHORT, TRACK_LONG, N_TRACKS };

struct pace {     /* zeroed but for few_rows knows nothing */
    int few_rows; /* of a long step: fewer take about as long */
    struct {
        int rows;           /* of the step under way; 0: there is none */
        uint64_t ns, op_ns; /* it has had so far; its longest op */
        uint64_t before_ns; /* the longest op of the one before */
        bool is_owed;       /* somebody's who has no answers under way */
    } at[N_TRACKS];
    int64_t owed_ns;    /* to prompts, by answers; below 0: the other way round */
    int64_t ahead_ns;   /* of the long step, the short one */
    uint64_t beside_ns; /* what prompts have had since the step of answers began */
    bool met;           /* answers were under way beside the long step */
    int rows;           /* of a long step beside answers; 0: not known */
    double answers_ns;  /* a step of answers; 0: not known */
    double row_ns;      /* of a prompt */
};

/* A step of so many rows, at least one, is under way. */
void pace_start(struct pace *pace, enum track track, int rows, bool is_owed);
/* Whose op is next; N_TRACKS: nothing is under way. */
enum track pace_next(const struct pace *pace);
/* An op took that long. */
void pace_spend(struct pace *pace, enum track track, uint64_t ns);
/* The step is over, or given up. */
void pace_stop(struct pace *pace, enum track track, bool is_done);
/* How many rows a long step may have beside answers, so that none of its ops takes longer than
 * prompts may: at most `most`, but few_rows at least. */
int pace_rows(const struct pace *pace, int most);
