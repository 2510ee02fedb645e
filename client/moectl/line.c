/* SPDX-License-Identifier: MIT
 *
 * Line editing. libedit reads characters through a function of ours: it sleeps in ppoll, the only
 * place where SIGINT gets through, so that Ctrl-C always means "throw this line away".
 */
#include "moectl/line.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "own.h"

enum { HISTORY_LINES = 1000 };

struct line {
    bool is_terminal;
    EditLine *edit;
    History *history;
    char *path; /* of the history file, NULL: none */
};

static volatile sig_atomic_t interrupted; /* a handler has nowhere else to put it */

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* ---- the history file */
static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700); /* what is missing shows when the file is opened */
        *slash = '/';
    }
}

static char *history_path(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int n = -1;
    if (state && *state)
        n = asprintf(&path, "%s/moed/history", state);
    else if (home && *home)
        n = asprintf(&path, "%s/.local/state/moed/history", home);
    return n < 0 ? NULL : path;
}

/* ---- characters */
static int next_byte(unsigned char *ret)
{
    sigset_t open;
    sigprocmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGINT);
    while (!interrupted) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (ppoll(&p, 1, NULL, &open) < 0 && errno != EINTR)
            return -1;
        if (interrupted || !p.revents)
            continue;
        ssize_t n = read(STDIN_FILENO, ret, 1);
        if (n >= 0 || errno != EINTR)
            return (int)n;
    }
    return -1;
}

/* libedit wants characters, and wchar_t is a code point here. */
static int next_character(EditLine *edit, wchar_t *ret)
{
    (void)edit;
    unsigned char byte;
    int r = next_byte(&byte);
    if (r <= 0)
        return r;
    int more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
    uint32_t c = more ? byte & (0x3fu >> more) : byte;
    for (; more > 0; more--) {
        r = next_byte(&byte);
        if (r <= 0)
            return r;
        c = c << 6 | (byte & 0x3fu);
    }
    *ret = (wchar_t)c;
    return 1;
}

static char *prompt(EditLine *edit)
{
    (void)edit;
    static char text[] = "> ";
    return text;
}

/* ---- */
static void open_editor(struct line *line)
{
    HistEvent event;
    line->edit = el_init("moectl", stdin, stdout, stderr);
    line->history = history_init();
    if (!line->edit || !line->history)
        abort();
    history(line->history, &event, H_SETSIZE, HISTORY_LINES);
    history(line->history, &event, H_SETUNIQUE, 1);
    el_set(line->edit, EL_PROMPT, prompt);
    el_set(line->edit, EL_EDITOR, "emacs");
    el_set(line->edit, EL_HIST, history, line->history);
    el_set(line->edit, EL_SIGNAL, 0);
    el_set(line->edit, EL_GETCFN, next_character);
    el_source(line->edit, NULL);
    line->path = history_path();
    if (line->path)
        history(line->history, &event, H_LOAD, line->path);
}

struct line *line_new(void)
{
    struct line *line = calloc(1, sizeof *line);
    if (!line)
        abort();
    line->is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (line->is_terminal)
        open_editor(line);
    return line;
}

void line_free(struct line *line)
{
    if (!line)
        return;
    HistEvent event;
    if (line->path) {
        make_parents(line->path);
        history(line->history, &event, H_SAVE, line->path);
    }
    if (line->history)
        history_end(line->history);
    if (line->edit)
        el_end(line->edit);
    free(line->path);
    free(line);
}

bool line_is_terminal(const struct line *line)
{
    return line->is_terminal;
}

/* ---- lines */
static int read_plain(char **ret, size_t *bytes)
{
    size_t room = 0;
    errno = 0;
    ssize_t n = getline(ret, &room, stdin);
    if (n < 0)
        return ferror(stdin) ? -errno : 0;
    if (n > 0 && (*ret)[n - 1] == '\n')
        (*ret)[--n] = '\0';
    *bytes = (size_t)n;
    return 1;
}

/* A line as libedit gives it, borrowed; NULL with *count 0 at the end of input, -1 on Ctrl-C. */
static const char *edit_line(struct line *line, int *count)
{
    struct sigaction action = {.sa_handler = on_interrupt}, old;
    sigset_t block, before;
    sigemptyset(&action.sa_mask);
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    interrupted = 0;
    sigprocmask(SIG_BLOCK, &block, &before);
    sigaction(SIGINT, &action, &old);
    el_resize(line->edit);
    /* libedit would do so behind its prompt: keys in between would act as in cooked mode */
    el_set(line->edit, EL_PREP_TERM, 1);
    const char *text = el_gets(line->edit, count);
    sigaction(SIGINT, &old, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return text;
}

static int append(char **all, size_t *n, const char *text, size_t bytes)
{
    char *more = realloc(*all, *n + bytes + 1);
    if (!more)
        return -ENOMEM;
    memcpy(more + *n, text, bytes);
    *all = more;
    *n += bytes;
    more[*n] = '\0';
    return 0;
}

/* Lines that end in a backslash go on in the next one. */
static int read_edited(struct line *line, char **ret, size_t *bytes)
{
    OWN_MEM char *all = NULL;
    size_t n = 0;
    while (true) {
        int count = 0;
        const char *text = edit_line(line, &count);
        if (!text && interrupted) {
            fputs("^C\n", stdout);
            free(TAKE(all));
            n = 0;
            continue;
        }
        if (!text || count <= 0) {
            putchar('\n');
            return 0;
        }
        size_t length = (size_t)count - (text[count - 1] == '\n');
        bool goes_on = length > 0 && text[length - 1] == '\\';
        int r = append(&all, &n, text, length - goes_on);
        if (r == 0 && goes_on)
            r = append(&all, &n, "\n", 1);
        if (r < 0)
            return r;
        if (!goes_on)
            break;
    }
    HistEvent event;
    if (n > 0)
        history(line->history, &event, H_ENTER, all);
    *ret = TAKE(all);
    *bytes = n;
    return 1;
}

int line_read(struct line *line, char **ret, size_t *bytes)
{
    return line->is_terminal ? read_edited(line, ret, bytes) : read_plain(ret, bytes);
}
