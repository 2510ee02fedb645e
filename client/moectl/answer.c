/* SPDX-License-Identifier: MIT
 *
 * Streaming a generation.
 */
#include "moectl/answer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "moectl/interrupt.h"
#include "moectl/link.h"
#include "moectl/receipt.h"
#include "moectl/screen.h"

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* ---- collecting */
static void text_add(struct text *text, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    if (n > text->room - text->n) {
        text->room = (text->n + n) * 2 + 256;
        text->data = realloc(text->data, text->room);
        if (!text->data)
            abort();
    }
    memcpy(text->data + text->n, bytes, n);
    text->n += n;
}

/* What JSON has no string for is told in numbers besides. */
static void set_token_text(json_t *object, const struct moed_token *token)
{
    const char *text = (const char *)token->text;
    json_object_set_new(object, "text", screen_json_text(text, token->text_bytes));
    if (screen_is_utf8(text, token->text_bytes))
        return;
    json_t *bytes = json_array();
    for (size_t i = 0; i < token->text_bytes; i++)
        json_array_append_new(bytes, json_integer(token->text[i]));
    json_object_set_new(object, "bytes", bytes);
}

static json_t *token_json(const struct moed_token *token, bool has_top)
{
    json_t *object = json_object();
    json_object_set_new(object, "id", json_integer(token->id));
    set_token_text(object, token);
    json_object_set_new(object, "logprob", screen_json_real(token->logprob));
    if (!has_top)
        return object;
    json_t *top = json_array();
    for (size_t i = 0; i < token->n_top; i++) {
        json_t *other = json_object();
        json_object_set_new(other, "id", json_integer(token->top[i]->id));
        json_object_set_new(other, "logprob", screen_json_real(token->top[i]->logprob));
        json_array_append_new(top, other);
    }
    json_object_set_new(object, "top", top);
    return object;
}

/* Calls are told one after the other: a piece belongs to the last one or begins the next. */
static struct call *find_call(struct told *a, const struct moed_call_delta *delta)
{
    if (delta->index < 0 || (size_t)delta->index > a->n_calls)
        return NULL;
    if ((size_t)delta->index < a->n_calls)
        return &a->calls[delta->index];
    a->calls = realloc(a->calls, (a->n_calls + 1) * sizeof *a->calls);
    if (!a->calls)
        abort();
    struct call *call = &a->calls[a->n_calls++];
    *call = (struct call){.id = strdup(delta->id ? delta->id : ""),
                          .name = strdup(delta->name ? delta->name : "")};
    if (!call->id || !call->name)
        abort();
    return call;
}

static void keep_ids(struct answer *a, struct told *part, const struct moed_event *event)
{
    for (size_t i = 0; i < event->n_prompt; i++)
        json_array_append_new(a->prompt, json_integer(event->prompt[i]));
    for (size_t i = 0; i < event->n_tokens; i++)
        json_array_append_new(part->ids, json_integer(event->tokens[i]->id));
}

static void keep_tokens(struct answer *a, struct told *part, const struct moed_event *event)
{
    for (size_t i = 0; i < event->n_prompt_tokens; i++)
        json_array_append_new(a->prompt_logprobs,
                              token_json(event->prompt_tokens[i], a->o->has_top));
    for (size_t i = 0; i < event->n_tokens; i++)
        json_array_append_new(part->tokens, token_json(event->tokens[i], a->o->has_top));
}

/* ---- streaming */
static void show_thinking(struct answer *a, const char *text, size_t n)
{
    if (n == 0 || a->o->quiet)
        return;
    bool color = screen_has_color(a->o, stderr);
    if (color)
        fputs("\x1b[2m", stderr);
    screen_text(stderr, text, n);
    if (color)
        fputs("\x1b[0m", stderr);
    fflush(stderr);
    a->on_thinking_line = text[n - 1] != '\n';
    a->was_thinking = true;
}

static void end_thinking(struct answer *a)
{
    if (a->on_thinking_line)
        fputc('\n', stderr);
    if (a->was_thinking)
        fputc('\n', stderr);
    a->on_thinking_line = a->was_thinking = false;
}

static void show_text(struct answer *a, const char *text, size_t n)
{
    if (n == 0)
        return;
    end_thinking(a);
    screen_text(stdout, text, n);
    fflush(stdout);
    a->ends_line = text[n - 1] == '\n';
}

/* A line for each: the name, a space, the arguments as the model writes them. */
static void show_call(struct answer *a, const struct moed_call_delta *delta)
{
    if (delta->name) {
        if (!a->ends_line)
            show_text(a, "\n", 1);
        show_text(a, delta->name, strlen(delta->name));
        show_text(a, " ", 1);
    }
    show_text(a, delta->arguments, strlen(delta->arguments));
    if (delta->done)
        show_text(a, "\n", 1);
}

static bool shows_as_it_comes(const struct answer *a)
{
    return a->to_screen && a->n_parts == 1;
}

static void take_call(struct answer *a, struct told *part, const struct moed_call_delta *delta)
{
    struct call *call = find_call(part, delta);
    if (!call) {
        a->is_broken = true;
        return;
    }
    text_add(&call->arguments, delta->arguments, strlen(delta->arguments));
    if (shows_as_it_comes(a))
        show_call(a, delta);
}

