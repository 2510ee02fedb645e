/* SPDX-License-Identifier: MIT */
#include "engine/haste.h"

#include "engine/seq.h"
#include "engine/speed.h"

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

void haste_estimate(const struct seq *seq, const struct speed *speed, int rows, int answers,
                    uint64_t now_ns, struct engine_event *ret)
{
    const struct think_params *think = &seq->request->think;
    double token_ns = speed_token_ns(speed, answers);
    double prefill_ns = most(rows * speed_row_ns(speed), token_ns); /* a step at least */
    double left_ns = (double)seq->request->finish_by_ns - (double)now_ns - prefill_ns;
    *ret = (struct engine_event){.call = seq->call, .kind = ENGINE_ESTIMATE};
    ret->estimate.prefill_seconds = prefill_ns * 1e-9;
    if (token_ns <= 0)
        return;
    ret->estimate.tokens_per_second = 1e9 / token_ns;
    double tokens = left_ns > 0 ? least(left_ns / token_ns, seq->limit - seq->n_tokens) : 0;
    double thinking = think_is_on(&seq->think) ? tokens * think->percent / 100 : 0;
    if (think->hard > 0)
        thinking = least(thinking, think->hard);
    ret->estimate.thinking_tokens = (int)thinking;
    ret->estimate.answer_tokens = (int)(tokens - thinking);
}

void haste_begin(struct seq *seq, uint64_t now_ns)
{
    uint64_t until = seq->request->finish_by_ns;
    uint64_t percent = (uint64_t)seq->request->think.percent;
    if (until > now_ns && percent > 0)
        think_within(&seq->think, now_ns, now_ns + (until - now_ns) / 100 * percent);
}

bool haste_is_over(const struct seq *seq, uint64_t now_ns, double token_ns)
{
    uint64_t until = seq->request->finish_by_ns;
    return until > 0 && (double)now_ns + token_ns > (double)until;
}
