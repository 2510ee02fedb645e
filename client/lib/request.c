/* SPDX-License-Identifier: MIT
 *
 * The setters. The fields are one table; the prompt is text, ids or messages.
 */
#include "lib/request.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ttrpc.h"

enum {
    MAX_BIAS = 1000,
    MAX_TOOLS = 3 << 20, /* bytes: a frame takes them with a message beside */
};

/* ---- growing */
static int grow(void *array, size_t *room, size_t want, size_t size)
{
    if (want <= *room)
        return 0;
    if (want > SIZE_MAX / size / 2)
        return -ENOMEM;
    size_t next = want < 16 ? 16 : want + want / 2;
    void *p = realloc(*(void **)array, next * size);
    if (!p)
        return -ENOMEM;
    *(void **)array = p;
    *room = next;
    return 0;
}

/* A copy with a zero byte behind; -EINVAL if it is no UTF-8 or holds a zero byte. */
static int copy_text(const char *text, size_t bytes, char **ret)
{
    if (memchr(text, '\0', bytes) || !ttrpc_is_utf8(text, bytes))
        return -EINVAL;
    char *copy = malloc(bytes + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    *ret = copy;
    return 0;
}

struct moed_request *moed_request_new(void)
{
    struct moed_request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    moed__v1__generate_request__init(&request->fields);
    moed__v1__sampling__init(&request->sampling);
    moed__v1__chat__init(&request->chat);
    request->fields.model = NULL;
    return request;
}

void moed_request_free(struct moed_request *request)
{
    if (!request)
        return;
    for (size_t i = 0; i < request->n_messages; i++)
        moed__v1__message__free_unpacked(request->messages[i], NULL);
    for (size_t i = 0; i < request->fields.n_stop; i++)
        free(request->fields.stop[i]);
    for (size_t i = 0; i < request->sampling.n_logit_bias; i++)
        free(request->sampling.logit_bias[i]);
    for (size_t i = 0; i < request->sampling.n_dry_breakers; i++)
        free(request->sampling.dry_breakers[i]);
    for (size_t i = 0; i < request->sampling.n_banned; i++)
        free(request->sampling.banned[i]);
    if (request->fields.receipt)
        moed__v1__receipt__free_unpacked(request->fields.receipt, NULL);
    free(request->messages);
    if (request->fields.in_session)
        moed__v1__in_session__free_unpacked(request->fields.in_session, NULL);
    free(request->tools);
    free(request->fields.stop);
    free(request->fields.model);
    free(request->sampling.logit_bias);
    free(request->sampling.dry_breakers);
    free(request->sampling.banned);
    free(request->text);
    free(request->suffix);
    free(request->ids);
    free(request);
}

/* ---- fields */
enum field_type { FIELD_FLOAT, FIELD_INT32, FIELD_INT64, FIELD_UINT64, FIELD_FLAG };

struct field {
    enum field_type type;
    size_t value, has; /* in a request */
    bool in_sampling;
};

#define OFFSET(member) offsetof(struct moed_request, member)
#define IN_REQUEST(type, name)                                                                     \
    {                                                                                              \
        type, OFFSET(fields.name), OFFSET(fields.has_##name), false                                \
    }
#define IN_SAMPLING(type, name)                                                                    \
    {                                                                                              \
        type, OFFSET(sampling.name), OFFSET(sampling.has_##name), true                             \
    }
#define IN_CHAT(type, name)                                                                        \
    {                                                                                              \
        type, OFFSET(chat.name), OFFSET(chat.has_##name), false                                    \
    }
static const struct field field_table[] = {
    [MOED_TEMPERATURE] = IN_SAMPLING(FIELD_FLOAT, temperature),
    [MOED_TOP_K] = IN_SAMPLING(FIELD_INT32, top_k),
    [MOED_TOP_P] = IN_SAMPLING(FIELD_FLOAT, top_p),
    [MOED_MIN_P] = IN_SAMPLING(FIELD_FLOAT, min_p),
    [MOED_REPETITION_PENALTY] = IN_SAMPLING(FIELD_FLOAT, repetition_penalty),
    [MOED_PRESENCE_PENALTY] = IN_SAMPLING(FIELD_FLOAT, presence_penalty),
    [MOED_FREQUENCY_PENALTY] = IN_SAMPLING(FIELD_FLOAT, frequency_penalty),
    [MOED_SEED] = IN_SAMPLING(FIELD_UINT64, seed),
    [MOED_MAX_TOKENS] = IN_REQUEST(FIELD_INT32, max_tokens),
    [MOED_LOGPROBS] = IN_REQUEST(FIELD_FLAG, logprobs),
    [MOED_TOP_LOGPROBS] = IN_REQUEST(FIELD_INT32, top_logprobs),
    [MOED_IGNORE_END] = IN_REQUEST(FIELD_FLAG, ignore_end),
    [MOED_RETURN_PROMPT] = IN_REQUEST(FIELD_FLAG, return_prompt),
    [MOED_SHOW_SPECIAL] = IN_REQUEST(FIELD_FLAG, show_special),
    [MOED_THINKING] = IN_CHAT(FIELD_FLAG, thinking),
    [MOED_TIMEOUT_MS] = IN_REQUEST(FIELD_INT64, timeout_ms),
    [MOED_TOP_N_SIGMA] = IN_SAMPLING(FIELD_FLOAT, top_n_sigma),
    [MOED_MIROSTAT_TAU] = IN_SAMPLING(FIELD_FLOAT, mirostat_tau),
    [MOED_MIROSTAT_ETA] = IN_SAMPLING(FIELD_FLOAT, mirostat_eta),
    [MOED_DRY_MULTIPLIER] = IN_SAMPLING(FIELD_FLOAT, dry_multiplier),
    [MOED_DRY_BASE] = IN_SAMPLING(FIELD_FLOAT, dry_base),
    [MOED_DRY_ALLOWED_LENGTH] = IN_SAMPLING(FIELD_INT32, dry_allowed_length),
    [MOED_DRY_RANGE] = IN_SAMPLING(FIELD_INT32, dry_range),
    [MOED_PROMPT_LOGPROBS] = IN_REQUEST(FIELD_FLAG, prompt_logprobs),
    [MOED_EFFORT] = IN_CHAT(FIELD_INT32, effort),
    [MOED_THINKING_TOKENS] = IN_REQUEST(FIELD_INT32, thinking_tokens),
    [MOED_FINISH_WITHIN_MS] = IN_REQUEST(FIELD_INT64, finish_within_ms),
    [MOED_N] = IN_REQUEST(FIELD_INT32, n),
    [MOED_BEST_OF] = IN_REQUEST(FIELD_INT32, best_of),
    [MOED_THINKING_SOFT_TOKENS] = IN_REQUEST(FIELD_INT32, thinking_soft_tokens),
    [MOED_CLASS] = IN_REQUEST(FIELD_INT32, class_),
    [MOED_QUEUE_TIMEOUT_MS] = IN_REQUEST(FIELD_INT64, queue_timeout_ms),
};

static const struct field *find_field(enum moed_field name)
{
    if (name < MOED_TEMPERATURE || (size_t)name >= sizeof field_table / sizeof *field_table)
        return NULL;
    return &field_table[name];
}

/* Marks the field as given; where its value is kept. */
static void *touch(struct moed_request *request, const struct field *field)
{
    request->has_sampling |= field->in_sampling;
    *(protobuf_c_boolean *)(void *)((char *)request + field->has) = true;
    return (char *)request + field->value;
}

int moed_request_set_real(struct moed_request *request, enum moed_field name, double value)
{
    const struct field *field = find_field(name);
    if (!field || field->type != FIELD_FLOAT)
        return -EINVAL;
    if (!isfinite(value) || fabs(value) > (double)FLT_MAX)
        return -ERANGE;
    *(float *)touch(request, field) = (float)value;
    return 0;
}

int moed_request_set_integer(struct moed_request *request, enum moed_field name, int64_t value)
{
    const struct field *field = find_field(name);
    if (!field || field->type == FIELD_FLOAT)
        return -EINVAL;
    if (field->type == FIELD_FLAG && value != 0 && value != 1)
        return -ERANGE;
    if (field->type == FIELD_INT32 && (value < INT32_MIN || value > INT32_MAX))
        return -ERANGE;
    if (field->type == FIELD_FLAG)
        *(protobuf_c_boolean *)touch(request, field) = value != 0;
    else if (field->type == FIELD_INT32)
        *(int32_t *)touch(request, field) = (int32_t)value;
    else if (field->type == FIELD_INT64)
        *(int64_t *)touch(request, field) = value;
    else
        *(uint64_t *)touch(request, field) = (uint64_t)value;
    return 0;
}

int moed_request_set_model(struct moed_request *request, const char *model)
{
    char *copy = NULL;
    if (model && *model) {
        int r = copy_text(model, strlen(model), &copy);
        if (r < 0)
            return r;
    }
    free(request->fields.model);
    request->fields.model = copy;
    return 0;
}

static int add_string(char ***list, size_t *n, const char *text)
{
    OWN_MEM char *copy = NULL;
    int r = copy_text(text, strlen(text), &copy);
    if (r < 0)
        return r;
    char **more = realloc(*list, (*n + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    *list = more;
    more[(*n)++] = TAKE(copy);
    return 0;
}

int moed_request_add_stop(struct moed_request *request, const char *text)
{
    return add_string(&request->fields.stop, &request->fields.n_stop, text);
}

int moed_request_add_banned(struct moed_request *request, const char *text)
{
    int r = add_string(&request->sampling.banned, &request->sampling.n_banned, text);
    request->has_sampling |= r == 0;
    return r;
}

int moed_request_add_dry_breaker(struct moed_request *request, const char *text)
{
    int r = add_string(&request->sampling.dry_breakers, &request->sampling.n_dry_breakers, text);
    request->has_sampling |= r == 0;
    return r;
}

int moed_request_add_bias(struct moed_request *request, int32_t id, float bias)
{
    size_t n = request->sampling.n_logit_bias;
    if (n >= MAX_BIAS || isnan(bias))
        return -ERANGE;
    Moed__V1__LogitBias **more = realloc(request->sampling.logit_bias, (n + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    request->sampling.logit_bias = more;
    more[n] = malloc(sizeof **more);
    if (!more[n])
        return -ENOMEM;
    moed__v1__logit_bias__init(more[n]);
    more[n]->has_id = more[n]->has_bias = true;
    more[n]->id = id;
    more[n]->bias = bias;
    request->sampling.n_logit_bias++;
    request->has_sampling = true;
    return 0;
}

static int copy_rows(const int32_t *from, size_t n, int32_t **to, size_t *n_to)
{
    if (n == 0)
        return 0;
    *to = malloc(n * sizeof **to);
    if (!*to)
        return -ENOMEM;
    memcpy(*to, from, n * sizeof **to);
    *n_to = n;
    return 0;
}

static int copy_receipt(const struct moed_receipt *from, Moed__V1__Receipt *to)
{
    const struct {
        const char *from;
        char **to;
    } words[] = {{from->place, &to->place},     {from->isa, &to->isa},
                 {from->cache, &to->cache},     {from->attention, &to->attention},
                 {from->sampler, &to->sampler}, {from->model, &to->model},
                 {from->version, &to->version}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *word = words[i].from;
        int r = word && *word ? copy_text(word, strlen(word), words[i].to) : 0;
        if (r < 0)
            return r;
    }
    to->has_seed = from->seed != 0;
    to->seed = from->seed;
    int r = copy_rows(from->cached_rows, from->n_cached_rows, &to->cached_rows, &to->n_cached_rows);
    return r < 0 ? r
                 : copy_rows(from->made_rows, from->n_made_rows, &to->made_rows, &to->n_made_rows);
}

int moed_request_set_receipt(struct moed_request *request, const struct moed_receipt *receipt)
{
    Moed__V1__Receipt *copy = NULL;
    if (receipt) {
        copy = malloc(sizeof *copy);
        if (!copy)
            return -ENOMEM;
        moed__v1__receipt__init(copy);
        int r = copy_receipt(receipt, copy);
        if (r < 0) {
            moed__v1__receipt__free_unpacked(copy, NULL);
            return r;
        }
    }
    if (request->fields.receipt)
        moed__v1__receipt__free_unpacked(request->fields.receipt, NULL);
    request->fields.receipt = copy;
    return 0;
}

int request_answers(const struct moed_request *request)
{
    int n = request->fields.n;
    return n < 1 ? 1 : n > REQUEST_MAX_ANSWERS ? REQUEST_MAX_ANSWERS : n;
}

int64_t request_timeout_ms(const struct moed_request *request)
{
    return request->fields.timeout_ms;
}

/* ---- prompt */
static int choose(struct moed_request *request, enum prompt_kind kind)
{
    if (request->kind != PROMPT_NONE && request->kind != kind)
        return -EINVAL;
    request->kind = kind;
    return 0;
}

static int add_text(struct moed_request *request, char **to, size_t *n, size_t *room,
                    const char *text, size_t bytes)
{
    if (bytes > 0 && (memchr(text, '\0', bytes) || !ttrpc_is_utf8(text, bytes)))
        return -EINVAL;
    int r = choose(request, PROMPT_TEXT);
    if (r < 0)
        return r;
    if (bytes > SIZE_MAX - *n - 1)
        return -ENOMEM;
    r = grow(to, room, *n + bytes + 1, 1);
    if (r < 0)
        return r;
    if (bytes > 0)
        memcpy(*to + *n, text, bytes);
    *n += bytes;
    (*to)[*n] = '\0';
    return 0;
}

int moed_request_add_text(struct moed_request *request, const char *text, size_t bytes)
{
    return add_text(request, &request->text, &request->n_text, &request->text_room, text, bytes);
}

int moed_request_add_suffix(struct moed_request *request, const char *text, size_t bytes)
{
    return add_text(request, &request->suffix, &request->n_suffix, &request->suffix_room, text,
                    bytes);
}

int moed_request_add_ids(struct moed_request *request, const int32_t *ids, size_t n)
{
    int r = choose(request, PROMPT_IDS);
    if (r < 0)
        return r;
    if (n > SIZE_MAX - request->n_ids)
        return -ENOMEM;
    r = grow(&request->ids, &request->ids_room, request->n_ids + n, sizeof *ids);
    if (r < 0)
        return r;
    if (n > 0)
        memcpy(request->ids + request->n_ids, ids, n * sizeof *ids);
    request->n_ids += n;
    return 0;
}

int moed_request_add_message(struct moed_request *request, enum moed_role role, const char *text,
                             size_t bytes)
{
    if (role < MOED_SYSTEM || role > MOED_TOOL)
        return -EINVAL;
    if (bytes > TTRPC_MAX_DATA)
        return -EMSGSIZE;
    OWN_MEM char *copy = NULL;
    int r = copy_text(bytes > 0 ? text : "", bytes, &copy);
    if (r < 0)
        return r;
    r = choose(request, PROMPT_CHAT);
    if (r < 0)
        return r;
    r = grow(&request->messages, &request->messages_room, request->n_messages + 1,
             sizeof *request->messages);
    if (r < 0)
        return r;
    Moed__V1__Message *message = malloc(sizeof *message);
    if (!message)
        return -ENOMEM;
    moed__v1__message__init(message);
    message->has_role = true;
    message->role = (Moed__V1__Role)role;
    message->content = TAKE(copy);
    request->messages[request->n_messages++] = message;
    return 0;
}

static Moed__V1__Message *last_assistant(struct moed_request *request)
{
    if (request->n_messages == 0)
        return NULL;
    Moed__V1__Message *last = request->messages[request->n_messages - 1];
    return last->role == MOED__V1__ROLE__ROLE_ASSISTANT ? last : NULL;
}

int moed_request_add_tool_call(struct moed_request *request, const char *name,
                               const char *arguments_json)
{
    Moed__V1__Message *last = last_assistant(request);
    if (!last)
        return -EINVAL;
    OWN_MEM char *name_copy = NULL;
    OWN_MEM char *arguments = NULL;
    int r = copy_text(name, strlen(name), &name_copy);
    if (r == 0)
        r = copy_text(arguments_json, strlen(arguments_json), &arguments);
    if (r < 0)
        return r;
    Moed__V1__ToolCall **more = realloc(last->calls, (last->n_calls + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    last->calls = more;
    Moed__V1__ToolCall *call = malloc(sizeof *call);
    if (!call)
        return -ENOMEM;
    moed__v1__tool_call__init(call);
    call->name = TAKE(name_copy);
    call->arguments = TAKE(arguments);
    more[last->n_calls++] = call;
    return 0;
}

int moed_request_set_tools(struct moed_request *request, const char *tools_json)
{
    char *copy = NULL;
    size_t n = tools_json ? strlen(tools_json) : 0;
    if (n > MAX_TOOLS)
        return -EMSGSIZE;
    int r = tools_json ? copy_text(tools_json, n, &copy) : 0;
    if (r < 0)
        return r;
    free(request->tools);
    request->tools = copy;
    return 0;
}

int moed_request_set_session(struct moed_request *request, const char *session, uint64_t revision,
                             bool create)
{
    Moed__V1__InSession *in = NULL;
    if (session) {
        in = malloc(sizeof *in);
        if (!in)
            return -ENOMEM;
        moed__v1__in_session__init(in);
        in->has_revision = revision != 0;
        in->revision = revision;
        in->has_create = in->create = create;
        int r = copy_text(session, strlen(session), &in->session);
        if (r < 0) {
            free(in);
            return r;
        }
    }
    if (request->fields.in_session)
        moed__v1__in_session__free_unpacked(request->fields.in_session, NULL);
    request->fields.in_session = in;
    return 0;
}

int moed_request_continue_last(struct moed_request *request)
{
    Moed__V1__Message *last = last_assistant(request);
    if (!last)
        return -EINVAL;
    last->has_prefix = last->prefix = true;
    return 0;
}