static void take_end(struct answer *a, struct told *part, const struct moed_event *event)
{
    part->finish = event->finish;
    part->thinking_cut = event->thinking_cut;
    part->mean_logprob = event->mean_logprob;
    part->text_hash = event->text_hash;
    snprintf(part->reason, sizeof part->reason, "%s", event->error ? event->error : "");
    if (event->receipt && !part->receipt)
        part->receipt = receipt_json(event->receipt);
    if (event->usage) {
        a->usage = *event->usage;
        a->has_usage = true;
    }
}

static void take_estimate(struct answer *a, const struct moed_estimate *estimate)
{
    a->estimate = *estimate;
    a->has_estimate = true;
    if (!a->to_screen || a->o->quiet)
        return;
    bool color = screen_has_color(a->o, stderr);
    fprintf(stderr, "%sfirst token in about %.1f s", color ? "\x1b[2m" : "",
            estimate->prefill_seconds);
    if (estimate->thinking_tokens > 0)
        fprintf(stderr, ", then %d tokens of thinking and %d of answer", estimate->thinking_tokens,
                estimate->answer_tokens);
    else if (estimate->tokens_per_second > 0)
        fprintf(stderr, ", then %d tokens", estimate->answer_tokens);
    fprintf(stderr, "%s\n", color ? "\x1b[0m" : "");
}

static void take_event(struct answer *a, const struct moed_event *event)
{
    struct told *part = &a->parts[event->index]; /* the library has looked at it */
    bool has_output =
        event->text_bytes + event->thinking_bytes + event->n_tokens + event->n_calls > 0;
    if (has_output && a->first_token_seconds == 0)
        a->first_token_seconds = (double)(now_us() - a->start_us) / 1e6;
    if (has_output)
        bar_clear(&a->bar);
    if (event->progress && a->to_screen && !a->o->quiet && isatty(STDERR_FILENO))
        bar_reading(&a->bar, event->progress);
    if (event->estimate)
        take_estimate(a, event->estimate);
    if (event->model)
        snprintf(a->model, sizeof a->model, "%s", event->model);
    text_add(&part->text, event->text, event->text_bytes);
    text_add(&part->thinking, event->thinking, event->thinking_bytes);
    if (a->keep_tokens || a->keep_ids)
        keep_ids(a, part, event);
    if (a->keep_tokens)
        keep_tokens(a, part, event);
    if (shows_as_it_comes(a)) {
        show_thinking(a, event->thinking, event->thinking_bytes);
        show_text(a, event->text, event->text_bytes);
    }
    for (size_t i = 0; i < event->n_calls; i++)
        take_call(a, part, event->calls[i]);
    if (event->finish == MOED_FINISH_NONE)
        return;
    take_end(a, part, event);
    a->session_revision = event->session_revision;
    snprintf(a->unkept, sizeof a->unkept, "%s", event->session_unkept ? event->session_unkept : "");
}

/* Of several one after the other, each behind a line that numbers it. */
static void show_parts(struct answer *a)
{
    for (int i = 0; i < a->n_parts; i++) {
        const struct told *part = &a->parts[i];
        if (part->finish == MOED_FINISH_NONE && part->text.n + part->thinking.n == 0)
            continue; /* it failed before it began */
        if (!a->ends_line)
            putchar('\n');
        printf("--- answer %d\n", i + 1);
        fflush(stdout);
        a->ends_line = true;
        show_thinking(a, part->thinking.data, part->thinking.n);
        show_text(a, part->text.data, part->text.n);
        for (size_t j = 0; j < part->n_calls; j++) {
            const struct call *call = &part->calls[j];
            if (!a->ends_line)
                show_text(a, "\n", 1);
            show_text(a, call->name, strlen(call->name));
            show_text(a, " ", 1);
            show_text(a, call->arguments.data, call->arguments.n);
            show_text(a, "\n", 1);
        }
        end_thinking(a);
    }
}

static void on_progress(struct moed_call *call, int result, void *arg)
{
    struct answer *a = arg;
    if (result > 0)
        take_event(a, moed_call_event(call));
    else
        a->result = moed_call_result(call, &a->error);
}

/* ---- running */
static void sleep_until_something(struct moed *moed, const sigset_t *mask)
{
    struct pollfd p = {.fd = moed_fd(moed), .events = moed_events(moed)};
    struct timespec left, *wait = NULL;
    uint64_t until = moed_timeout(moed), now = now_us();
    if (until != UINT64_MAX) {
        uint64_t us = until > now ? until - now : 0;
        left = (struct timespec){.tv_sec = (time_t)(us / 1000000),
                                 .tv_nsec = (long)(us % 1000000) * 1000};
        wait = &left;
    }
    ppoll(&p, 1, wait, mask);
}

