/* SPDX-License-Identifier: MIT
 *
 * chat: a conversation, line by line, by libedit on a terminal and by plain reading elsewhere.
 *
 * The conversation lives here, and the daemon is sent all of it at each turn; or it is a session,
 * and the daemon is sent what is new. One thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "moectl/answer.h"
#include "moectl/input.h"
#include "moectl/line.h"
#include "moectl/link.h"
#include "moectl/record.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

struct turn {
    enum moed_role role;
    char *text;
    size_t bytes;
};

struct chat {
    struct options options; /* as given, but for the session, which may become another one */
    const struct options *o;
    struct moed *moed;
    struct line *line;
    char *system;  /* NULL: none */
    char *model;   /* NULL: the daemon's first */
    char *session; /* NULL: none, or the one of the command line */
    bool think, is_over;
    struct record record;
    struct turn *turns;
    size_t n_turns;
};

/* ---- the conversation */
static char *copy(const char *text, size_t bytes)
{
    char *s = malloc(bytes + 1);
    if (!s)
        abort();
    memcpy(s, text, bytes);
    s[bytes] = '\0';
    return s;
}

static void add_turn(struct chat *c, enum moed_role role, const char *text, size_t bytes)
{
    c->turns = realloc(c->turns, (c->n_turns + 1) * sizeof *c->turns);
    if (!c->turns)
        abort();
    c->turns[c->n_turns++] = (struct turn){.role = role, .text = copy(text, bytes), .bytes = bytes};
}

static void drop_turns(struct chat *c, size_t keep)
{
    while (c->n_turns > keep)
        free(c->turns[--c->n_turns].text);
}

static void set_word(char **at, const char *text)
{
    free(*at);
    *at = *text ? copy(text, strlen(text)) : NULL;
}

/* ---- commands */
static int say_help(struct chat *c, const char *rest)
{
    (void)c;
    (void)rest;
    fputs("/help           this list\n"
          "/clear          forget the conversation\n"
          "/system [TEXT]  set the system message, or remove it\n"
          "/think [off]    ask the model to think first, or not\n"
          "/model [NAME]   use another model, or the daemon's first\n"
          "/session NAME   go on with a talk that the daemon holds, or begin one;\n"
          "                moectl chat --session NAME does so from the start\n"
          "/exit           leave (Ctrl-D too)\n"
          "//TEXT          a message that begins with a slash\n"
          "Ctrl-C stops an answer. A backslash at the end continues a line.\n",
          stderr);
    return 0;
}

static int connect_again(struct chat *c);

/* A session that is not there has nothing to forget. */
static int clear_session(struct chat *c)
{
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = connect_again(c);
    if (r == 0)
        r = link_wait(c->o, moed_session_rewind(c->moed, c->o->session, 0, 0, 0, &call, &error),
                      &call, &error);
    return r == EXIT_NOT_FOUND ? 0 : r;
}

static int clear(struct chat *c, const char *rest)
{
    (void)rest;
    drop_turns(c, 0);
    return c->o->session ? clear_session(c) : 0;
}

static int set_system(struct chat *c, const char *rest)
{
    int r = input_check(c->o, "the system message", rest, strlen(rest));
    if (r == 0)
        set_word(&c->system, rest);
    return r;
}

static int set_think(struct chat *c, const char *rest)
{
    if (*rest && strcmp(rest, "on") != 0 && strcmp(rest, "off") != 0)
        return link_error(c->o, "/think: found '%s', expected on or off", rest);
    c->think = strcmp(rest, "off") != 0;
    return 0;
}

static int set_model(struct chat *c, const char *rest)
{
    set_word(&c->model, rest);
    return 0;
}

/* Says where a talk goes on. One that is not there begins with its first message. */
static int resume(struct chat *c)
{
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = connect_again(c);
    if (r)
        return r;
    r = moed_session_show(c->moed, c->o->session, 0, false, &call, &error);
    if (r == 0)
        r = moed_wait(call, &error);
    bool is_new = r < 0 && error.status == MOED_NOT_FOUND;
    if (r < 0 && !is_new)
        return link_failed(c->o, &error);
    if (c->o->json || c->o->quiet || !line_is_terminal(c->line))
        return 0;
    size_t n = is_new ? 0 : moed_call_n_messages(call);
    fprintf(stderr, is_new ? "A new session" : "%u messages",
            is_new ? 0 : moed_call_session(call, 0)->messages);
    fputs(n > 0 ? "; the last:\n" : ".\n", stderr);
    for (size_t i = n > 2 ? n - 2 : 0; i < n; i++) {
        const struct moed_message *m = moed_call_message(call, i);
        fputs(m->role == MOED_USER ? "> " : "", stderr);
        screen_word(stderr, m->content);
        fputc('\n', stderr);
    }
    return 0;
}

static int set_session(struct chat *c, const char *rest)
{
    set_word(&c->session, rest);
    c->options.session = c->session;
    drop_turns(c, 0);
    return c->session ? resume(c) : 0;
}

static int leave(struct chat *c, const char *rest)
{
    (void)rest;
    c->is_over = true;
    return 0;
}

