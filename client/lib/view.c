/* SPDX-License-Identifier: MIT
 *
 * Views: one builder a message type, found by the message's descriptor.
 */
#include "lib/view.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moed/v1/engine.pb-c.h"

struct view_chunk {
    struct view_chunk *next;
    max_align_t data[];
};

void *view_lay(struct view *view, size_t n, size_t size)
{
    if (n > (SIZE_MAX - sizeof(struct view_chunk)) / size)
        return NULL;
    struct view_chunk *chunk = calloc(1, sizeof *chunk + n * size);
    if (!chunk)
        return NULL;
    chunk->next = view->chunks;
    view->chunks = chunk;
    return chunk->data;
}

void view_fini(struct view *view)
{
    while (view->chunks) {
        struct view_chunk *next = view->chunks->next;
        free(view->chunks);
        view->chunks = next;
    }
    *view = (struct view){0};
}

const char *view_word(const char *s)
{
    return s ? s : "";
}

/* ---- events */
static const struct moed_top *const *lay_top(struct view *view, const Moed__V1__Token *from)
{
    const struct moed_top **list = view_lay(view, from->n_top, sizeof *list);
    struct moed_top *top = view_lay(view, from->n_top, sizeof *top);
    if (!list || !top)
        return NULL;
    for (size_t i = 0; i < from->n_top; i++) {
        const Moed__V1__TopLogprob *t = from->top[i];
        top[i] = (struct moed_top){.size = sizeof top[i], .id = t->id, .logprob = t->logprob};
        if (t->has_text) {
            top[i].text = t->text.data ? t->text.data : (const uint8_t *)"";
            top[i].text_bytes = t->text.len;
        }
        list[i] = &top[i];
    }
    return list;
}

static const struct moed_token *const *lay_tokens(struct view *view, Moed__V1__Token *const *from,
                                                  size_t n)
{
    const struct moed_token **list = view_lay(view, n, sizeof *list);
    struct moed_token *token = view_lay(view, n, sizeof *token);
    if (!list || !token)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const Moed__V1__Token *t = from[i];
        token[i] = (struct moed_token){
            .size = sizeof token[i],
            .id = t->id,
            .logprob = t->has_logprob ? t->logprob : NAN,
            .text = t->text.data ? t->text.data : (const uint8_t *)"",
            .text_bytes = t->text.len,
            .top = lay_top(view, t),
            .n_top = t->n_top,
        };
        if (!token[i].top)
            return NULL;
        list[i] = &token[i];
    }
    return list;
}

static const struct moed_usage *lay_usage(struct view *view, const Moed__V1__Usage *from)
{
    struct moed_usage *usage = view_lay(view, 1, sizeof *usage);
    if (!usage)
        return NULL;
    *usage = (struct moed_usage){
        .size = sizeof *usage,
        .prompt_tokens = from->prompt_tokens,
        .cached_tokens = from->cached_tokens,
        .completion_tokens = from->completion_tokens,
        .thinking_tokens = from->thinking_tokens,
        .queue_seconds = from->queue_seconds,
        .prefill_seconds = from->prefill_seconds,
        .decode_seconds = from->decode_seconds,
    };
    return usage;
}

static const struct moed_estimate *lay_estimate(struct view *view, const Moed__V1__Estimate *from)
{
    struct moed_estimate *estimate = view_lay(view, 1, sizeof *estimate);
    if (!estimate)
        return NULL;
    *estimate = (struct moed_estimate){
        .size = sizeof *estimate,
        .prefill_seconds = from->prefill_seconds,
        .tokens_per_second = from->tokens_per_second,
        .thinking_tokens = from->thinking_tokens,
        .answer_tokens = from->answer_tokens,
    };
    return estimate;
}

static const struct moed_receipt *lay_receipt(struct view *view, const Moed__V1__Receipt *from)
{
    struct moed_receipt *receipt = view_lay(view, 1, sizeof *receipt);
    if (!receipt)
        return NULL;
    *receipt = (struct moed_receipt){
        .size = sizeof *receipt,
        .place = view_word(from->place),
        .isa = view_word(from->isa),
        .cache = view_word(from->cache),
        .attention = view_word(from->attention),
        .sampler = view_word(from->sampler),
        .seed = from->seed,
        .cached_rows = from->cached_rows,
        .n_cached_rows = from->n_cached_rows,
        .model = view_word(from->model),
        .version = view_word(from->version),
        .made_rows = from->made_rows,
        .n_made_rows = from->n_made_rows,
    };
    return receipt;
}

