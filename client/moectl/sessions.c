/* SPDX-License-Identifier: MIT
 *
 * session: what the daemon holds of conversations. A command of it is a row of the table below. One
 * thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "moectl/input.h"
#include "moectl/link.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

/* One run of a command; args are what follows its word. */
struct run {
    const struct options *o;
    struct moed *moed;
    struct moed_call *call;
    struct moed_error error;
    char *const *args;
    int n_args;
};

static int wait_for(struct run *run, int started)
{
    return link_wait(run->o, started, &run->call, &run->error);
}

/* ---- telling */
static json_t *session_json(const struct moed_session *s)
{
    json_t *object = json_object();
    json_object_set_new(object, "id", screen_json_word(s->id));
    json_object_set_new(object, "name", screen_json_word(s->name));
    json_object_set_new(object, "revision", json_integer((json_int_t)s->revision));
    json_object_set_new(object, "model", screen_json_word(s->model));
    json_object_set_new(object, "raw", json_boolean(s->is_raw));
    json_object_set_new(object, "messages", json_integer(s->messages));
    json_object_set_new(object, "tokens", json_integer((json_int_t)s->tokens));
    json_object_set_new(object, "bytes", json_integer((json_int_t)s->bytes));
    json_object_set_new(object, "created", json_integer(s->created));
    json_object_set_new(object, "used", json_integer(s->used));
    json_object_set_new(object, "busy", json_boolean(s->is_busy));
    json_object_set_new(object, "cut", json_boolean(s->is_cut));
    json_object_set_new(object, "pinned", json_boolean(s->is_pinned));
    json_object_set_new(object, "parked", json_boolean(s->is_parked));
    json_object_set_new(object, "memory_bytes", json_integer((json_int_t)s->memory_bytes));
    json_object_set_new(object, "disk_bytes", json_integer((json_int_t)s->disk_bytes));
    json_object_set_new(object, "unkept", *s->unkept ? screen_json_word(s->unkept) : json_null());
    return object;
}

static const char *called(const struct moed_session *s)
{
    return *s->name ? s->name : s->id;
}

