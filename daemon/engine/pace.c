/* SPDX-License-Identifier: MIT */
#include "engine/pace.h"

enum {
    MOST_NS = 50000000, /* of prompts, within a step of answers */
    NEW_PART = 4,       /* of an average, that the last measurement is: a quarter */
};

static void average(double *known, double measured)
{
    *known = *known > 0 ? *known + (measured - *known) / NEW_PART : measured;
}

/* What prompts may have of so much of answers. */
static uint64_t share_of(uint64_t answers_ns)
{
    return answers_ns - answers_ns / 4;
}

/* What they may have within a step of answers. */
static uint64_t most_ns(const struct pace *p)
{
    uint64_t share = share_of((uint64_t)p->answers_ns);
    return p->answers_ns > 0 && share < MOST_NS ? share : MOST_NS;
}

static bool works(const struct pace *p, enum track track)
{
    return p->at[track].rows > 0;
}

static bool prompts_work(const struct pace *p)
{
    return works(p, TRACK_SHORT) || works(p, TRACK_LONG);
}

void pace_start(struct pace *p, enum track track, int rows, bool is_owed)
{
    p->at[track].rows = rows;
    p->at[track].is_owed = is_owed;
    p->at[track].before_ns = p->at[track].op_ns;
    p->at[track].ns = p->at[track].op_ns = 0;
    if (track == TRACK_ANSWERS)
        p->beside_ns = 0;
    else if (!works(p, track == TRACK_SHORT ? TRACK_LONG : TRACK_SHORT) || p->ahead_ns > 0)
        p->ahead_ns = 0; /* the short one goes first */
    p->met = (p->met && track != TRACK_LONG) || works(p, TRACK_ANSWERS);
}

enum track pace_next(const struct pace *p)
{
    enum track prompts = works(p, TRACK_SHORT) && (!works(p, TRACK_LONG) || p->ahead_ns <= 0)
                             ? TRACK_SHORT
                             : TRACK_LONG;
    if (!prompts_work(p))
        return works(p, TRACK_ANSWERS) ? TRACK_ANSWERS : N_TRACKS;
    if (!works(p, TRACK_ANSWERS))
        return prompts;
    if (p->at[prompts].is_owed)
        return p->owed_ns > -MOST_NS ? prompts : TRACK_ANSWERS;
    uint64_t op_ns = p->at[prompts].op_ns > p->at[prompts].before_ns ? p->at[prompts].op_ns
                                                                     : p->at[prompts].before_ns;
    bool fits = p->beside_ns == 0 || p->beside_ns + op_ns <= most_ns(p);
    return p->owed_ns > 0 && fits ? prompts : TRACK_ANSWERS;
}

void pace_spend(struct pace *p, enum track track, uint64_t ns)
{
    p->at[track].ns += ns;
    if (ns > p->at[track].op_ns)
        p->at[track].op_ns = ns;
    if (track == TRACK_ANSWERS) {
        int64_t most = prompts_work(p) ? MOST_NS : 0; /* nobody saves up while he is away */
        p->owed_ns += (int64_t)share_of(ns);
        p->owed_ns = p->owed_ns < most ? p->owed_ns : most;
        return;
    }
    if (works(p, TRACK_ANSWERS)) {
        p->owed_ns -= (int64_t)ns;
        p->beside_ns += ns;
    }
    if (works(p, TRACK_SHORT) && works(p, TRACK_LONG))
        p->ahead_ns += track == TRACK_SHORT ? (int64_t)ns : -(int64_t)ns;
}

/* Beside answers: by how long its ops were. */
static void learn_rows(struct pace *p)
{
    double ratio = (double)most_ns(p) / (double)(p->at[TRACK_LONG].op_ns + 1);
    ratio = ratio < 0.5 ? 0.5 : ratio > 2 ? 2 : ratio;
    p->rows = (int)(p->at[TRACK_LONG].rows * ratio);
}

void pace_stop(struct pace *p, enum track track, bool is_done)
{
    double row_ns = (double)p->at[track].ns / p->at[track].rows;
    if (is_done && track == TRACK_ANSWERS)
        average(&p->answers_ns, (double)p->at[track].ns);
    else if (is_done)
        average(&p->row_ns, row_ns);
    if (is_done && track == TRACK_LONG && p->met && p->answers_ns > 0)
        learn_rows(p);
    p->at[track].rows = 0;
}

int pace_rows(const struct pace *p, int most)
{
    int rows = p->rows > p->few_rows ? p->rows : p->few_rows;
    return rows < most ? rows : most;
}
