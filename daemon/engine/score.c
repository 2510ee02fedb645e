/* SPDX-License-Identifier: MIT */
#include "engine/score.h"

#include "engine/engine.h"

void score(const float *logits, int n, double log_sum, int top, struct engine_event *event)
{
    int32_t ids[ENGINE_MAX_TOP];
    event->logprob = (float)((double)logits[event->id] - log_sum);
    event->n_top = (uint16_t)sample_top(logits, n, top, ids);
    for (int i = 0; i < event->n_top; i++) {
        event->top[i].id = ids[i];
        event->top[i].logprob = (float)((double)logits[ids[i]] - log_sum);
    }
}
