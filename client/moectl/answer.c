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
static struct call *find_call(struct answer *a, const struct moed_call_delta *delta)
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

static void keep_ids(struct answer *a, const struct moed_event *event)
{
    for (size_t i = 0; i < event->n_prompt; i++)
        json_array_append_new(a->prompt, json_integer(event->prompt[i]));
    for (size_t i = 0; i < event->n_tokens; i++)
        json_array_append_new(a->ids, json_integer(event->tokens[i]->id));
}

static void keep_tokens(struct answer *a, const struct moed_event *event)
{
    for (size_t i = 0; i < event->n_prompt_tokens; i++)
        json_array_append_new(a->prompt_logprobs,
                              token_json(event->prompt_tokens[i], a->o->has_top));
    for (size_t i = 0; i < event->n_tokens; i++)
        json_array_append_new(a->tokens, token_json(event->tokens[i], a->o->has_top));
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

static void take_call(struct answer *a, const struct moed_call_delta *delta)
{
    struct call *call = find_call(a, delta);
    if (!call) {
        a->is_broken = true;
        return;
    }
    text_add(&call->arguments, delta->arguments, strlen(delta->arguments));
    if (a->to_screen)
        show_call(a, delta);
}

static void take_event(struct answer *a, const struct moed_event *event)
{
    bool has_output =
        event->text_bytes + event->thinking_bytes + event->n_tokens + event->n_calls > 0;
    if (has_output && a->first_token_seconds == 0)
        a->first_token_seconds = (double)(now_us() - a->start_us) / 1e6;
    if (event->model)
        snprintf(a->model, sizeof a->model, "%s", event->model);
    text_add(&a->text, event->text, event->text_bytes);
    text_add(&a->thinking, event->thinking, event->thinking_bytes);
    if (a->keep_tokens || a->keep_ids)
        keep_ids(a, event);
    if (a->keep_tokens)
        keep_tokens(a, event);
    if (a->to_screen) {
        show_thinking(a, event->thinking, event->thinking_bytes);
        show_text(a, event->text, event->text_bytes);
    }
    for (size_t i = 0; i < event->n_calls; i++)
        take_call(a, event->calls[i]);
    if (event->finish == MOED_FINISH_NONE)
        return;
    a->finish = event->finish;
    a->thinking_cut = event->thinking_cut;
    a->text_hash = event->text_hash;
    snprintf(a->reason, sizeof a->reason, "%s", event->error ? event->error : "");
    if (event->usage) {
        a->usage = *event->usage;
        a->has_usage = true;
    }
    if (event->receipt && !a->receipt)
        a->receipt = receipt_json(event->receipt);
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
    a->finish = MOED_FINISH_CANCELLED;
}

static int judge(struct answer *a)
{
    const struct options *o = a->o;
    if (a->is_interrupted)
        return EXIT_INTERRUPTED;
    if (a->result < 0)
        return link_failed(o, &a->error);
    if (a->finish == MOED_FINISH_ERROR)
        return link_error(o, "the generation failed: %s", a->reason);
    if (a->finish == MOED_FINISH_DRAINING)
        return link_error(o, "the daemon is going down and ended the generation");
    if (a->finish == MOED_FINISH_CANCELLED)
        return link_error(o, "the generation was cancelled");
    if (a->is_broken)
        return link_error(o, "the daemon's answer holds a piece of a call that never began");
    return EXIT_DONE;
}

int answer_run(struct moed *moed, const struct moed_request *request, struct answer *a)
{
    a->error = (struct moed_error)MOED_ERROR_INIT;
    a->start_us = now_us();
    a->ends_line = true;
    a->prompt = json_array();
    a->ids = json_array();
    a->tokens = json_array();
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
    if (a->to_screen)
        end_thinking(a);
    return judge(a);
}

void answer_fini(struct answer *a)
{
    free(a->text.data);
    free(a->thinking.data);
    for (size_t i = 0; i < a->n_calls; i++) {
        free(a->calls[i].id);
        free(a->calls[i].name);
        free(a->calls[i].arguments.data);
    }
    free(a->calls);
    json_decref(a->prompt);
    json_decref(a->ids);
    json_decref(a->tokens);
    json_decref(a->prompt_logprobs);
    json_decref(a->receipt);
    *a = (struct answer){0};
}

/* ---- figures */
/* The first token comes out of the prefill: decoding is what came after it. */
static double decode_rate(const struct moed_usage *u)
{
    return u->completion_tokens > 1 && u->decode_seconds > 0
               ? (u->completion_tokens - 1) / u->decode_seconds
               : 0;
}

static double prefill_rate(const struct moed_usage *u)
{
    int n = u->prompt_tokens - u->cached_tokens;
    return n > 0 && u->prefill_seconds > 0 ? n / u->prefill_seconds : 0;
}

void answer_print_figures(const struct answer *a)
{
    const struct moed_usage *u = &a->usage;
    if (a->o->quiet || !a->has_usage)
        return;
    bool color = screen_has_color(a->o, stderr);
    fprintf(stderr, "%s%d prompt tokens", color ? "\x1b[2m" : "", u->prompt_tokens);
    if (u->cached_tokens > 0)
        fprintf(stderr, " (%d known)", u->cached_tokens);
    fprintf(stderr, ", first token after %.3f s", a->first_token_seconds);
    if (prefill_rate(u) > 0)
        fprintf(stderr, ", prefill %.1f tokens/s", prefill_rate(u));
    fprintf(stderr, ", %d tokens", u->completion_tokens);
    if (u->thinking_tokens > 0)
        fprintf(stderr, " (%d of thinking%s)", u->thinking_tokens,
                a->thinking_cut == MOED_THINKING_UNCUT ? "" : ", cut");
    if (decode_rate(u) > 0)
        fprintf(stderr, ", decode %.1f tokens/s", decode_rate(u));
    if (a->finish != MOED_FINISH_STOP && a->finish != MOED_FINISH_TOOL_CALLS)
        fprintf(stderr, ", ended by %s", moed_finish_name(a->finish));
    fprintf(stderr, "%s\n", color ? "\x1b[0m" : "");
}

json_t *answer_json_usage(const struct answer *a)
{
    const struct moed_usage *u = &a->usage;
    if (!a->has_usage)
        return json_null();
    json_t *usage = json_object();
    json_object_set_new(usage, "prompt_tokens", json_integer(u->prompt_tokens));
    json_object_set_new(usage, "cached_tokens", json_integer(u->cached_tokens));
    json_object_set_new(usage, "completion_tokens", json_integer(u->completion_tokens));
    json_object_set_new(usage, "thinking_tokens", json_integer(u->thinking_tokens));
    json_object_set_new(usage, "first_token_seconds", screen_json_real(a->first_token_seconds));
    json_object_set_new(usage, "queue_seconds", screen_json_real(u->queue_seconds));
    json_object_set_new(usage, "prefill_seconds", screen_json_real(u->prefill_seconds));
    json_object_set_new(usage, "decode_seconds", screen_json_real(u->decode_seconds));
    json_object_set_new(usage, "prefill_tokens_per_second", screen_json_real(prefill_rate(u)));
    json_object_set_new(usage, "decode_tokens_per_second", screen_json_real(decode_rate(u)));
    return usage;
}

json_t *answer_json_receipt(const struct answer *a)
{
    return a->receipt ? json_incref(a->receipt) : json_null();
}

static json_t *calls_json(const struct answer *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_calls; i++) {
        const struct call *call = &a->calls[i];
        const struct text *text = &call->arguments;
        json_t *object = json_object();
        json_object_set_new(object, "id", screen_json_word(call->id));
        json_object_set_new(object, "name", screen_json_word(call->name));
        json_object_set_new(object, "arguments",
                            screen_json_text(text->n ? text->data : "", text->n));
        json_array_append_new(list, object);
    }
    return list;
}

json_t *answer_json(const struct answer *a)
{
    json_t *object = json_object();
    json_object_set_new(object, "model", screen_json_word(a->model));
    json_object_set_new(object, "text", screen_json_text(a->text.n ? a->text.data : "", a->text.n));
    json_object_set_new(object, "thinking",
                        screen_json_text(a->thinking.n ? a->thinking.data : "", a->thinking.n));
    if (a->n_calls > 0)
        json_object_set_new(object, "calls", calls_json(a));
    json_object_set_new(object, "finish_reason", screen_json_word(moed_finish_name(a->finish)));
    json_object_set_new(object, "thinking_cut",
                        screen_json_word(moed_thinking_cut_name(a->thinking_cut)));
    json_object_set_new(object, "usage", answer_json_usage(a));
    json_object_set_new(object, "receipt", answer_json_receipt(a));
    return object;
}
