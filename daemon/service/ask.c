/* SPDX-License-Identifier: MIT
 *
 * What the parts add up to becomes a request: checking, rendering. On a helper; pure.
 */
#include "service/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ban.h"
#include "engine/engine.h"
#include "model/model.h"
#include "service/field.h"
#include "service/hub.h"
#include "service/merged.h"
#include "service/reading.h"
#include "service/reason.h"
#include "text/chat.h"

/* ---- the prompt */
int ask_family(const struct model *model, const char *name, const struct chat_family **ret,
               struct err *err)
{
    *ret = name && *name ? chat_by_name(name) : model_chat(model);
    if (*ret)
        return 0;
    if (name && *name)
        return err_set(err, -EINVAL, "chat.family is '%s', which is no family that is known", name);
    return err_set(err, -ENOTSUP,
                   "model '%s' has no chat template that is known: give it text or tokens",
                   model_info(model)->name);
}

static int check_ids(const char *what, const int32_t *id, size_t n, int32_t size, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (id[i] < 0 || id[i] >= size)
            return err_set(err, -EINVAL, "%s[%zu] is %d, expected 0 to %d", what, i, id[i],
                           size - 1);
    return 0;
}

/* The last message, if the answer goes on from its ids. */
static const Moed__V1__Message *open_answer(Moed__V1__Message *const *messages, size_t n)
{
    const Moed__V1__Message *last = n > 0 ? messages[n - 1] : NULL;
    return last && last->role == MOED__V1__ROLE__ROLE_ASSISTANT && last->prefix &&
                   last->n_tokens > 0
               ? last
               : NULL;
}

int ask_render(const struct model *model, const struct chat_family *family,
               Moed__V1__Message *const *messages, size_t n_messages, struct chat_options *options,
               int role, struct ids *ret, struct err *err)
{
    const Moed__V1__Message *open = open_answer(messages, n_messages);
    if (open) {
        options->thinking = open->thinking;
        n_messages--;
    }
    OWN_MEM struct chat_message *list = calloc(n_messages + 1, sizeof *list);
    size_t n_calls = 0;
    for (size_t i = 0; i < n_messages; i++)
        n_calls += messages[i]->n_calls;
    OWN_MEM struct chat_call *calls = calloc(n_calls + 1, sizeof *calls);
    if (!list || !calls)
        return err_set(err, -ENOMEM, "no memory for the messages");

    struct chat_call *call = calls;
    for (size_t i = 0; i < n_messages; i++) {
        const Moed__V1__Message *m = messages[i];
        int64_t which;
        int r = field_int((enum field_id)role, (int64_t)m->role, &which, err);
        if (r < 0)
            return r;
        list[i] = (struct chat_message){
            .role = (enum chat_role)which,
            .content = m->content,
            .bytes = m->content ? strlen(m->content) : 0,
            .calls = call,
            .n_calls = (int)m->n_calls,
            .prefix = m->prefix,
            .reasoning = m->reasoning,
            .reasoning_bytes = m->reasoning ? strlen(m->reasoning) : 0,
            .call_id = m->tool_call_id,
            .written = m->tokens,
            .n_written = (int)m->n_tokens,
        };
        for (size_t j = 0; j < m->n_calls; j++, call++)
            *call = (struct chat_call){m->calls[j]->name ? m->calls[j]->name : "",
                                       m->calls[j]->arguments ? m->calls[j]->arguments : "",
                                       m->calls[j]->id};
    }
    int r = family->render(model_vocab(model), list, (int)n_messages, options, ret, err);
    if (r < 0)
        return r;
    *options = chat_options_for(family, list, (int)n_messages, options);
    if (!open)
        return 0;
    r = check_ids("tokens of the last message", open->tokens, open->n_tokens,
                  vocab_size(model_vocab(model)), err);
    if (r == 0 && ids_append(ret, open->tokens, open->n_tokens) < 0)
        r = err_set(err, -ENOMEM, "no memory for %zu tokens", open->n_tokens);
    return r;
}