static const struct moed_call_delta *const *lay_calls(struct view *view,
                                                      const Moed__V1__GenerateEvent *from)
{
    const struct moed_call_delta **list = view_lay(view, from->n_calls, sizeof *list);
    struct moed_call_delta *delta = view_lay(view, from->n_calls, sizeof *delta);
    if (!list || !delta)
        return NULL;
    for (size_t i = 0; i < from->n_calls; i++) {
        const Moed__V1__CallDelta *d = from->calls[i];
        delta[i] = (struct moed_call_delta){
            .size = sizeof delta[i],
            .index = d->index,
            .id = d->id,
            .name = d->name,
            .arguments = view_word(d->arguments),
            .done = d->done,
        };
        list[i] = &delta[i];
    }
    return list;
}

static const struct moed_progress *lay_progress(struct view *view, const Moed__V1__Progress *from)
{
    struct moed_progress *progress = view_lay(view, 1, sizeof *progress);
    if (progress)
        *progress = (struct moed_progress){
            .size = sizeof *progress,
            .tokens_done = from->tokens_done,
            .tokens_all = from->tokens_all,
            .seconds_left = from->seconds_left,
        };
    return progress;
}

static int build_event(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    const Moed__V1__GenerateEvent *from = (const void *)message;
    struct moed_event *event = view_lay(view, 1, sizeof *event);
    if (!event)
        return -ENOMEM;
    *event = (struct moed_event){
        .size = sizeof *event,
        .seq = from->seq,
        .generation_id = id,
        .model = from->model,
        .prompt = from->prompt,
        .n_prompt = from->n_prompt,
        .first_index = from->first_index,
        .n_tokens = from->n_tokens,
        .thinking = view_word(from->thinking),
        .text = view_word(from->text),
        .finish = (enum moed_finish)from->finish,
        .stop = from->stop,
        .error = from->error,
        .session_revision = from->session_revision,
        .session_unkept = from->session_unkept,
        .thinking_cut = (enum moed_thinking_cut)from->thinking_cut,
        .text_hash = from->text_hash,
        .index = from->index,
        .mean_logprob = from->has_mean_logprob ? from->mean_logprob : NAN,
    };
    event->thinking_bytes = strlen(event->thinking);
    event->text_bytes = strlen(event->text);
    event->tokens = lay_tokens(view, from->tokens, from->n_tokens);
    event->prompt_tokens = lay_tokens(view, from->prompt_tokens, from->n_prompt_tokens);
    event->n_prompt_tokens = from->n_prompt_tokens;
    event->calls = lay_calls(view, from);
    event->n_calls = from->n_calls;
    if (!event->tokens || !event->prompt_tokens || !event->calls)
        return -ENOMEM;
    if (from->usage && !(event->usage = lay_usage(view, from->usage)))
        return -ENOMEM;
    if (from->receipt && !(event->receipt = lay_receipt(view, from->receipt)))
        return -ENOMEM;
    if (from->progress && !(event->progress = lay_progress(view, from->progress)))
        return -ENOMEM;
    if (from->estimate && !(event->estimate = lay_estimate(view, from->estimate)))
        return -ENOMEM;
    view->event = event;
    return 0;
}

static const struct moed_pressure *lay_pressure(struct view *view, const Moed__V1__Pressure *from)
{
    struct moed_pressure *pressure = view_lay(view, 1, sizeof *pressure);
    if (!pressure)
        return NULL;
    *pressure = (struct moed_pressure){
        .size = sizeof *pressure,
        .rung = (enum moed_rung)from->rung,
        .changes = from->changes,
        .some_percent = from->has_some_percent ? from->some_percent : -1,
        .full_percent = from->has_full_percent ? from->full_percent : -1,
        .left_bytes = from->left_bytes,
        .limit_bytes = from->limit_bytes,
        .limit = view_word(from->limit),
        .source = view_word(from->source),
    };
    return pressure;
}

