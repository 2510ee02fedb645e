/* SPDX-License-Identifier: MIT */
#include "engine/news.h"

#include <stdatomic.h>
#include <stdio.h>

#include "engine/outbox.h"
#include "engine/seq.h"
#include "engine/slots.h"

enum { READING_NS = 250000000 }; /* from one event to the next */

#define SHOW(slots, seq, field, value)                                                             \
    atomic_store_explicit(&slots_of(slots, (seq)->call)->field, value, memory_order_relaxed)

void news_begun(const struct slots *slots, const struct seq *seq)
{
    SHOW(slots, seq, begun_ns, seq->started_ns);
}

void news_known(const struct slots *slots, struct outbox *outbox, const struct seq *seq)
{
    struct engine_event event = {.call = seq->call, .kind = ENGINE_KNOWN};
    SHOW(slots, seq, n_cached, seq->n_known);
    for (int at = 0; at < seq->n_known;) {
        int run = view_run(&seq->view, at, seq->n_known);
        at += run;
        event.run[event.n_runs++] = run;
        if (event.n_runs < ENGINE_RUNS && at < seq->n_known)
            continue;
        outbox_push(outbox, &event);
        event.n_runs = 0;
    }
}

void news_reading(const struct slots *slots, struct outbox *outbox, struct seq *seq,
                  uint64_t now_ns)
{
    int n_read = seq->n_cached - seq->n_known, left = seq->request->n_prompt - seq->n_cached;
    SHOW(slots, seq, n_read, n_read);
    if (left == 0 || now_ns - seq->told_ns < READING_NS)
        return;
    seq->told_ns = now_ns;
    struct engine_event event = {
        .call = seq->call,
        .kind = ENGINE_READING,
        .n_prompt = seq->request->n_prompt,
        .n_cached = seq->n_cached,
        .left_ns = (uint64_t)((double)(now_ns - seq->started_ns) / n_read * left),
    };
    outbox_push(outbox, &event);
}

void news_writing(const struct slots *slots, const struct seq *seq)
{
    SHOW(slots, seq, first_ns, seq->first_token_ns);
}

void news_end(struct outbox *outbox, struct seq *seq, enum engine_finish how, const char *reason,
              uint64_t retry_ns, uint64_t now_ns)
{
    const char *text;
    size_t bytes;
    detok_finish(&seq->detok, &text, &bytes);
    if (bytes)
        outbox_push_text(outbox, &(struct engine_event){.call = seq->call, .kind = ENGINE_MORE},
                         text, bytes);
    uint64_t started = seq->started_ns ? seq->started_ns : now_ns;
    uint64_t first = seq->first_token_ns ? seq->first_token_ns : now_ns;
    struct engine_event event = {
        .call = seq->call,
        .kind = ENGINE_DONE,
        .finish = how,
        .stop_index = seq->detok.stopped ? seq->detok.stop : -1,
        .n_prompt = seq->request->n_prompt,
        .n_cached = seq->is_away ? 0 : seq->n_known,
        .n_tokens = seq_n_generated(seq),
        .n_thinking = seq->think.n,
        .cut = seq->think.cut,
        .queue_ns = started - seq->task.added_ns,
        .prefill_ns = first - started,
        .decode_ns = now_ns - first,
        .left_ns = how == ENGINE_REFUSED ? retry_ns : 0,
        .care_bytes = seq->park.bytes,
        .care_code = seq->park.code,
    };
    if (reason)
        event.n_text = (uint16_t)snprintf(event.text, sizeof event.text, "%s", reason);
    outbox_push(outbox, &event);
}

void news_no_memory(struct outbox *outbox, uint64_t call, int n_prompt)
{
    struct engine_event event = {
        .call = call,
        .kind = ENGINE_DONE,
        .finish = ENGINE_ERROR,
        .stop_index = -1,
        .n_prompt = n_prompt,
    };
    event.n_text = (uint16_t)snprintf(event.text, sizeof event.text, "no memory for the sequence");
    outbox_push(outbox, &event);
}