static int encode_raw(const struct model *model, const struct merged *m, struct ids *ret,
                      struct err *err)
{
    const struct vocab *vocab = model_vocab(model);
    struct ids ids __attribute__((cleanup(ids_fini))) = {0};
    int r = vocab_encode(vocab, m->text.n ? (const char *)m->text.data : "", m->text.n,
                         VOCAB_SPECIAL, &ids, err);
    if (r < 0)
        return r;
    int32_t bos = vocab_bos(vocab);
    bool add = vocab_add_bos(vocab) && bos >= 0 && (ids.n == 0 || ids.id[0] != bos);
    if ((add && ids_push(ret, bos) < 0) || (ids.n > 0 && ids_append(ret, ids.id, ids.n) < 0))
        return err_set(err, -ENOMEM, "no memory for %zu tokens", ids.n);
    return 0;
}

static int encode_hole(const struct model *model, const struct merged *m, struct ids *ret,
                       struct err *err)
{
    if (m->has_chat || m->has_tokens)
        return err_set(err, -EINVAL, "generate.suffix goes with text, found %s",
                       m->has_chat ? "chat" : "tokens");
    int r = chat_render_hole(model_vocab(model), m->text.n ? (const char *)m->text.data : "",
                             m->text.n, (const char *)m->suffix.data, m->suffix.n, ret, err);
    if (r != -EINVAL)
        return r;
    return err_set(err, -ENOTSUP,
                   "model '%s' was not made to fill holes: its vocabulary lacks <｜fim▁begin｜>, "
                   "<｜fim▁hole｜> or <｜fim▁end｜>",
                   model_info(model)->name);
}

/* Raw text goes on behind a session's ids as it stands. */
static int join_text(const struct model *model, struct merged *m, struct err *err)
{
    if (m->n_line_ids == 0 || !m->has_text || m->ids.n != m->n_line_ids)
        return 0;
    m->has_text = false;
    return vocab_encode(model_vocab(model), m->text.n ? (const char *)m->text.data : "", m->text.n,
                        VOCAB_SPECIAL, &m->ids, err);
}

static int make_chat(const struct model *model, struct merged *m, struct ask *ask, struct ids *ret,
                     struct err *err)
{
    int r = 0;
    if (m->in_session)
        r = saying_of_chat(&ask->saying, m->messages, m->n_messages, m->n_line_messages, err);
    if (r == 0)
        r = ask_render(model, ask->chat, m->messages, m->n_messages, &ask->options, FIELD_ROLE, ret,
                       err);
    const Moed__V1__Message *open = open_answer(m->messages, m->n_messages);
    if (r == 0 && open && ids_append(&ask->open, open->tokens, open->n_tokens) < 0)
        r = err_set(err, -ENOMEM, "no memory for %zu tokens", open->n_tokens);
    return r;
}

static int make_raw(const struct model *model, struct merged *m, struct ask *ask, struct ids *ret,
                    struct err *err)
{
    const struct vocab *vocab = model_vocab(model);
    int r;
    if (m->has_text) {
        r = encode_raw(model, m, ret, err);
    } else {
        r = check_ids("generate.tokens.ids", m->ids.id, m->ids.n, vocab_size(vocab), err);
        *ret = m->ids;
        m->ids = (struct ids){0};
    }
    return r == 0 && m->in_session
               ? saying_of_ids(&ask->saying, ret, m->n_line_ids, m->n_lines, err)
               : r;
}

static int make_prompt(const struct model *model, struct merged *m, struct ask *ask,
                       struct ids *ret, struct err *err)
{
    if (m->suffix.n > 0 && m->in_session)
        return err_set(err, -EINVAL, "generate.suffix: a session has no holes");
    if (m->suffix.n > 0)
        return encode_hole(model, m, ret, err);
    int r = join_text(model, m, err);
    if (r < 0)
        return r;
    if (m->has_chat + m->has_text + m->has_tokens != 1)
        return err_set(err, -EINVAL,
                       "generate needs exactly one of chat, text and tokens, found %d of them%s",
                       m->has_chat + m->has_text + m->has_tokens,
                       m->n_lines > 0 ? " with what the session holds" : "");
    return m->has_chat ? make_chat(model, m, ask, ret, err) : make_raw(model, m, ask, ret, err);
}