/* ---- models */
static int build_models(struct view *view, Moed__V1__Model *const *from, size_t n)
{
    const struct moed_model **list = view_lay(view, n, sizeof *list);
    struct moed_model *model = view_lay(view, n, sizeof *model);
    if (!list || !model)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const Moed__V1__Model *m = from[i];
        model[i] = (struct moed_model){
            .size = sizeof model[i],
            .name = view_word(m->name),
            .path = view_word(m->path),
            .state = (enum moed_model_state)m->state,
            .family = view_word(m->family),
            .chat = view_word(m->chat),
            .quantisation = view_word(m->quantisation),
            .container = view_word(m->container),
            .file_bytes = m->file_bytes,
            .weight_bytes = m->weight_bytes,
            .parameters = m->parameters,
            .context = m->context,
            .vocabulary = m->vocabulary,
            .has_mtp = m->has_mtp,
            .bytes_done = m->bytes_done,
            .bytes_all = m->bytes_all,
            .load_seconds = m->load_seconds,
            .error = view_word(m->error),
            .adopted = m->adopted,
            .kept_bytes = m->kept_bytes,
            .resting = m->resting,
        };
        list[i] = &model[i];
    }
    view->models = list;
    view->n_models = n;
    return 0;
}

static int build_list(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__ListResponse *from = (const void *)message;
    return build_models(view, from->models, from->n_models);
}

static int build_show(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__ShowResponse *from = (const void *)message;
    view->shown = message;
    return build_models(view, &from->model, from->model ? 1 : 0);
}

static int build_load(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__LoadResponse *from = (const void *)message;
    return build_models(view, &from->model, from->model ? 1 : 0);
}

static int build_unload(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__UnloadResponse *from = (const void *)message;
    return build_models(view, &from->model, from->model ? 1 : 0);
}

static int build_watch(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__WatchEvent *from = (const void *)message;
    view->draining = from->draining;
    if (from->pressure && !(view->pressure = lay_pressure(view, from->pressure)))
        return -ENOMEM;
    return build_models(view, &from->model, from->model ? 1 : 0);
}

/* ---- the daemon */
static const struct moed_limit *const *lay_limits(struct view *view,
                                                  const Moed__V1__HelloResponse *from)
{
    const struct moed_limit **list = view_lay(view, from->n_limits, sizeof *list);
    struct moed_limit *limit = view_lay(view, from->n_limits, sizeof *limit);
    if (!list || !limit)
        return NULL;
    for (size_t i = 0; i < from->n_limits; i++) {
        const Moed__V1__Limit *l = from->limits[i];
        limit[i] = (struct moed_limit){
            .size = sizeof limit[i],
            .name = view_word(l->name),
            .is_range = l->has_least || l->has_most,
            .value = l->value,
            .least = l->least,
            .most = l->most,
            .missing = l->missing,
        };
        list[i] = &limit[i];
    }
    return list;
}

static int build_hello(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__HelloResponse *from = (const void *)message;
    struct moed_hello_info *hello = view_lay(view, 1, sizeof *hello);
    if (!hello)
        return -ENOMEM;
    *hello = (struct moed_hello_info){
        .size = sizeof *hello,
        .version = view_word(from->version),
        .protocol_minor = from->protocol_minor,
        .features = (const char *const *)from->features,
        .n_features = from->n_features,
        .limits = lay_limits(view, from),
        .n_limits = from->n_limits,
        .boot_id = view_word(from->boot_id),
        .instance_id = from->instance_id.data,
        .instance_id_bytes = from->instance_id.len,
        .uid = from->uid,
        .draining = from->draining,
    };
    if (!hello->limits)
        return -ENOMEM;
    view->hello = hello;
    return 0;
}

static const struct moed_counter *const *lay_counters(struct view *view,
                                                      const Moed__V1__StatsResponse *from)
{
    const struct moed_counter **list = view_lay(view, from->n_counters, sizeof *list);
    struct moed_counter *counter = view_lay(view, from->n_counters, sizeof *counter);
    if (!list || !counter)
        return NULL;
    for (size_t i = 0; i < from->n_counters; i++) {
        const Moed__V1__Counter *c = from->counters[i];
        counter[i] = (struct moed_counter){.size = sizeof counter[i],
                                           .name = view_word(c->name),
                                           .unit = view_word(c->unit),
                                           .help = view_word(c->help),
                                           .value = c->value};
        list[i] = &counter[i];
    }
    return list;
}

