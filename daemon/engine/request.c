/* SPDX-License-Identifier: MIT */
#include "engine/request.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "text/detok.h"
#include "text/token.h"

struct engine_request *engine_request_new(void)
{
    struct engine_request *request = calloc(1, sizeof *request);
    if (request) {
        request->top_logprobs = -1;
        request->kept_bytes = request->disk_bytes = UINT64_MAX;
        sample_params_init(&request->sample);
    }
    return request;
}

void engine_request_free(struct engine_request *request)
{
    if (!request)
        return;
    for (int i = 0; i < request->n_stops; i++)
        free(request->stops[i]);
    free(request->stops);
    free(request->prompt);
    free(request->run);
    sample_params_fini(&request->sample);
    free(request);
}

static int check_runs(const struct engine_request *q, struct err *err)
{
    int64_t sum = 0;
    for (int i = 0; i < q->n_runs; i++) {
        if (q->run[i] < 1)
            return err_set(err, -EINVAL, "run %d of the prompt's rows has %d, expected at least 1",
                           i, q->run[i]);
        sum += q->run[i];
    }
    return sum > q->n_prompt
               ? err_set(err, -EINVAL, "the runs of the prompt's rows add up to %lld, it has %d",
                         (long long)sum, q->n_prompt)
               : 0;
}

int request_check(const struct engine_request *q, const struct vocab *vocab, int context,
                  struct err *err)
{
    if (q->n_prompt < 1)
        return err_set(err, -EINVAL, "the prompt is empty");
    if (q->top_logprobs < -1 || q->top_logprobs > ENGINE_MAX_TOP)
        return err_set(err, -EINVAL, "top_logprobs is %d, expected at most %d", q->top_logprobs,
                       ENGINE_MAX_TOP);
    if (q->n_prompt > context)
        return err_set(err, -E2BIG, "the prompt has %d tokens, the context holds %d", q->n_prompt,
                       context);
    if (q->care != CARE_NONE && !q->talk)
        return err_set(err, -EINVAL, "care is taken of a session's tokens, found none named");
    if (q->prompt_logprobs && q->n_prompt == context)
        return err_set(err, -E2BIG,
                       "the prompt has %d tokens, expected at most %d: prompt_logprobs come with a "
                       "token behind it, and the context holds %d",
                       q->n_prompt, context - 1, context);
    int32_t n_ids = vocab_size(vocab);
    for (int i = 0; i < q->n_prompt; i++)
        if (q->prompt[i] < 0 || q->prompt[i] >= n_ids)
            return err_set(err, -EINVAL, "token %d of the prompt is %d, expected 0 to %d", i,
                           q->prompt[i], n_ids - 1);
    const struct think_params *t = &q->think;
    if ((t->soft > 0 || t->hard > 0) && (t->close < 0 || t->close >= n_ids))
        return err_set(err, -EINVAL, "thinking is limited and closed by token %d, expected 0 to %d",
                       t->close, n_ids - 1);
    for (int i = 0; i < q->sample.n_bias; i++)
        if (q->sample.bias[i].id < 0 || q->sample.bias[i].id >= n_ids)
            return err_set(err, -EINVAL, "logit_bias names token %d, expected 0 to %d",
                           q->sample.bias[i].id, n_ids - 1);
    int runs = check_runs(q, err);
    if (runs < 0)
        return runs;
    struct detok trial; /* says which stop string is bad */
    int r = detok_init(&trial, vocab, false, (const char *const *)q->stops, q->n_stops, err);
    if (r == 0)
        detok_fini(&trial);
    return r;
}
