/* SPDX-License-Identifier: MIT
 *
 * Messages of a call. A generation's events must come without gaps: `seq` counts them, and the
 * last one states a hash of everything before it, so that lost text can't pass for an answer.
 */
#include "lib/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "moed/v1/engine.pb-c.h"
#include "ttrpc.h"

struct message {
    struct message *next;
    ProtobufCMessage *decoded; /* NULL: raw */
    size_t n;                  /* bytes on the wire */
    uint8_t raw[];
};

/* What has been told of one answer, with the XXH3-64 of all its thinking, then all its text. They
 * come interleaved only where a model thinks again after it began to answer; the sum over both is
 * then out of reach of one pass. */
struct told {
    XXH3_state_t *state;
    bool has_text, is_mixed, finished;
    int32_t next_index;
};

static void message_free(struct message *m)
{
    if (!m)
        return;
    if (m->decoded)
        protobuf_c_message_free_unpacked(m->decoded, NULL);
    free(m);
}
OWN_DEFINE(message, message_free);

struct moed_call *call_new(void)
{
    struct moed_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->deadline = UINT64_MAX;
    call->n_answers = 1;
    call->error = (struct moed_error)MOED_ERROR_INIT;
    return call;
}

void call_free(struct moed_call *call)
{
    if (!call)
        return;
    view_fini(&call->view);
    message_free(call->current);
    while (call->first) {
        struct message *next = call->first->next;
        message_free(call->first);
        call->first = next;
    }
    for (int i = 0; call->told && i < call->n_answers; i++)
        XXH3_freeState(call->told[i].state);
    free(call->told);
    free(call);
}

/* ---- generations */
static int begin_answers(struct moed_call *call)
{
    call->told = calloc((size_t)call->n_answers, sizeof *call->told);
    for (int i = 0; call->told && i < call->n_answers; i++) {
        call->told[i].state = XXH3_createState();
        if (!call->told[i].state)
            return -ENOMEM;
        XXH3_64bits_reset(call->told[i].state);
    }
    return call->told ? 0 : -ENOMEM;
}

static void add_text(struct told *t, const char *thinking, const char *text)
{
    size_t n_thinking = thinking ? strlen(thinking) : 0, n_text = text ? strlen(text) : 0;
    if (n_thinking > 0 && t->has_text)
        t->is_mixed = true;
    if (n_thinking > 0)
        XXH3_64bits_update(t->state, thinking, n_thinking);
    if (n_text > 0)
        XXH3_64bits_update(t->state, text, n_text);
    t->has_text |= n_text > 0;
}

static int lost(struct moed_error *error, const char *what, unsigned long long found,
                unsigned long long expected)
{
    return error_set(error, -EBADMSG, MOED_DATA_LOSS,
                     "part of the answer is missing: %s is %llu, expected %llu", what, found,
                     expected);
}

static int take_part(struct moed_call *call, struct told *t, const Moed__V1__GenerateEvent *event,
                     struct moed_error *error)
{
    if (t->finished)
        return error_set(error, -EBADMSG, MOED_INTERNAL, "an event after the last one");
    if (event->n_tokens > 0 && event->has_first_index && event->first_index != t->next_index)
        return lost(error, "first_index", (unsigned)event->first_index, (unsigned)t->next_index);
    add_text(t, event->thinking, event->text);
    t->next_index += (int32_t)event->n_tokens;
    t->finished = event->finish != MOED__V1__FINISH__FINISH_NONE;
    call->n_finished += t->finished;
    if (t->finished && event->has_text_hash && !t->is_mixed) {
        unsigned long long sum = XXH3_64bits_digest(t->state);
        if (sum != event->text_hash)
            return lost(error, "the hash of its text", sum, event->text_hash);
    }
    return 0;
}

static int take_event(struct moed_call *call, const Moed__V1__GenerateEvent *event,
                      struct moed_error *error)
{
    if (event->index < 0 || event->index >= call->n_answers)
        return error_set(error, -EBADMSG, MOED_INTERNAL, "an event of answer %d, of %d",
                         event->index, call->n_answers);
    if (event->seq != call->next_seq)
        return lost(error, "seq", event->seq, call->next_seq);
    if (event->has_generation_id && event->generation_id.len == sizeof call->id) {
        memcpy(call->id, event->generation_id.data, sizeof call->id);
        call->has_id = true;
    }
    if (!call->told && begin_answers(call) < 0)
        return error_set(error, -ENOMEM, MOED_RESOURCE_EXHAUSTED, "no memory for an event");
    call->next_seq++;
    return take_part(call, &call->told[event->index], event, error);
}

bool call_is_finished(const struct moed_call *call)
{
    return call->n_finished == call->n_answers;
}

int call_check_end(const struct moed_call *call, struct moed_error *error)
{
    if (!call->is_generation || call_is_finished(call))
        return 0;
    return error_set(error, -EBADMSG, MOED_DATA_LOSS,
                     "part of the answer is missing: the stream ended after %llu events without "
                     "the last one",
                     (unsigned long long)call->next_seq);
}

/* ---- messages */
static struct message *message_new(const struct moed_call *call, const uint8_t *bytes, size_t n,
                                   struct moed_error *error)
{
    OWN(message) *m = calloc(1, sizeof *m + (call->answer ? 0 : n + 1));
    if (!m) {
        error_set(error, -ENOMEM, MOED_RESOURCE_EXHAUSTED, "no memory for a message");
        return NULL;
    }
    m->n = n;
    if (!call->answer) {
        if (n > 0)
            memcpy(m->raw, bytes, n);
        return TAKE(m);
    }
    char words[TTRPC_WORDS] = "";
    m->decoded = ttrpc_unpack(call->answer, bytes, n, words);
    if (!m->decoded) {
        error_set(error, -EBADMSG, MOED_INTERNAL, "the daemon sent a broken %s: %s",
                  call->answer->short_name, words);
        return NULL;
    }
    return TAKE(m);
}