/* ---- the fields */
struct strings { /* a request's list, and what fields.def says of it */
    char *const *at;
    size_t n;
    enum field_id count, bytes;
};

static int check_strings(const struct strings *s, struct err *err)
{
    int r = field_size(s->count, s->n, err);
    for (size_t i = 0; i < s->n && r == 0; i++)
        r = field_size(s->bytes, strlen(s->at[i]), err);
    return r;
}

static int copy_strings(const struct strings *from, char ***ret, int *n_ret, struct err *err)
{
    int r = check_strings(from, err);
    if (r < 0 || from->n == 0)
        return r;
    *ret = calloc(from->n, sizeof **ret);
    if (!*ret)
        return err_set(err, -ENOMEM, "no memory for %s", field_table[from->count].name);
    for (size_t i = 0; i < from->n; i++) {
        (*ret)[i] = strdup(from->at[i]);
        if (!(*ret)[i])
            return err_set(err, -ENOMEM, "no memory for %s", field_table[from->count].name);
        *n_ret = (int)i + 1;
    }
    return 0;
}

static int copy_stops(const struct merged *m, struct engine_request *request, struct err *err)
{
    struct strings stops = {m->stops, m->n_stops, FIELD_STOP_COUNT, FIELD_STOP_BYTES};
    return copy_strings(&stops, &request->stops, &request->n_stops, err);
}

static int copy_bias(const struct merged *m, int32_t size, struct sample_params *sample,
                     struct err *err)
{
    int r = field_size(FIELD_BIAS_COUNT, m->n_bias, err);
    if (r < 0 || m->n_bias == 0)
        return r;
    sample->bias = calloc(m->n_bias, sizeof *sample->bias);
    if (!sample->bias)
        return err_set(err, -ENOMEM, "no memory for logit_bias");
    sample->n_bias = (int)m->n_bias;
    for (size_t i = 0; i < m->n_bias; i++) {
        struct sample_bias *to = &sample->bias[i];
        to->id = m->bias[i]->id;
        if (to->id < 0 || to->id >= size)
            return err_set(err, -EINVAL, "%s is %d, expected 0 to %d",
                           field_table[FIELD_BIAS_ID].name, to->id, size - 1);
        r = field_real(FIELD_BIAS, m->bias[i]->bias, &to->bias, err);
        if (r < 0)
            return r;
        if (to->bias == (float)field_table[FIELD_BIAS].least)
            to->bias = -INFINITY;
    }
    return 0;
}

static int check_dry(const struct merged *m, struct dry_params *dry, struct err *err)
{
    int64_t length, range;
    int r = 0;
    if ((r = field_real(FIELD_DRY_MULTIPLIER, m->dry_multiplier, &dry->multiplier, err)) < 0 ||
        (r = field_real(FIELD_DRY_BASE, m->dry_base, &dry->base, err)) < 0 ||
        (r = field_int(FIELD_DRY_LENGTH, m->dry_allowed_length, &length, err)) < 0 ||
        (r = field_int(FIELD_DRY_RANGE, m->dry_range, &range, err)) < 0)
        return r;
    dry->allowed_length = (int)length;
    dry->range = (int)range;
    struct strings breakers = {m->breakers, m->n_breakers, FIELD_DRY_BREAKERS,
                               FIELD_DRY_BREAKER_BYTES};
    if (breakers.n == 0) {
        breakers.at = (char *const *)dry_usual_breakers;
        breakers.n = DRY_USUAL_BREAKERS;
    }
    return copy_strings(&breakers, &dry->breakers, &dry->n_breakers, err);
}