/* Lists whose lengths do not fit each other are none. */
static const struct moed_histogram *const *lay_histograms(struct view *view,
                                                          const Moed__V1__ModelStats *from)
{
    const struct moed_histogram **list = view_lay(view, from->n_histograms, sizeof *list);
    struct moed_histogram *histogram = view_lay(view, from->n_histograms, sizeof *histogram);
    uint64_t *nothing = view_lay(view, 1, sizeof *nothing);
    if (!list || !histogram || !nothing)
        return NULL;
    for (size_t i = 0; i < from->n_histograms; i++) {
        const Moed__V1__Histogram *h = from->histograms[i];
        bool fits = h->n_counts == h->n_bounds + 1;
        histogram[i] = (struct moed_histogram){.size = sizeof histogram[i],
                                               .name = view_word(h->name),
                                               .unit = view_word(h->unit),
                                               .help = view_word(h->help),
                                               .bounds = h->bounds,
                                               .counts = fits ? h->counts : nothing,
                                               .n_bounds = fits ? h->n_bounds : 0,
                                               .sum = h->sum};
        list[i] = &histogram[i];
    }
    return list;
}

static const struct moed_expert_layer *const *lay_experts(struct view *view,
                                                          const Moed__V1__ModelStats *from)
{
    const struct moed_expert_layer **list = view_lay(view, from->n_experts, sizeof *list);
    struct moed_expert_layer *layer = view_lay(view, from->n_experts, sizeof *layer);
    if (!list || !layer)
        return NULL;
    for (size_t i = 0; i < from->n_experts; i++) {
        const Moed__V1__ExpertLayer *e = from->experts[i];
        layer[i] = (struct moed_expert_layer){.size = sizeof layer[i],
                                              .layer = e->layer,
                                              .chosen = e->chosen,
                                              .recent = e->recent,
                                              .n = e->n_chosen == e->n_recent ? e->n_chosen : 0};
        list[i] = &layer[i];
    }
    return list;
}

static const struct moed_model_stats *const *lay_model_stats(struct view *view,
                                                             const Moed__V1__StatsResponse *from)
{
    const struct moed_model_stats **list = view_lay(view, from->n_models, sizeof *list);
    struct moed_model_stats *stats = view_lay(view, from->n_models, sizeof *stats);
    if (!list || !stats)
        return NULL;
    for (size_t i = 0; i < from->n_models; i++) {
        const Moed__V1__ModelStats *m = from->models[i];
        stats[i] = (struct moed_model_stats){
            .size = sizeof stats[i],
            .model = view_word(m->model),
            .steps = m->steps,
            .prompt_tokens = m->prompt_tokens,
            .decoded_tokens = m->decoded_tokens,
            .prefill_seconds = m->prefill_seconds,
            .decode_seconds = m->decode_seconds,
            .sequences = m->sequences,
            .queued = m->queued,
            .pages_used = m->pages_used,
            .pages_total = m->pages_total,
            .cache_bytes = m->cache_bytes,
            .workers = view_word(m->workers),
            .memory = view_word(m->memory),
            .nodes = view_word(m->nodes),
            .cached_tokens = m->cached_tokens,
            .pages_kept = m->pages_kept,
            .pages_pinned = m->pages_pinned,
            .histograms = lay_histograms(view, m),
            .n_histograms = m->n_histograms,
            .experts = lay_experts(view, m),
            .n_experts = m->n_experts,
            .refused = m->refused,
            .plan_seconds = m->plan_seconds,
            .given_back_bytes = m->given_back_bytes,
            .pages_lost = m->pages_lost,
            .scrubbed_bytes = m->scrubbed_bytes,
            .broken = m->broken,
            .mended = m->mended,
            .saves_failed = m->saves_failed,
            .pages_shared = m->pages_shared,
        };
        for (size_t j = 0; j < 3 && j < m->n_queued_by_class; j++)
            stats[i].queued_by_class[j] = m->queued_by_class[j];
        if (!stats[i].histograms || !stats[i].experts)
            return NULL;
        list[i] = &stats[i];
    }
    return list;
}

static const struct moed_generation *const *lay_generations(struct view *view,
                                                            const Moed__V1__StatsResponse *from)
{
    const struct moed_generation **list = view_lay(view, from->n_generations, sizeof *list);
    struct moed_generation *generation = view_lay(view, from->n_generations, sizeof *generation);
    if (!list || !generation)
        return NULL;
    for (size_t i = 0; i < from->n_generations; i++) {
        const Moed__V1__Generation *g = from->generations[i];
        generation[i] = (struct moed_generation){
            .size = sizeof generation[i],
            .id = g->generation_id.data,
            .id_bytes = g->generation_id.len,
            .model = view_word(g->model),
            .uid = g->uid,
            .prompt_tokens = g->prompt_tokens,
            .completion_tokens = g->completion_tokens,
            .seconds = g->seconds,
            .class_ = (enum moed_class)g->class_,
            .cached_tokens = g->cached_tokens,
            .prefill_rate = g->prefill_rate,
            .decode_rate = g->decode_rate,
            .queue_position = g->queue_position,
            .queue_seconds = g->queue_seconds,
        };
        list[i] = &generation[i];
    }
    return list;
}

