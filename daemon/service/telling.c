/* SPDX-License-Identifier: MIT */
#include "service/telling.h"

#include <stdlib.h>

#include "service/call.h"
#include "service/generation_parts.h"
#include "service/hub.h"
#include "service/turn.h"

static void describe_stream(struct generation *g, Moed__V1__GenerateEvent *ev)
{
    ev->has_generation_id = true;
    ev->generation_id = (ProtobufCBinaryData){sizeof g->id, g->id};
    ev->model = g->model;
    ev->prompt = g->prompt;
    ev->n_prompt = g->prompt ? (size_t)g->n_prompt : 0;
}

Moed__V1__Finish telling_finish(const struct generation *g, const struct voice *a)
{
    bool is_stopped = a->done.finish == ENGINE_CANCELLED && g->stop_code;
    return is_stopped ? g->stop_finish : voice_finish(a);
}

char *telling_stop(const struct generation *g, const struct voice *a)
{
    const struct engine_event *done = &a->done;
    bool is_one = done->finish == ENGINE_STOP && done->stop_index >= 0;
    return is_one && done->stop_index < g->n_stops ? g->stops[done->stop_index] : NULL;
}

/* Of an answer's last event. */
static void describe_end(struct generation *g, struct voice *a, Moed__V1__GenerateEvent *ev,
                         Moed__V1__Receipt *receipt)
{
    voice_fill_end(a, ev, receipt);
    ev->finish = telling_finish(g, a);
    ev->stop = telling_stop(g, a);
    if (!g->turn)
        return;
    ev->has_session_revision = true;
    ev->session_revision = turn_revision(g->turn);
    ev->session_unkept = (char *)turn_unkept(g->turn);
}

/* The prompt is the first answer's: the others knew it. Seconds are those of all together. */
static void count(const struct generation *g, Moed__V1__Usage *usage)
{
    const struct engine_event *first = &g->voice[0].done;
    uint64_t decode_ns = first->decode_ns;
    usage->has_prompt_tokens = usage->has_cached_tokens = usage->has_completion_tokens = true;
    usage->has_thinking_tokens = true;
    usage->prompt_tokens = first->n_prompt;
    usage->cached_tokens = first->n_cached;
    for (int i = 0; i < g->n_answers; i++) {
        const struct engine_event *done = &g->voice[i].done;
        uint64_t ns = done->queue_ns + done->prefill_ns + done->decode_ns;
        usage->completion_tokens += done->n_tokens;
        usage->thinking_tokens += done->n_thinking;
        if (i > 0 && ns > decode_ns) /* it began when the first had its first token */
            decode_ns = ns;
    }
    usage->has_queue_seconds = usage->has_prefill_seconds = usage->has_decode_seconds = true;
    usage->queue_seconds = (double)first->queue_ns * 1e-9;
    usage->prefill_seconds = (double)first->prefill_ns * 1e-9;
    usage->decode_seconds = (double)decode_ns * 1e-9;
}

static void describe_reading(struct generation *g, Moed__V1__Progress *ret)
{
    moed__v1__progress__init(ret);
    ret->has_tokens_done = ret->has_tokens_all = ret->has_seconds_left = true;
    ret->tokens_done = g->n_read;
    ret->tokens_all = g->n_prompt;
    ret->seconds_left = (double)g->left_ns * 1e-9;
}

void telling_event(struct generation *g, struct voice *a, bool is_end)
{
    Moed__V1__GenerateEvent ev = MOED__V1__GENERATE_EVENT__INIT;
    Moed__V1__Usage usage = MOED__V1__USAGE__INIT;
    Moed__V1__Estimate estimate;
    Moed__V1__Receipt receipt;
    Moed__V1__Progress progress;
    ev.has_seq = true;
    ev.seq = g->seq++;
    ev.has_index = g->n_asked > 1;
    ev.index = a->index > 0 ? a->index : 0;
    if (!g->is_started)
        describe_stream(g, &ev);
    if (g->is_reading) {
        describe_reading(g, &progress);
        ev.progress = &progress;
        g->is_reading = false;
    }
    voice_fill(a, &ev, &estimate);
    if (is_end) {
        describe_end(g, a, &ev, &receipt);
        a->is_told = true;
        if (++g->n_told == g->n_asked) {
            count(g, &usage);
            ev.usage = &usage;
        }
    }
    call_event(g->call, &ev.base, &a->tokens);
    hub_count(g->hub, COUNTER_EVENTS);
    g->hub->counters[COUNTER_TOKENS] += (uint64_t)a->n_waiting;
    voice_sent(a);
    g->is_started = true;
    free(g->prompt);
    g->prompt = NULL;
}

void telling_end(struct generation *g)
{
    const struct voice *failed = NULL, *cancelled = NULL, *refused = NULL;
    for (int i = 0; i < g->n_answers; i++) {
        const struct voice *a = &g->voice[i];
        if (a->index < 0)
            continue; /* not chosen */
        if (a->done.finish == ENGINE_ERROR && !failed)
            failed = a;
        if (a->done.finish == ENGINE_CANCELLED)
            cancelled = a;
        if (a->done.finish == ENGINE_REFUSED)
            refused = a;
    }
    if (failed)
        call_fail(g->call, TTRPC_INTERNAL, "%s", failed->done.text);
    else if (cancelled)
        call_fail(g->call, g->stop_code ? g->stop_code : TTRPC_CANCELLED, "%s",
                  g->stop_words ? g->stop_words : "cancelled");
    else if (refused)
        call_refuse(g->call, refused->done.left_ns, "%s", refused->done.text);
    else
        call_finish(g->call);
}