static int check_banned(const struct vocab *vocab, const struct merged *m, struct ban **ret,
                        struct err *err)
{
    struct strings banned = {m->banned, m->n_banned, FIELD_BANNED_COUNT, FIELD_BANNED_BYTES};
    int r = check_strings(&banned, err);
    if (r < 0 || banned.n == 0)
        return r;
    r = ban_new(vocab, (const char *const *)banned.at, (int)banned.n, m->show_special, ret);
    return r < 0 ? err_set(err, r, "no memory for %s", field_table[FIELD_BANNED_COUNT].name) : 0;
}

static int check_sampling(const struct merged *m, struct sample_params *sample, struct err *err)
{
    int64_t top_k;
    int r = 0;
    if ((r = field_real(FIELD_TEMPERATURE, m->temperature, &sample->temperature, err)) < 0 ||
        (r = field_int(FIELD_TOP_K, m->top_k, &top_k, err)) < 0 ||
        (r = field_real(FIELD_TOP_P, m->top_p, &sample->top_p, err)) < 0 ||
        (r = field_real(FIELD_MIN_P, m->min_p, &sample->min_p, err)) < 0 ||
        (r = field_real(FIELD_TOP_N_SIGMA, m->top_n_sigma, &sample->top_n_sigma, err)) < 0 ||
        (r = field_real(FIELD_MIROSTAT_TAU, m->mirostat_tau, &sample->mirostat_tau, err)) < 0 ||
        (r = field_real(FIELD_MIROSTAT_ETA, m->mirostat_eta, &sample->mirostat_eta, err)) < 0 ||
        (r = field_real(FIELD_REPETITION, m->repetition, &sample->repetition_penalty, err)) < 0 ||
        (r = field_real(FIELD_PRESENCE, m->presence, &sample->presence_penalty, err)) < 0 ||
        (r = field_real(FIELD_FREQUENCY, m->frequency, &sample->frequency_penalty, err)) < 0)
        return r;
    if (sample->mirostat_tau > 0 && sample->temperature == 0)
        return err_set(err, -EINVAL,
                       "generate.sampling.mirostat_tau is %g, which needs a temperature above 0",
                       (double)sample->mirostat_tau);
    sample->top_k = (int)top_k;
    sample->seed = m->seed;
    if (sample->seed == 0)
        hub_random(&sample->seed, sizeof sample->seed);
    return 0;
}

/* The answer is computed as that of the receipt was. How many rows there may be depends on the
 * prompt: the engine looks at them. */
static int take_receipt(const struct merged *m, struct ask *ask, struct err *err)
{
    struct engine_request *request = ask->request;
    if (!m->receipt)
        return 0;
    ask->receipt = TAKE(*m->receipt);
    const Moed__V1__Receipt *receipt = ask->receipt;
    bool is_made = receipt->n_made_rows > 0;
    size_t n = is_made ? receipt->n_made_rows : receipt->n_cached_rows;
    if (m->seed == 0 && receipt->seed != 0)
        request->sample.seed = receipt->seed;
    request->is_replay = true;
    if (n == 0)
        return 0;
    request->run = malloc(n * sizeof *request->run);
    if (!request->run)
        return err_set(err, -ENOMEM, "no memory for the request");
    memcpy(request->run, is_made ? receipt->made_rows : receipt->cached_rows,
           n * sizeof *request->run);
    request->n_runs = (int)n;
    return 0;
}