static int build_stats(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__StatsResponse *from = (const void *)message;
    struct moed_stats_info *stats = view_lay(view, 1, sizeof *stats);
    if (!stats)
        return -ENOMEM;
    *stats = (struct moed_stats_info){
        .size = sizeof *stats,
        .notice = view_word(from->notice),
        .vault = view_word(from->vault),
        .counters = lay_counters(view, from),
        .n_counters = from->n_counters,
        .models = lay_model_stats(view, from),
        .n_models = from->n_models,
        .generations = lay_generations(view, from),
        .n_generations = from->n_generations,
        .uptime_seconds = from->uptime_seconds,
        .resident_bytes = from->resident_bytes,
    };
    if (!stats->counters || !stats->models || !stats->generations)
        return -ENOMEM;
    if (from->pressure && !(stats->pressure = lay_pressure(view, from->pressure)))
        return -ENOMEM;
    view->stats = stats;
    return 0;
}

/* ---- text and tokens */
static int build_tokenize(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__TokenizeResponse *from = (const void *)message;
    view->ids = from->ids;
    view->n_ids = from->n_ids;
    return 0;
}

static int build_detokenize(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__DetokenizeResponse *from = (const void *)message;
    view->text = view_word(from->text);
    view->bytes = from->raw.data ? (const void *)from->raw.data : "";
    view->n_bytes = from->raw.len;
    return 0;
}

static int build_render(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__RenderResponse *from = (const void *)message;
    view->ids = from->ids;
    view->n_ids = from->n_ids;
    view->text = view_word(from->text);
    return 0;
}

static int build_embed(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__EmbedResponse *from = (const void *)message;
    view->values = from->values;
    view->n_values = from->n_values;
    return 0;
}

static int build_cancel(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__CancelResponse *from = (const void *)message;
    view->found = from->found;
    return 0;
}

static int build_reload(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__ReloadResponse *from = (const void *)message;
    struct moed_reloaded *done = view_lay(view, 1, sizeof *done);
    if (!done)
        return -ENOMEM;
    *done = (struct moed_reloaded){
        .size = sizeof *done,
        .now = (const char *const *)from->now,
        .n_now = from->n_now,
        .later = (const char *const *)from->later,
        .n_later = from->n_later,
        .restart = (const char *const *)from->restart,
        .n_restart = from->n_restart,
    };
    view->reloaded = done;
    return 0;
}

int view_build(struct view *view, const ProtobufCMessage *message, const uint8_t *generation_id)
{
    static const struct {
        const ProtobufCMessageDescriptor *type;
        int (*build)(struct view *view, const ProtobufCMessage *message, const uint8_t *id);
    } builders[] = {
        {&moed__v1__generate_event__descriptor, build_event},
        {&moed__v1__list_response__descriptor, build_list},
        {&moed__v1__show_response__descriptor, build_show},
        {&moed__v1__load_response__descriptor, build_load},
        {&moed__v1__unload_response__descriptor, build_unload},
        {&moed__v1__watch_event__descriptor, build_watch},
        {&moed__v1__hello_response__descriptor, build_hello},
        {&moed__v1__stats_response__descriptor, build_stats},
        {&moed__v1__tokenize_response__descriptor, build_tokenize},
        {&moed__v1__detokenize_response__descriptor, build_detokenize},
        {&moed__v1__render_response__descriptor, build_render},
        {&moed__v1__embed_response__descriptor, build_embed},
        {&moed__v1__cancel_response__descriptor, build_cancel},
        {&moed__v1__reload_response__descriptor, build_reload},
        {&moed__v1__session__descriptor, view_build_session},
        {&moed__v1__session_list_response__descriptor, view_build_sessions},
        {&moed__v1__session_show_response__descriptor, view_build_shown},
    };
    view_fini(view);
    for (size_t i = 0; i < sizeof builders / sizeof *builders; i++)
        if (builders[i].type == message->descriptor)
            return builders[i].build(view, message, generation_id);
    return 0;
}
