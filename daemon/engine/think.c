/* SPDX-License-Identifier: MIT */
#include "engine/think.h"

#include <string.h>

void think_init(struct think *think, const struct think_params *params)
{
    *think = (struct think){.params = params};
    think->state = params->is_open ? THINK_NOW : THINK_MAY_COME;
    if (params->open == params->close)
        think->state = THINK_OVER;
}

/* ---- ends of sentences, by what was written last */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Takes one of the words off the end; which one, -1: none of them. */
static int strip(const char *text, int *n, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        int bytes = (int)strlen(words[i]);
        if (*n < bytes || memcmp(text + *n - bytes, words[i], (size_t)bytes) != 0)
            continue;
        *n -= bytes;
        return i;
    }
    return -1;
}

/* A point behind a digit may stand in a number, or number a list. */
static bool ends_sentence(const char *text, int n)
{
    static const char *const quotes[] = {"\"", "'", ")",  "]",  "*",  "”",
                                         "’",  "»", "」", "』", "）", NULL};
    static const char *const stops[] = {".", "!", "?", "…", "。", "！", "？", "।", "۔", "؟", NULL};
    for (; n > 0 && is_blank(text[n - 1]); n--)
        if (text[n - 1] == '\n')
            return true;
    while (strip(text, &n, quotes) >= 0)
        ;
    int stop = strip(text, &n, stops);
    bool is_point = stop == 0;
    return stop >= 0 && !(is_point && n > 0 && text[n - 1] >= '0' && text[n - 1] <= '9');
}

/* ---- following */

static enum think_cut find_cut(const struct think *think, uint64_t now_ns)
{
    const struct think_params *p = think->params;
    if (p->hard > 0 && think->n + 1 >= p->hard)
        return THINK_CUT_HARD;
    if (think->hard_ns > 0 && now_ns >= think->hard_ns)
        return THINK_CUT_TIME;
    bool is_long = p->soft > 0 && think->n >= p->soft;
    bool is_late = think->soft_ns > 0 && now_ns >= think->soft_ns;
    if ((is_long || is_late) && ends_sentence(think->tail, think->n_tail))
        return is_long ? THINK_CUT_SOFT : THINK_CUT_TIME;
    return THINK_UNCUT;
}

int32_t think_limit(struct think *think, int32_t drawn, uint64_t now_ns)
{
    if (think->state != THINK_NOW)
        return drawn;
    think->cut = drawn == think->params->close ? THINK_UNCUT : find_cut(think, now_ns);
    return think->cut == THINK_UNCUT ? drawn : think->params->close;
}

void think_within(struct think *think, uint64_t from_ns, uint64_t until_ns)
{
    think->soft_ns = until_ns - (until_ns - from_ns) / 4;
    think->hard_ns = until_ns;
}

bool think_is_on(const struct think *think)
{
    return think->state == THINK_NOW;
}

static void note(struct think *think, const char *bytes, size_t n)
{
    const int room = sizeof think->tail;
    if (n > (size_t)room) {
        bytes += n - (size_t)room;
        n = (size_t)room;
    }
    int over = think->n_tail + (int)n - room;
    if (over > 0) {
        think->n_tail -= over;
        memmove(think->tail, think->tail + over, (size_t)think->n_tail);
    }
    memcpy(think->tail + think->n_tail, bytes, n);
    think->n_tail += (int)n;
}

void think_accept(struct think *think, int32_t id, const char *bytes, size_t n)
{
    if (think->state == THINK_OVER)
        return;
    if (think->state == THINK_NOW) {
        think->n++;
        if (id == think->params->close)
            think->state = THINK_OVER;
        note(think, bytes, n);
        return;
    }
    if (id == think->params->open) {
        think->state = THINK_NOW;
        think->n++;
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (!is_blank(bytes[i]))
            think->state = THINK_OVER; /* the answer has begun: a marker comes too late */
}