static const char *as_time(char *buffer, size_t size, int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (!localtime_r(&t, &tm) || strftime(buffer, size, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(buffer, size, "%" PRId64, seconds);
    return buffer;
}

/* Where what the model has of it is bound to be. */
static void print_place(const struct moed_session *s)
{
    char bytes[32];
    if (s->is_pinned)
        printf("  (pinned, %s in memory)", screen_bytes(bytes, sizeof bytes, s->memory_bytes));
    if (s->is_parked)
        printf("  (parked, %s on the disk)", screen_bytes(bytes, sizeof bytes, s->disk_bytes));
}

static void print_row(const struct moed_session *s, int width)
{
    char bytes[32], when[32], said[32];
    if (s->is_raw)
        snprintf(said, sizeof said, "%" PRIu64 " tokens", s->tokens);
    else
        snprintf(said, sizeof said, "%u messages", s->messages);
    screen_cell(called(s), width);
    screen_cell(as_time(when, sizeof when, s->used), 16);
    screen_cell(said, 12);
    screen_cell(screen_bytes(bytes, sizeof bytes, s->bytes), 10);
    screen_word(stdout, s->model);
    fputs(s->is_busy ? "  (busy)" : s->is_cut ? "  (cut)" : "", stdout);
    print_place(s);
    fputs(*s->unkept ? "  (not on the disk)\n" : "\n", stdout);
}

/* What a change answers with. */
static int tell(const struct run *run)
{
    const struct moed_session *s = moed_call_session(run->call, 0);
    if (run->o->json)
        screen_json(session_json(s));
    else if (!run->o->quiet)
        print_row(s, screen_width(called(s)));
    return EXIT_DONE;
}

/* ---- commands */
static int list(struct run *run)
{
    int r = wait_for(run, moed_session_list(run->moed, &run->call, &run->error));
    if (r)
        return r;
    json_t *sessions = json_array();
    int width = 4;
    size_t n = moed_call_n_sessions(run->call);
    for (size_t i = 0; i < n; i++) {
        const struct moed_session *s = moed_call_session(run->call, i);
        json_array_append_new(sessions, session_json(s));
        if (screen_width(called(s)) > width)
            width = screen_width(called(s));
    }
    if (run->o->json) {
        screen_json(json_pack("{s:o}", "sessions", sessions));
        return EXIT_DONE;
    }
    json_decref(sessions);
    for (size_t i = 0; i < n; i++)
        print_row(moed_call_session(run->call, i), width);
    if (n == 0)
        puts("no sessions");
    return EXIT_DONE;
}

static const char *role_name(enum moed_role role)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return (unsigned)role < sizeof names / sizeof *names ? names[role] : "unknown";
}

static json_t *message_json(const struct moed_message *m)
{
    json_t *object = json_object(), *calls = json_array();
    for (size_t i = 0; i < m->n_calls; i++)
        json_array_append_new(calls,
                              json_pack("{s:o,s:o,s:o}", "id", screen_json_word(m->calls[i]->id),
                                        "name", screen_json_word(m->calls[i]->name), "arguments",
                                        screen_json_word(m->calls[i]->arguments)));
    json_object_set_new(object, "role", screen_json_word(role_name(m->role)));
    json_object_set_new(object, "content", screen_json_word(m->content));
    json_object_set_new(object, "reasoning", screen_json_word(m->reasoning));
    json_object_set_new(object, "calls", calls);
    json_object_set_new(object, "tokens", screen_json_ids(m->tokens, m->n_tokens));
    json_object_set_new(object, "finish_reason", screen_json_word(moed_finish_name(m->finish)));
    json_object_set_new(object, "cut", json_boolean(m->is_cut));
    return object;
}

static void print_message(const struct moed_message *m)
{
    printf("%s: ", role_name(m->role));
    screen_word(stdout, m->content);
    for (size_t i = 0; i < m->n_calls; i++) {
        fputs("\n  ", stdout);
        screen_word(stdout, m->calls[i]->name);
        putchar(' ');
        screen_word(stdout, m->calls[i]->arguments);
    }
    fputs(m->is_cut ? " ...\n" : "\n", stdout);
}

/* Raw text of a piece of a session; 0 or an exit code. */
static int print_piece(struct run *run, const struct moed_message *m, const char *model)
{
    OWN(moed_call) *call = NULL;
    size_t n;
    int r = link_wait(
        run->o, moed_detokenize(run->moed, model, m->tokens, m->n_tokens, 0, &call, &run->error),
        &call, &run->error);
    if (r)
        return r;
    const char *text = moed_call_text(call, &n);
    screen_text(stdout, text, n);
    return 0;
}

/* One answer of showing; what is asked for next in *first, 0: nothing. */
static int show_some(struct run *run, uint32_t *first, json_t *said, json_t **about)
{
    OWN(moed_call) *call = NULL;
    int r = link_wait(run->o,
                      moed_session_show(run->moed, run->args[0], *first, true, &call, &run->error),
                      &call, &run->error);
    if (r)
        return r;
    const struct moed_session *s = moed_call_session(call, 0);
    if (!*about) {
        *about = session_json(s);
        if (!run->o->json)
            print_row(s, screen_width(called(s)));
    }
    for (size_t i = 0; i < moed_call_n_messages(call) && r == 0; i++) {
        const struct moed_message *m = moed_call_message(call, i);
        if (run->o->json)
            json_array_append_new(said, message_json(m));
        else if (s->is_raw)
            r = print_piece(run, m, s->model);
        else
            print_message(m);
    }
    *first = moed_call_next_message(call);
    if (s->is_raw && *first == 0 && !run->o->json)
        putchar('\n');
    return r;
}

static int show(struct run *run)
{
    json_t *said = json_array(), *about = NULL;
    uint32_t first = 0;
    int r;
    do
        r = show_some(run, &first, said, &about);
    while (r == 0 && first > 0);
    if (r == 0 && run->o->json)
        screen_json(json_pack("{s:O,s:O}", "session", about, "said", said));
    json_decref(said);
    json_decref(about);
    return r;
}

/* A whole number of the command line. */
static int take_number(const struct run *run, int at, const char *what, uint64_t most,
                       uint64_t *ret)
{
    char *end;
    const char *text = run->args[at];
    *ret = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || *ret > most)
        return usage_error(run->o, "%s is '%s', expected a whole number", what, text);
    return 0;
}

/* MESSAGES [TOKENS], from an argument on. */
static int take_place(const struct run *run, int at, uint64_t *messages, uint64_t *tokens)
{
    *tokens = 0;
    int r = take_number(run, at, "MESSAGES", MOED_ALL_MESSAGES - 1, messages);
    if (r == 0 && at + 1 < run->n_args)
        r = take_number(run, at + 1, "TOKENS", INT32_MAX, tokens);
    return r;
}

