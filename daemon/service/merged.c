/* SPDX-License-Identifier: MIT */
#include "service/merged.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void merged_fini(struct merged *m)
{
    for (int i = 0; i < m->n_parts; i++)
        if (m->parts[i])
            moed__v1__generate_request__free_unpacked(m->parts[i], NULL);
    free(m->parts);
    free(m->messages);
    ttrpc_buf_fini(&m->text);
    ttrpc_buf_fini(&m->suffix);
    ids_fini(&m->ids);
    free(m->stops);
    free(m->breakers);
    free(m->banned);
    free(m->bias);
}

/* A session's request has a part for each of its messages: so lists grow by doubling. */
static size_t room_for(size_t n)
{
    size_t room = 8;
    while (room < n)
        room *= 2;
    return room;
}

/* Appends n pointers to a list of them. */
static int append(void *list, size_t *n_list, void *const *more, size_t n_more)
{
    void ***at = list;
    if (n_more == 0)
        return 0;
    size_t room = room_for(*n_list + n_more);
    if (*n_list == 0 || room > room_for(*n_list)) {
        void **grown = reallocarray(*at, room, sizeof **at);
        if (!grown)
            return -ENOMEM;
        *at = grown;
    }
    memcpy(*at + *n_list, more, n_more * sizeof *more);
    *n_list += n_more;
    return 0;
}

static int merge_sampling(struct merged *m, const Moed__V1__Sampling *s)
{
    if (s->has_temperature)
        m->temperature = s->temperature;
    if (s->has_top_k)
        m->top_k = s->top_k;
    if (s->has_top_p)
        m->top_p = s->top_p;
    if (s->has_min_p)
        m->min_p = s->min_p;
    if (s->has_repetition_penalty)
        m->repetition = s->repetition_penalty;
    if (s->has_presence_penalty)
        m->presence = s->presence_penalty;
    if (s->has_frequency_penalty)
        m->frequency = s->frequency_penalty;
    if (s->has_top_n_sigma)
        m->top_n_sigma = s->top_n_sigma;
    if (s->has_mirostat_tau)
        m->mirostat_tau = s->mirostat_tau;
    if (s->has_mirostat_eta)
        m->mirostat_eta = s->mirostat_eta;
    if (s->has_seed)
        m->seed = s->seed;
    if (s->has_dry_multiplier)
        m->dry_multiplier = s->dry_multiplier;
    if (s->has_dry_base)
        m->dry_base = s->dry_base;
    if (s->has_dry_allowed_length)
        m->dry_allowed_length = s->dry_allowed_length;
    if (s->has_dry_range)
        m->dry_range = s->dry_range;
    if (append(&m->breakers, &m->n_breakers, (void *const *)s->dry_breakers, s->n_dry_breakers) <
            0 ||
        append(&m->banned, &m->n_banned, (void *const *)s->banned, s->n_banned) < 0)
        return -ENOMEM;
    return append(&m->bias, &m->n_bias, (void *const *)s->logit_bias, s->n_logit_bias);
}

static int merge_prompt(struct merged *m, const Moed__V1__GenerateRequest *part)
{
    int r = 0;
    if (part->chat) {
        m->has_chat = true;
        if (part->chat->has_thinking)
            m->thinking = part->chat->thinking;
        if (part->chat->has_effort)
            m->reason.effort = part->chat->effort;
        if (part->chat->tools)
            m->tools = part->chat->tools;
        if (part->chat->response_format)
            m->response_format = part->chat->response_format;
        if (part->chat->family)
            m->family = part->chat->family;
        r = append(&m->messages, &m->n_messages, (void *const *)part->chat->messages,
                   part->chat->n_messages);
    }
    if (r == 0 && part->text) {
        m->has_text = true;
        r = ttrpc_buf_put(&m->text, part->text, strlen(part->text));
    }
    if (r == 0 && part->suffix)
        r = ttrpc_buf_put(&m->suffix, part->suffix, strlen(part->suffix));
    if (r == 0 && part->tokens) {
        m->has_tokens = true;
        if (part->tokens->n_ids > 0)
            r = ids_append(&m->ids, part->tokens->ids, part->tokens->n_ids);
    }
    return r;
}

static int merge_part(struct merged *m, Moed__V1__GenerateRequest *part)
{
    if (part->receipt)
        m->receipt = &part->receipt;
    if (part->has_max_tokens)
        m->max_tokens = part->max_tokens;
    if (part->has_top_logprobs)
        m->top_logprobs = part->top_logprobs;
    if (part->has_timeout_ms)
        m->timeout_ms = part->timeout_ms;
    if (part->has_class_)
        m->class = part->class_;
    if (part->has_queue_timeout_ms)
        m->queue_timeout_ms = part->queue_timeout_ms;
    if (part->has_thinking_tokens)
        m->reason.tokens = part->thinking_tokens;
    if (part->has_thinking_soft_tokens)
        m->reason.soft_tokens = part->thinking_soft_tokens;
    if (part->has_finish_within_ms)
        m->finish_within_ms = part->finish_within_ms;
    if (part->has_n)
        m->n = part->n;
    if (part->has_best_of)
        m->best_of = part->best_of;
    if (part->has_logprobs)
        m->logprobs = part->logprobs;
    if (part->has_prompt_logprobs)
        m->prompt_logprobs = part->prompt_logprobs;
    if (part->has_ignore_end)
        m->ignore_end = part->ignore_end;
    if (part->has_return_prompt)
        m->return_prompt = part->return_prompt;
    if (part->has_show_special)
        m->show_special = part->show_special;
    int r = append(&m->stops, &m->n_stops, (void *const *)part->stop, part->n_stop);
    if (r == 0 && part->sampling)
        r = merge_sampling(m, part->sampling);
    return r < 0 ? r : merge_prompt(m, part);
}

int merged_make(struct merged *m, const struct ask_part *parts, int n_parts, struct err *err)
{
    m->parts = calloc((size_t)n_parts + 1, sizeof *m->parts);
    if (!m->parts)
        return err_set(err, -ENOMEM, "no memory for the request");
    for (int i = 0; i < n_parts; i++) {
        char words[TTRPC_WORDS];
        m->n_parts = i + 1;
        m->parts[i] = (Moed__V1__GenerateRequest *)ttrpc_unpack(
            &moed__v1__generate_request__descriptor, parts[i].data, parts[i].n, words);
        if (!m->parts[i])
            return err_set(err, -EBADMSG, "part %d: %s", i, words);
        if (merge_part(m, m->parts[i]) < 0)
            return err_set(err, -ENOMEM, "no memory for the request");
        if (parts[i].from == ASK_SETTINGS)
            m->in_session = true;
        if (parts[i].from != ASK_LINE)
            continue;
        m->n_lines++;
        m->n_line_messages = m->n_messages;
        m->n_line_ids = m->ids.n;
    }
    return 0;
}