static int run_command(struct chat *c, const char *text)
{
    static const struct {
        const char *name;
        int (*run)(struct chat *c, const char *rest);
    } commands[] = {
        {"help", say_help},   {"clear", clear},     {"system", set_system},
        {"think", set_think}, {"model", set_model}, {"session", set_session},
        {"exit", leave},
    };
    size_t n = strcspn(text, " ");
    const char *rest = text + n + strspn(text + n, " ");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == n && strncmp(text, commands[i].name, n) == 0)
            return commands[i].run(c, rest);
    return link_error(c->o, "unknown command '/%.*s'; /help lists them", (int)n, text);
}

/* ---- a turn */
static int build(struct chat *c, struct moed_request **ret)
{
    OWN(moed_request) *request = moed_request_new();
    if (!request)
        return link_error(c->o, "no memory for the conversation");
    int r = options_apply(c->o, request);
    if (r)
        return r;
    if (moed_request_set_model(request, c->model) < 0)
        return link_error(c->o, "the model's name is not UTF-8");
    if (c->think || !c->o->session) /* which has settings of its own */
        moed_request_set_integer(request, MOED_THINKING, c->think);
    int added = 0;
    if (c->system)
        added = moed_request_add_message(request, MOED_SYSTEM, c->system, strlen(c->system));
    for (size_t i = 0; i < c->n_turns && added == 0; i++)
        added = moed_request_add_message(request, c->turns[i].role, c->turns[i].text,
                                         c->turns[i].bytes);
    if (added < 0)
        return link_error(c->o, "the conversation cannot be sent: %s", strerror(-added));
    *ret = TAKE(request);
    return 0;
}

static void show_end(struct chat *c, const struct answer *a)
{
    if (c->o->json) {
        screen_json(answer_json(a));
        return;
    }
    if (!a->ends_line)
        putchar('\n');
    fflush(stdout);
    answer_print_figures(a);
}

static int generate(struct chat *c, struct moed_request *request)
{
    struct answer a = {.to_screen = !c->o->json, .o = c->o};
    int r = record_prepare(&c->record, c->moed, request, &a);
    if (r == EXIT_DONE)
        r = answer_run(c->moed, request, &a);
    if (r == EXIT_DONE || r == EXIT_INTERRUPTED)
        show_end(c, &a);
    else if (!c->o->json && !a.ends_line)
        putchar('\n');
    const struct text *text = &a.parts[0].text;
    if (c->o->session && a.session_revision > 0) { /* all of it is there by now */
        drop_turns(c, 0);
        set_word(&c->system, "");
    } else if (text->n > 0 && !c->o->session) {
        add_turn(c, MOED_ASSISTANT, text->data, text->n);
    }
    if (r == EXIT_DONE)
        r = record_write(&c->record, request, &a);
    answer_fini(&a);
    return r;
}

/* A daemon that was restarted meanwhile is found again. */
static int connect_again(struct chat *c)
{
    if (c->moed && moed_is_open(c->moed))
        return 0;
    moed_close(TAKE(c->moed));
    return link_open(c->o, &c->moed);
}

static int take_message(struct chat *c, const char *text, size_t bytes)
{
    size_t before = c->n_turns;
    OWN(moed_request) *request = NULL;
    int r = input_check(c->o, "the message", text, bytes);
    if (r == 0)
        r = connect_again(c);
    if (r)
        return r;
    add_turn(c, MOED_USER, text, bytes);
    r = build(c, &request);
    if (r == 0)
        r = generate(c, request);
    if (c->n_turns == before + 1)
        drop_turns(c, before); /* a question without any answer is not part of the talk */
    return r;
}

static int take_line(struct chat *c, const char *text, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (text[0] != '/')
        return take_message(c, text, bytes);
    if (bytes > 1 && text[1] == '/')
        return take_message(c, text + 1, bytes - 1);
    return run_command(c, text + 1);
}

/* On a terminal a failed turn is followed by the next; a script is told at once. */
static int talk(struct chat *c)
{
    bool is_terminal = line_is_terminal(c->line);
    if (is_terminal && !c->o->quiet)
        fputs("/help lists commands, Ctrl-D leaves.\n", stderr);
    while (!c->is_over) {
        OWN_MEM char *text = NULL; /* getline leaves a block even at the end */
        size_t bytes = 0;
        int got = line_read(c->line, &text, &bytes);
        if (got == 0)
            return EXIT_DONE;
        if (got < 0)
            return link_error(c->o, "cannot read: %s", strerror(-got));
        int r = take_line(c, text, bytes);
        if (r && !is_terminal)
            return r;
    }
    return EXIT_DONE;
}

int verb_chat(const struct options *o)
{
    struct chat c = {.options = *o, .think = o->think};
    c.o = &c.options;
    if (o->system) {
        int r = set_system(&c, o->system);
        if (r)
            return r;
    }
    if (o->model)
        set_word(&c.model, o->model);
    int r = link_open(o, &c.moed);
    if (r == 0)
        r = record_open(c.o, &c.record);
    if (r == 0) {
        c.line = line_new();
        r = o->session ? resume(&c) : 0;
        if (r == 0)
            r = talk(&c);
        line_free(c.line);
        int closed = record_close(&c.record);
        r = r ? r : closed;
    }
    drop_turns(&c, 0);
    free(c.turns);
    free(c.system);
    free(c.model);
    free(c.session);
    moed_close(c.moed);
    return r;
}