static void loop(struct moed *moed, struct moed_call *call, struct answer *a, const sigset_t *mask)
{
    while (!moed_call_is_done(call) && !interrupt_came())
        if (moed_dispatch(moed) == 0)
            sleep_until_something(moed, mask);
    if (moed_call_is_done(call))
        return;
    moed_call_cancel(call);
    a->is_interrupted = true;
    for (int i = 0; i < a->n_parts; i++)
        if (a->parts[i].finish == MOED_FINISH_NONE)
            a->parts[i].finish = MOED_FINISH_CANCELLED;
}

static int judge(struct answer *a)
{
    const struct options *o = a->o;
    if (a->is_interrupted)
        return EXIT_INTERRUPTED;
    if (a->result < 0)
        return link_failed(o, &a->error);
    for (int i = 0; i < a->n_parts; i++) {
        const struct told *part = &a->parts[i];
        if (part->finish == MOED_FINISH_ERROR)
            return link_error(o, "the generation failed: %s", part->reason);
        if (part->finish == MOED_FINISH_DRAINING)
            return link_error(o, "the daemon is going down and ended the generation");
        if (part->finish == MOED_FINISH_CANCELLED)
            return link_error(o, "the generation was cancelled");
    }
    if (a->is_broken)
        return link_error(o, "the daemon's answer holds a piece of a call that never began");
    return EXIT_DONE;
}

static void make_parts(struct answer *a)
{
    a->n_parts = a->o->n_answers > 1 ? a->o->n_answers : 1;
    a->parts = calloc((size_t)a->n_parts, sizeof *a->parts);
    if (!a->parts)
        abort();
    for (int i = 0; i < a->n_parts; i++) {
        a->parts[i].ids = json_array();
        a->parts[i].tokens = json_array();
    }
}

int answer_run(struct moed *moed, const struct moed_request *request, struct answer *a)
{
    a->error = (struct moed_error)MOED_ERROR_INIT;
    a->start_us = now_us();
    a->ends_line = true;
    make_parts(a);
    a->prompt = json_array();
    a->prompt_logprobs = json_array();
    struct moed_call *started = NULL;
    if (moed_generate(moed, request, &started, &a->error) < 0)
        return link_failed(a->o, &a->error);
    OWN(moed_call) *call = started;
    moed_call_on(call, on_progress, a);
    struct interrupt interrupt;
    interrupt_catch(&interrupt);
    loop(moed, call, a, &interrupt.open);
    interrupt_release(&interrupt);
    bar_clear(&a->bar);
    if (shows_as_it_comes(a))
        end_thinking(a);
    else if (a->to_screen)
        show_parts(a);
    return judge(a);
}

static void part_fini(struct told *part)
{
    free(part->text.data);
    free(part->thinking.data);
    for (size_t i = 0; i < part->n_calls; i++) {
        free(part->calls[i].id);
        free(part->calls[i].name);
        free(part->calls[i].arguments.data);
    }
    free(part->calls);
    json_decref(part->ids);
    json_decref(part->tokens);
    json_decref(part->receipt);
}

void answer_fini(struct answer *a)
{
    for (int i = 0; i < a->n_parts; i++)
        part_fini(&a->parts[i]);
    free(a->parts);
    json_decref(a->prompt);
    json_decref(a->prompt_logprobs);
    *a = (struct answer){0};
}

/* ---- figures */
/* The first token comes out of the prefill: decoding is what came after it. */
double answer_decode_rate(const struct moed_usage *u)
{
    return u->completion_tokens > 1 && u->decode_seconds > 0
               ? (u->completion_tokens - 1) / u->decode_seconds
               : 0;
}

double answer_prefill_rate(const struct moed_usage *u)
{
    int n = u->prompt_tokens - u->cached_tokens;
    return n > 0 && u->prefill_seconds > 0 ? n / u->prefill_seconds : 0;
}

void answer_print_figures(const struct answer *a)
{
    const struct moed_usage *u = &a->usage;
    const struct told *first = &a->parts[0];
    if (a->o->quiet || !a->has_usage)
        return;
    bool color = screen_has_color(a->o, stderr);
    fprintf(stderr, "%s%d prompt tokens", color ? "\x1b[2m" : "", u->prompt_tokens);
    if (u->cached_tokens > 0)
        fprintf(stderr, " (%d known)", u->cached_tokens);
    fprintf(stderr, ", first token after %.3f s", a->first_token_seconds);
    if (answer_prefill_rate(u) > 0)
        fprintf(stderr, ", prefill %.1f tokens/s", answer_prefill_rate(u));
    fprintf(stderr, ", %d tokens", u->completion_tokens);
    if (u->thinking_tokens > 0)
        fprintf(stderr, " (%d of thinking%s)", u->thinking_tokens,
                first->thinking_cut == MOED_THINKING_UNCUT ? "" : ", cut");
    if (answer_decode_rate(u) > 0)
        fprintf(stderr, ", decode %.1f tokens/s", answer_decode_rate(u));
    if (a->n_parts == 1 && first->finish != MOED_FINISH_STOP &&
        first->finish != MOED_FINISH_TOOL_CALLS)
        fprintf(stderr, ", ended by %s", moed_finish_name(first->finish));
    if (*a->unkept)
        fputs(", not on the disk", stderr);
    fprintf(stderr, "%s\n", color ? "\x1b[0m" : "");
}
