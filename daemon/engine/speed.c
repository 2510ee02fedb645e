/* SPDX-License-Identifier: MIT */
#include "engine/speed.h"

/* Of a prompt, so that a step's time is theirs: weights are read once for few rows as for one. */
enum { MANY_ROWS = 16 };

static void blend(double *at, double ns)
{
    *at = *at > 0 ? *at + (ns - *at) / 4 : ns;
}

static int place_of(int answers)
{
    return answers < 1 ? 0 : answers > SPEED_COMPANY ? SPEED_COMPANY - 1 : answers - 1;
}

void speed_note(struct speed *s, int prompt_rows, int answer_rows, uint64_t ns)
{
    if (prompt_rows >= MANY_ROWS && prompt_rows > answer_rows)
        blend(&s->row_ns, (double)ns / prompt_rows);
    if (answer_rows > 0)
        blend(&s->token_ns[place_of(answer_rows)], (double)ns);
}

double speed_row_ns(const struct speed *s)
{
    return s->row_ns;
}

/* A larger company that was seen bounds the time; of a smaller one it grows with the rows at most.
 */
double speed_token_ns(const struct speed *s, int answers)
{
    int at = place_of(answers);
    for (int i = at; i < SPEED_COMPANY; i++)
        if (s->token_ns[i] > 0)
            return s->token_ns[i];
    for (int i = at - 1; i >= 0; i--)
        if (s->token_ns[i] > 0)
            return s->token_ns[i] * (at + 1) / (i + 1);
    return 0;
}
