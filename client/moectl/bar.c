/* SPDX-License-Identifier: MIT
 *
 * Without escape codes, so that any terminal can show it: what was longer is covered by spaces.
 */
#include "moectl/bar.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "moectl/screen.h"

enum { BAR_MOST = 30, BAR_LEAST = 10 };

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* " 50 %, 5.2 GiB of 10.4 GiB, 1.1 GiB/s, 5 s left"; by the rate of the whole load. */
static int print_figures(const struct moed_model *m, char *text, size_t size)
{
    char done[32], all[32], rate[32];
    int n = snprintf(text, size, " %3.0f %%, %s of %s",
                     100.0 * (double)m->bytes_done / (double)m->bytes_all,
                     screen_bytes(done, sizeof done, m->bytes_done),
                     screen_bytes(all, sizeof all, m->bytes_all));
    if (m->bytes_done == 0 || m->load_seconds <= 0)
        return n;
    double speed = (double)m->bytes_done / m->load_seconds;
    double left = m->bytes_all > m->bytes_done ? (double)(m->bytes_all - m->bytes_done) / speed : 0;
    n += snprintf(text + n, size - (size_t)n, ", %s/s",
                  screen_bytes(rate, sizeof rate, (uint64_t)speed));
    return n + (left < 100 ? snprintf(text + n, size - (size_t)n, ", %.0f s left", left)
                           : snprintf(text + n, size - (size_t)n, ", %.0f min left", left / 60));
}

static void print_bar(const struct moed_model *m, int width)
{
    int full = (int)((double)(width - 2) * (double)m->bytes_done / (double)m->bytes_all);
    fputs(" [", stderr);
    for (int i = 0; i < width - 2; i++)
        fputc(i < full ? '#' : '.', stderr);
    fputc(']', stderr);
}

void bar_draw(struct bar *bar, const struct moed_model *m)
{
    char figures[160];
    int room = columns() - 1; /* the last column may break the line */
    int width = (int)sizeof "loading " - 1 + screen_width(m->name);
    int length = print_figures(m, figures, sizeof figures);
    int rest = room - width - length - 1;
    fputs("\rloading ", stderr);
    screen_word(stderr, m->name);
    if (rest >= BAR_LEAST) {
        rest = rest < BAR_MOST ? rest : BAR_MOST;
        print_bar(m, rest);
        width += rest + 1;
    } else if (rest < -1) { /* a narrow one */
        length = snprintf(figures, sizeof figures, " %3.0f %%",
                          100.0 * (double)m->bytes_done / (double)m->bytes_all);
    }
    fputs(figures, stderr);
    width += length;
    for (int i = width; i < bar->width; i++)
        fputc(' ', stderr);
    bar->width = width;
    fflush(stderr);
}

void bar_reading(struct bar *bar, const struct moed_progress *p)
{
    char text[128];
    double part = p->tokens_all > 0 ? (double)p->tokens_done / p->tokens_all : 0;
    int room = columns() - 1;
    int n = snprintf(text, sizeof text, "reading %3.0f %%, %d of %d tokens, %.0f s left",
                     100 * part, p->tokens_done, p->tokens_all, p->seconds_left);
    n = n < room ? n : room;
    fprintf(stderr, "\r%.*s%*s", n, text, bar->width > n ? bar->width - n : 0, "");
    bar->width = n;
    fflush(stderr);
}

void bar_clear(struct bar *bar)
{
    if (bar->width == 0)
        return;
    fprintf(stderr, "\r%*s\r", bar->width, "");
    bar->width = 0;
    fflush(stderr);
}