static int create(struct run *run)
{
    OWN(moed_request) *settings = moed_request_new();
    if (!settings)
        return link_error(run->o, "no memory for the settings");
    int r = options_apply(run->o, settings);
    if (r)
        return r;
    if (run->o->think)
        moed_request_set_integer(settings, MOED_THINKING, 1);
    r = wait_for(run, moed_session_create(run->moed, run->n_args > 0 ? run->args[0] : NULL,
                                          settings, &run->call, &run->error));
    return r ? r : tell(run);
}

static int fork_it(struct run *run)
{
    uint64_t messages = MOED_ALL_MESSAGES, tokens = 0;
    int r = run->n_args > 2 ? take_place(run, 2, &messages, &tokens) : 0;
    if (r == 0)
        r = wait_for(run, moed_session_fork(run->moed, run->args[0], 0, (uint32_t)messages, tokens,
                                            run->args[1], &run->call, &run->error));
    return r ? r : tell(run);
}

static int rewind_it(struct run *run)
{
    uint64_t messages, tokens;
    int r = take_place(run, 1, &messages, &tokens);
    if (r == 0)
        r = wait_for(run, moed_session_rewind(run->moed, run->args[0], 0, (uint32_t)messages,
                                              tokens, &run->call, &run->error));
    return r ? r : tell(run);
}

static int name(struct run *run)
{
    int r = wait_for(run, moed_session_update(run->moed, run->args[0], 0, run->args[1], NULL,
                                              &run->call, &run->error));
    return r ? r : tell(run);
}

static int pin(struct run *run)
{
    int r =
        wait_for(run, moed_session_pin(run->moed, run->args[0], 0, true, &run->call, &run->error));
    return r ? r : tell(run);
}

static int unpin(struct run *run)
{
    int r =
        wait_for(run, moed_session_pin(run->moed, run->args[0], 0, false, &run->call, &run->error));
    return r ? r : tell(run);
}

static int park(struct run *run)
{
    int r = wait_for(run, moed_session_park(run->moed, run->args[0], 0, &run->call, &run->error));
    return r ? r : tell(run);
}

static int resume(struct run *run)
{
    int r = wait_for(run, moed_session_resume(run->moed, run->args[0], 0, &run->call, &run->error));
    return r ? r : tell(run);
}

static int delete_it(struct run *run)
{
    int r = 0;
    for (int i = 0; i < run->n_args && r == 0; i++) {
        r = wait_for(run, moed_session_delete(run->moed, run->args[i], 0, &run->call, &run->error));
        moed_call_free(run->call);
        run->call = NULL;
        if (r == 0 && run->o->json)
            screen_json(json_pack("{s:o}", "deleted", screen_json_word(run->args[i])));
    }
    return r;
}

static const struct command {
    const char *name;
    int least, most; /* arguments */
    int (*run)(struct run *run);
} commands[] = {
    {"list", 0, 0, list},     {"show", 1, 1, show},         {"create", 0, 1, create},
    {"fork", 2, 4, fork_it},  {"name", 2, 2, name},         {"rewind", 2, 3, rewind_it},
    {"pin", 1, 1, pin},       {"unpin", 1, 1, unpin},       {"park", 1, 1, park},
    {"resume", 1, 1, resume}, {"delete", 1, -1, delete_it},
};

static const struct command *find(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, word) == 0)
            return &commands[i];
    return NULL;
}

int verb_session(const struct options *o)
{
    const struct command *command = find(o->n_args > 0 ? o->args[0] : "list");
    struct run run = {
        .o = o, .error = MOED_ERROR_INIT, .args = o->args + 1, .n_args = o->n_args - 1};
    if (o->n_args == 0)
        run.n_args = 0;
    if (!command)
        return usage_error(o, "session has no command '%s'", o->args[0]);
    if (run.n_args < command->least || (command->most >= 0 && run.n_args > command->most))
        return usage_error(o, "session %s: %d arguments are not what it takes", command->name,
                           run.n_args);
    int r = link_open(o, &run.moed);
    if (r == 0)
        r = command->run(&run);
    moed_call_free(run.call);
    moed_close(run.moed);
    return r;
}
