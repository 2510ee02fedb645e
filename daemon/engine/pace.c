/* SPDX-License-Identifier: MIT */
#include "engine/pace.h"

enum {
    FIRST_ROWS = 8,  /* as long as nothing is known */
    MOST_SINCE = 32, /* steps until answers are measured again */
    NEW_PART = 4,    /* of an average, that the last measurement is: a quarter */
    MOST_GROWTH = 2, /* of an average, by one measurement: somebody else may have had the cores */
};

static int size_of(int n)
{
    int i = 0;
    for (; n >= 16; n /= 2)
        i += 8;
    return i + n < PACE_SIZES ? i + n : PACE_SIZES - 1;
}

static void average(double *known, double measured)
{
    if (*known <= 0) {
        *known = measured;
        return;
    }
    if (measured > MOST_GROWTH * *known)
        measured = MOST_GROWTH * *known;
    *known += (measured - *known) / NEW_PART;
}

uint64_t pace_answers_ns(const struct pace *p, int n_answers)
{
    int i = size_of(n_answers);
    return p->since[i] < MOST_SINCE ? (uint64_t)p->answers_ns[i] : 0;
}

int pace_rows(struct pace *p, uint64_t limit_ns, int most)
{
    int before = p->rows >= FIRST_ROWS ? p->rows : FIRST_ROWS / 2;
    double rows = p->row_ns > 0 ? (double)limit_ns / p->row_ns : FIRST_ROWS;
    if (rows > 2 * before) /* the fewer rows, the more each takes: so this ends near the limit */
        rows = 2 * before;
    if (rows > most)
        rows = most;
    p->is_short = true;
    return rows < 1 && most > 0 ? 1 : (int)rows;
}

void pace_all_rows(struct pace *p)
{
    p->is_short = false;
}

uint64_t pace_learn(struct pace *p, int n_answers, int n_rows, uint64_t ns)
{
    int i = size_of(n_answers);
    if (n_rows == 0) {
        average(&p->answers_ns[i], (double)ns);
        p->since[i] = 0;
        return 0;
    }
    double answers_ns = 0;
    if (n_answers > 0) {
        p->since[i]++;
        answers_ns = p->answers_ns[i];
        if (answers_ns <= 0)
            answers_ns = (double)ns * n_answers / (n_answers + n_rows);
    }
    double prompt_ns = (double)ns > answers_ns ? (double)ns - answers_ns : 0;
    if (p->is_short) {
        average(&p->row_ns, (prompt_ns > 1 ? prompt_ns : 1) / n_rows);
        if (n_rows > p->rows)
            p->rows = n_rows;
    }
    return (uint64_t)prompt_ns;
}
