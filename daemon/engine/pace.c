/* SPDX-License-Identifier: MIT */
#include "engine/pace.h"

enum {
    FIRST_ROWS = 8,  /* as long as nothing is known */
    MOST_SINCE = 32, /* steps until answers are measured again */
    NEW_PART = 4,    /* of an average, that the last measurement is: a quarter */
    MANY = 64,       /* rows, whose part of what their past takes is small */
    DEAR = 4,        /* times what one of many takes */
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

static int few_rows(const struct pace *p, uint64_t limit_ns)
{
    int before = p->rows >= FIRST_ROWS ? p->rows : FIRST_ROWS / 2;
    double rows = p->row_ns > 0 ? (double)limit_ns / p->row_ns : FIRST_ROWS;
    if (rows > 2 * before) /* the fewer rows, the more each takes: so this ends near the limit */
        rows = 2 * before;
    return rows < 1 ? 1 : (int)rows;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

int pace_rows(struct pace *p, uint64_t limit_ns, int waiting, int most, bool now)
{
    int few = least(few_rows(p, limit_ns), most), many = least(waiting, most);
    bool is_dear = p->many_row_ns > 0 && p->row_ns > DEAR * p->many_row_ns;
    p->is_short = few >= MANY || few >= many || !is_dear;
    if (p->is_short) {
        p->saved_ns = 0;
        return few;
    }
    p->saved_ns += (double)limit_ns;
    if (!now && p->saved_ns < p->many_row_ns * many)
        return 0;
    p->saved_ns = 0;
    return many;
}

void pace_forget(struct pace *p)
{
    p->row_ns = 0;
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
    if (n_rows >= MANY)
        average(&p->many_row_ns, (prompt_ns > 1 ? prompt_ns : 1) / n_rows);
    if (p->is_short) {
        average(&p->row_ns, (prompt_ns > 1 ? prompt_ns : 1) / n_rows);
        if (n_rows > p->rows)
            p->rows = n_rows;
    }
    return (uint64_t)prompt_ns;
}
