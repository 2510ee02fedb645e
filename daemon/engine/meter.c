/* SPDX-License-Identifier: MIT */
#include "engine/meter.h"

#include "engine/seq.h"

const struct meter_text meter_table[N_METERS] = {
#define METER(id, name, unit, scale, help) [METER_##id] = {name, unit, help},
#include "engine/meters.def"
#undef METER
};

void meters_init(struct meters *meters)
{
#define METER(id, name, unit, scale, help) histogram_init(&meters->histogram[METER_##id], &(scale));
#include "engine/meters.def"
#undef METER
}

static void add_ns(struct meters *meters, enum meter_id id, uint64_t ns)
{
    histogram_add(&meters->histogram[id], (double)ns * 1e-9);
}

void meters_token(struct meters *meters, struct seq *seq, uint64_t now_ns)
{
    if (seq->first_token_ns) {
        add_ns(meters, METER_NEXT_TOKEN, now_ns - seq->last_token_ns);
    } else {
        seq->first_token_ns = now_ns;
        add_ns(meters, METER_FIRST_TOKEN, now_ns - seq->task.added_ns);
        add_ns(meters, METER_QUEUE, seq->started_ns - seq->task.added_ns);
        histogram_add(&meters->histogram[METER_CACHED],
                      (double)seq->n_known / seq->request->n_prompt);
    }
    seq->last_token_ns = now_ns;
}