/* What one answer's request says; all strings are copied. */
static int fill_request(const struct model *model, const struct merged *m, const struct ask *ask,
                        struct engine_request *request, struct err *err)
{
    int64_t max_tokens, top, class, queue_ms;
    int r;
    if ((r = field_int(FIELD_MAX_TOKENS, m->max_tokens, &max_tokens, err)) < 0 ||
        (r = field_int(FIELD_TOP_LOGPROBS, m->top_logprobs, &top, err)) < 0 ||
        (r = field_int(FIELD_CLASS, m->class, &class, err)) < 0 ||
        (r = field_int(FIELD_QUEUE_TIMEOUT_MS, m->queue_timeout_ms, &queue_ms, err)) < 0 ||
        (r = check_sampling(m, &request->sample, err)) < 0 ||
        (r = check_dry(m, &request->sample.dry, err)) < 0 ||
        (r = check_banned(model_vocab(model), m, &request->sample.ban, err)) < 0 ||
        (r = copy_bias(m, vocab_size(model_vocab(model)), &request->sample, err)) < 0 ||
        (r = copy_stops(m, request, err)) < 0 ||
        (r = reason_limits(&m->reason, ask->chat, model_vocab(model), &request->think, err)) < 0)
        return r;
    request->max_tokens = (int)max_tokens; /* 0: what the context takes, for both */
    request->top_logprobs = m->logprobs || top > 0 ? (int)top : -1;
    request->prompt_logprobs = m->prompt_logprobs;
    request->ignore_end = m->ignore_end;
    request->show_special = m->show_special;
    request->class = (enum sched_class) class; /* in the same order */
    request->queue_ns = (uint64_t)queue_ms * 1000000;
    return 0;
}

/* How many answers are written and how many of them told. */
static int check_numbers(const struct merged *m, int *n_written, int *n_told, struct err *err)
{
    int64_t n, best_of;
    int r = field_int(FIELD_N, m->n, &n, err);
    if (r == 0)
        r = field_int(FIELD_BEST_OF, m->best_of, &best_of, err);
    if (r < 0)
        return r;
    if (best_of > 0 && best_of < n)
        return err_set(err, -EINVAL, "%s is %" PRId64 ", expected at least %s, which is %" PRId64,
                       field_table[FIELD_BEST_OF].name, best_of, field_table[FIELD_N].name, n);
    *n_told = (int)n;
    *n_written = (int)(best_of > 0 ? best_of : n);
    if (*n_written > 1 && m->in_session)
        return err_set(err, -EINVAL, "%s is %d, expected 1: a session goes on with one answer",
                       field_table[best_of > 0 ? FIELD_BEST_OF : FIELD_N].name, *n_written);
    if (*n_written > 1 && m->receipt)
        return err_set(err, -EINVAL, "%s is %d, expected 1: a receipt is that of one answer",
                       field_table[best_of > 0 ? FIELD_BEST_OF : FIELD_N].name, *n_written);
    return 0;
}

/* Everything but the prompt: cheap, so that a bad field is told before any text is split. */
static int check_fields(const struct model *model, const struct merged *m, struct ask *ask,
                        int *n_written, struct err *err)
{
    int r = field_int(FIELD_TIMEOUT_MS, m->timeout_ms, &ask->timeout_ms, err);
    if (r == 0)
        r = field_int(FIELD_FINISH_WITHIN, m->finish_within_ms, &ask->finish_within_ms, err);
    if (r == 0)
        r = check_numbers(m, n_written, &ask->n_told, err);
    if (r == 0 && m->has_chat)
        r = ask_family(model, m->family, &ask->chat, err);
    if (r == 0)
        r = fill_request(model, m, ask, ask->request, err);
    if (r == 0)
        r = take_receipt(m, ask, err);
    if (r < 0)
        return r;
    if (m->has_chat && m->show_special)
        return err_set(err, -EINVAL, "generate.show_special is for text and tokens, not for chat");
    ask->logprobs = ask->request->top_logprobs >= 0;
    if (*n_written > ask->n_told && !ask->logprobs)
        ask->request->top_logprobs = 0; /* to choose by */
    ask->return_prompt = m->return_prompt;
    ask->options = (struct chat_options){.thinking = m->thinking,
                                         .add_generation_prompt = true,
                                         .effort = reason_words(m->reason.effort),
                                         .tools = m->tools,
                                         .response_format = m->response_format};
    return 0;
}

/* Whether what is written next is thinking; an answer that goes on may have left it already. */
static bool begins_thinking(const struct ask *ask)
{
    const struct think_params *think = &ask->request->think;
    bool thinks = chat_begins_thinking(ask->chat, &ask->options);
    for (size_t i = 0; i < ask->open.n && think->close > 0; i++)
        thinks = ask->open.id[i] == think->open || (thinks && ask->open.id[i] != think->close);
    return thinks;
}

