/* SPDX-License-Identifier: MIT
 *
 * What is told of a sequence beside its tokens: events, and how it stands for who looks at its
 * slot. On the engine's thread.
 */
#pragma once

#include <stdint.h>

#include "engine/engine.h"

struct outbox;
struct seq;
struct slots;

/* It has begun. */
void news_begun(const struct slots *slots, const struct seq *seq);
/* So much of its beginning is known, and how that came to be. */
void news_known(const struct slots *slots, struct outbox *outbox, const struct seq *seq);
/* More of its prompt is read: an event now and then. */
void news_reading(const struct slots *slots, struct outbox *outbox, struct seq *seq,
                  uint64_t now_ns);
/* It writes. */
void news_writing(const struct slots *slots, const struct seq *seq);
/* Its last event; `reason` may be NULL. `retry_ns`: of one refused. */
void news_end(struct outbox *outbox, struct seq *seq, enum engine_finish how, const char *reason,
              uint64_t retry_ns, uint64_t now_ns);
/* The last event of a request that became no sequence. */
void news_no_memory(struct outbox *outbox, uint64_t call, int n_prompt);