int call_take(struct moed_call *call, const uint8_t *bytes, size_t n, struct moed_error *error)
{
    struct moed_error why = MOED_ERROR_INIT;
    OWN(message) *m = message_new(call, bytes, n, &why);
    if (!m)
        return error_give(&why, error);
    if (call->is_generation && m->decoded) {
        int r = take_event(call, (const Moed__V1__GenerateEvent *)(const void *)m->decoded, error);
        if (r < 0)
            return r;
    }
    call->queued_bytes += m->n;
    if (call->last)
        call->last->next = m;
    else
        call->first = m;
    call->last = TAKE(m);
    return 0;
}

int call_show_next(struct moed_call *call)
{
    struct message *m = call->first;
    if (!m)
        return 0;
    call->first = m->next;
    if (!call->first)
        call->last = NULL;
    call->queued_bytes -= m->n;
    view_fini(&call->view);
    message_free(call->current);
    call->current = m;
    if (!m->decoded) {
        call->view.bytes = m->raw;
        call->view.n_bytes = m->n;
        return 1;
    }
    int r = view_build(&call->view, m->decoded, call->has_id ? call->id : NULL);
    if (r < 0)
        return r;
    return 1;
}

/* ---- views */
const struct moed_event *moed_call_event(const struct moed_call *call)
{
    return call->view.event;
}

size_t moed_call_n_models(const struct moed_call *call)
{
    return call->view.n_models;
}

const struct moed_model *moed_call_model(const struct moed_call *call, size_t i)
{
    return i < call->view.n_models ? call->view.models[i] : NULL;
}

const struct moed_pressure *moed_call_pressure(const struct moed_call *call)
{
    return call->view.pressure;
}

bool moed_call_draining(const struct moed_call *call)
{
    return call->view.draining;
}

bool moed_call_metadata(const struct moed_call *call, size_t i, const char **key,
                        const char **value)
{
    const Moed__V1__ShowResponse *shown = (const void *)call->view.shown;
    if (!shown || i >= shown->n_metadata)
        return false;
    *key = shown->metadata[i]->key ? shown->metadata[i]->key : "";
    *value = shown->metadata[i]->value ? shown->metadata[i]->value : "";
    return true;
}

const struct moed_reloaded *moed_call_reloaded(const struct moed_call *call)
{
    return call->view.reloaded;
}

const struct moed_hello_info *moed_call_hello(const struct moed_call *call)
{
    return call->view.hello;
}

const struct moed_stats_info *moed_call_stats(const struct moed_call *call)
{
    return call->view.stats;
}

const int32_t *moed_call_ids(const struct moed_call *call, size_t *n)
{
    *n = call->view.n_ids;
    return call->view.ids;
}

const float *moed_call_values(const struct moed_call *call, size_t *n)
{
    *n = call->view.n_values;
    return call->view.values;
}

const char *moed_call_text(const struct moed_call *call, size_t *bytes)
{
    *bytes = call->view.text ? strlen(call->view.text) : 0;
    return call->view.text;
}

const void *moed_call_bytes(const struct moed_call *call, size_t *bytes)
{
    *bytes = call->view.n_bytes;
    return call->view.bytes;
}

bool moed_call_found(const struct moed_call *call)
{
    return call->view.found;
}

size_t moed_call_n_sessions(const struct moed_call *call)
{
    return call->view.n_sessions;
}

const struct moed_session *moed_call_session(const struct moed_call *call, size_t i)
{
    return i < call->view.n_sessions ? call->view.sessions[i] : NULL;
}

size_t moed_call_n_messages(const struct moed_call *call)
{
    return call->view.n_messages;
}

const struct moed_message *moed_call_message(const struct moed_call *call, size_t i)
{
    return i < call->view.n_messages ? call->view.messages[i] : NULL;
}

uint32_t moed_call_next_message(const struct moed_call *call)
{
    return call->view.next_message;
}

const char *moed_finish_name(enum moed_finish finish)
{
    static const char *const names[] = {"none",     "stop",       "length",  "cancelled", "error",
                                        "draining", "tool_calls", "refused", "time"};
    return (unsigned)finish < sizeof names / sizeof *names ? names[finish] : "unknown";
}

const char *moed_thinking_cut_name(enum moed_thinking_cut cut)
{
    static const char *const names[] = {"none", "soft", "hard", "time"};
    return (unsigned)cut < sizeof names / sizeof *names ? names[cut] : "unknown";
}

const char *moed_rung_name(enum moed_rung rung)
{
    static const char *const names[] = {"calm", "scratch", "park", "drop", "refuse"};
    return (unsigned)rung < sizeof names / sizeof *names ? names[rung] : "unknown";
}

const char *moed_class_name(enum moed_class value)
{
    static const char *const names[] = {"interactive", "batch", "background"};
    return (unsigned)value < sizeof names / sizeof *names ? names[value] : "unknown";
}

const char *moed_model_state_name(enum moed_model_state state)
{
    static const char *const names[] = {"unloaded", "loading", "ready",
                                        "text",     "failed",  "unloading"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}