/* The others beside the first: its request again, but for the seed. */
static int add_answer(const struct model *model, const struct merged *m, struct ask *ask,
                      struct err *err)
{
    const struct engine_request *first = ask->request;
    OWN(engine_request) *request = engine_request_new();
    if (request)
        request->prompt = calloc((size_t)first->n_prompt, sizeof *request->prompt);
    if (!request || !request->prompt)
        return err_set(err, -ENOMEM, "no memory for another answer");
    sample_params_init(&request->sample);
    int r = fill_request(model, m, ask, request, err);
    if (r < 0)
        return r;
    request->n_prompt = first->n_prompt;
    memcpy(request->prompt, first->prompt, (size_t)first->n_prompt * sizeof *request->prompt);
    request->top_logprobs = first->top_logprobs;
    request->prompt_logprobs = false;
    request->think = first->think;
    request->sample.seed = first->sample.seed + 1 + (uint64_t)ask->n_more;
    request->sample.seed += request->sample.seed < first->sample.seed; /* 0 is no seed */
    ask->more[ask->n_more++] = TAKE(request);
    return 0;
}

static int add_answers(const struct model *model, const struct merged *m, int n, struct ask *ask,
                       struct err *err)
{
    if (n == 1)
        return 0;
    ask->request->is_followed = true;
    ask->request->n_beside = n - 1;
    ask->more = calloc((size_t)n - 1, sizeof *ask->more);
    int r = ask->more ? 0 : err_set(err, -ENOMEM, "no memory for %d answers", n);
    while (r == 0 && ask->n_more < n - 1)
        r = add_answer(model, m, ask, err);
    return r;
}

int ask_new(const struct model *model, const struct ask_part *parts, int n_parts, struct ask **ret,
            struct err *err)
{
    struct merged m __attribute__((cleanup(merged_fini))) = {0};
    OWN(ask) *ask = calloc(1, sizeof *ask);
    if (!ask || !(ask->request = engine_request_new()))
        return err_set(err, -ENOMEM, "no memory for the request");
    sample_params_init(&ask->request->sample);
    int r = merged_make(&m, parts, n_parts, err);
    if (r < 0)
        return r;
    int n_written = 1;
    r = check_fields(model, &m, ask, &n_written, err);
    if (r < 0)
        return r;
    struct ids ids __attribute__((cleanup(ids_fini))) = {0};
    r = make_prompt(model, &m, ask, &ids, err);
    ask->options.tools = ask->options.response_format = NULL; /* the parts' memory */
    if (r < 0)
        return r;
    ask->request->think.is_open = ask->chat && begins_thinking(ask);
    if (ids.n == 0)
        return err_set(err, -EINVAL, "the prompt has no tokens");
    if (ids.n > model_info(model)->context)
        return err_set(err, -E2BIG, "the prompt has %zu tokens, the context holds %u", ids.n,
                       model_info(model)->context);
    ask->in_session = m.in_session;
    if (ask->in_session && (ask->saying.is_raw || ask->open.n > 0))
        ask->saying.vocabulary = reading_vocabulary(model_vocab(model));
    ask->request->prompt = ids.id;
    ask->request->n_prompt = (int)ids.n;
    ids = (struct ids){0};
    r = add_answers(model, &m, n_written, ask, err);
    if (r < 0)
        return r;
    *ret = TAKE(ask);
    return 0;
}

void ask_free(struct ask *ask)
{
    if (!ask)
        return;
    engine_request_free(ask->request);
    ids_fini(&ask->open);
    saying_fini(&ask->saying);
    if (ask->receipt)
        moed__v1__receipt__free_unpacked(ask->receipt, NULL);
    for (int i = 0; i < ask->n_more; i++)
        engine_request_free(ask->more[i]);
    free(ask->more);
    free(ask);
}
