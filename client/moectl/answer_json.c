/* SPDX-License-Identifier: MIT
 *
 * A generation that has ended as one JSON object. One thread.
 */
#include <math.h>

#include "moectl/answer.h"
#include "moectl/screen.h"

static json_t *usage_json(const struct answer *a)
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
    json_object_set_new(usage, "prefill_tokens_per_second",
                        screen_json_real(answer_prefill_rate(u)));
    json_object_set_new(usage, "decode_tokens_per_second", screen_json_real(answer_decode_rate(u)));
    return usage;
}

static json_t *estimate_json(const struct moed_estimate *e)
{
    json_t *object = json_object();
    json_object_set_new(object, "prefill_seconds", screen_json_real(e->prefill_seconds));
    json_object_set_new(object, "tokens_per_second", screen_json_real(e->tokens_per_second));
    json_object_set_new(object, "thinking_tokens", json_integer(e->thinking_tokens));
    json_object_set_new(object, "answer_tokens", json_integer(e->answer_tokens));
    return object;
}

static json_t *calls_json(const struct told *a)
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

/* What is said of each answer alone, behind its text or its tokens. */
static void set_end(json_t *object, const struct told *part)
{
    json_object_set_new(object, "finish_reason", screen_json_word(moed_finish_name(part->finish)));
    if (part->finish != MOED_FINISH_NONE && isfinite(part->mean_logprob))
        json_object_set_new(object, "mean_logprob", screen_json_real(part->mean_logprob));
}

static void set_receipt(json_t *object, const struct told *part)
{
    if (part->receipt)
        json_object_set(object, "receipt", part->receipt);
    else
        json_object_set_new(object, "receipt", json_null());
}

static void set_text(json_t *object, const struct told *part)
{
    const struct text *text = &part->text, *thinking = &part->thinking;
    json_object_set_new(object, "text", screen_json_text(text->n ? text->data : "", text->n));
    json_object_set_new(object, "thinking",
                        screen_json_text(thinking->n ? thinking->data : "", thinking->n));
    json_object_set_new(object, "thinking_cut",
                        screen_json_word(moed_thinking_cut_name(part->thinking_cut)));
    if (part->n_calls > 0)
        json_object_set_new(object, "calls", calls_json(part));
}

static void set_tokens(json_t *object, const struct told *part)
{
    json_object_set(object, "tokens", part->tokens);
}

/* One answer is told in the object itself. */
static void set_parts(json_t *object, const struct answer *a,
                      void (*set)(json_t *object, const struct told *part))
{
    json_t *list = json_array();
    for (int i = 0; i < a->n_parts; i++) {
        json_t *one = a->n_parts > 1 ? json_object() : json_incref(object);
        set(one, &a->parts[i]);
        set_end(one, &a->parts[i]);
        if (a->n_parts > 1) {
            set_receipt(one, &a->parts[i]);
            json_array_append(list, one);
        }
        json_decref(one);
    }
    if (a->n_parts > 1)
        json_object_set(object, "answers", list);
    json_decref(list);
    if (a->has_estimate)
        json_object_set_new(object, "estimate", estimate_json(&a->estimate));
    json_object_set_new(object, "usage", usage_json(a));
    if (a->n_parts == 1)
        set_receipt(object, &a->parts[0]);
    if (a->session_revision > 0)
        json_object_set_new(object, "session",
                            json_pack("{s:o,s:I,s:o}", "name", screen_json_word(a->o->session),
                                      "revision", (json_int_t)a->session_revision, "unkept",
                                      *a->unkept ? screen_json_word(a->unkept) : json_null()));
}

json_t *answer_json(const struct answer *a)
{
    json_t *object = json_object();
    json_object_set_new(object, "model", screen_json_word(a->model));
    set_parts(object, a, set_text);
    return object;
}

json_t *answer_json_raw(const struct answer *a)
{
    json_t *object = json_object();
    json_object_set(object, "prompt_tokens", a->prompt);
    if (a->o->prompt_logprobs)
        json_object_set(object, "prompt_logprobs", a->prompt_logprobs);
    set_parts(object, a, set_tokens);
    return object;
}
