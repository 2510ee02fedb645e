/* SPDX-License-Identifier: MIT
 *
 * Tables and objects. Keys are those of the protocol's messages and stay as they are.
 */
#include "moectl/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "moectl/screen.h"

static void set_word(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, screen_json_word(value));
}

static void set_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

json_t *report_model_json(const struct moed_model *m)
{
    json_t *object = json_object();
    set_word(object, "name", m->name);
    set_word(object, "path", m->path);
    set_word(object, "state", moed_model_state_name(m->state));
    set_word(object, "family", m->family);
    set_word(object, "chat", m->chat);
    set_word(object, "quantisation", m->quantisation);
    set_word(object, "container", m->container);
    set_count(object, "file_bytes", m->file_bytes);
    set_count(object, "weight_bytes", m->weight_bytes);
    set_count(object, "parameters", m->parameters);
    set_count(object, "context", m->context);
    set_count(object, "vocabulary", m->vocabulary);
    json_object_set_new(object, "has_mtp", json_boolean(m->has_mtp));
    if (m->state == MOED_MODEL_LOADING) {
        set_count(object, "bytes_done", m->bytes_done);
        set_count(object, "bytes_all", m->bytes_all);
    }
    if (m->state == MOED_MODEL_LOADING || m->state == MOED_MODEL_READY)
        json_object_set_new(object, "load_seconds", screen_json_real(m->load_seconds));
    if (m->state == MOED_MODEL_READY) {
        json_object_set_new(object, "adopted", json_boolean(m->adopted));
        set_count(object, "kept_bytes", m->kept_bytes);
    }
    if (m->state == MOED_MODEL_UNLOADED || m->state == MOED_MODEL_UNLOADING)
        json_object_set_new(object, "resting", json_boolean(m->resting));
    if (*m->error)
        set_word(object, "error", m->error);
    return object;
}

json_t *report_models_json(const struct moed_call *call)
{
    json_t *list = json_array();
    for (size_t i = 0; i < moed_call_n_models(call); i++)
        json_array_append_new(list, report_model_json(moed_call_model(call, i)));
    return list;
}

static void print_parameters(char *buffer, size_t size, uint64_t n)
{
    if (n == 0)
        *buffer = '\0'; /* nobody has looked into the file yet */
    else if (n >= 1000000000)
        snprintf(buffer, size, "%.1f B", (double)n / 1e9);
    else
        snprintf(buffer, size, "%.1f M", (double)n / 1e6);
}

static void print_row(const struct moed_model *m, int name_width)
{
    char size[32], parameters[32];
    print_parameters(parameters, sizeof parameters, m->parameters);
    screen_cell(m->name, name_width);
    screen_cell(moed_model_state_name(m->state), 9);
    screen_cell(m->quantisation, 6);
    screen_cell(m->file_bytes ? screen_bytes(size, sizeof size, m->file_bytes) : "", 10);
    screen_cell(parameters, 10);
    if (m->context)
        printf("%u", m->context);
    putchar('\n');
    if (m->resting)
        puts("  unloaded for idleness: the next request loads it");
    if (*m->error) {
        fputs("  ", stdout);
        screen_word(stdout, m->error);
        putchar('\n');
    }
}

void report_names(const struct moed_call *call)
{
    for (size_t i = 0; i < moed_call_n_models(call); i++) {
        screen_word(stdout, moed_call_model(call, i)->name);
        putchar('\n');
    }
}

void report_models(const struct moed_call *call)
{
    int width = 5;
    size_t n = moed_call_n_models(call);
    for (size_t i = 0; i < n; i++) {
        int w = screen_width(moed_call_model(call, i)->name);
        width = w > width ? w : width;
    }
    if (n == 0) {
        puts("no models");
        return;
    }
    screen_cell("MODEL", width);
    puts("STATE      QUANT   FILE        PARAMETERS  CONTEXT");
    for (size_t i = 0; i < n; i++)
        print_row(moed_call_model(call, i), width);
}

uint64_t report_count(const struct moed_histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= h->n_bounds; i++)
        n += h->counts[i];
    return n;
}

double report_percentile(const struct moed_histogram *h, double percent)
{
    double left = percent / 100 * (double)report_count(h);
    for (size_t i = 0; i < h->n_bounds; i++) {
        double n = (double)h->counts[i], low = i > 0 ? h->bounds[i - 1] : 0;
        if (n > 0 && left <= n)
            return low + (h->bounds[i] - low) * (left / n);
        left -= n;
    }
    return h->n_bounds ? h->bounds[h->n_bounds - 1] : 0;
}

static const struct {
    const char *key, *title;
    double percent;
} percentiles[] = {{"p50", "P50", 50}, {"p90", "P90", 90}, {"p95", "P95", 95}, {"p99", "P99", 99}};
enum { N_PERCENTILES = sizeof percentiles / sizeof *percentiles };

static const char *value_text(char *buffer, size_t size, const char *unit, double value)
{
    if (strcmp(unit, "s") != 0)
        snprintf(buffer, size, "%.0f %%", value * 100);
    else if (value < 0.001)
        snprintf(buffer, size, "%.0f us", value * 1e6);
    else if (value < 1)
        snprintf(buffer, size, "%.*f ms", value < 0.1 ? 1 : 0, value * 1e3);
    else
        snprintf(buffer, size, "%.*f s", value < 100 ? 1 : 0, value);
    return buffer;
}

static void print_histogram(const struct moed_histogram *h, int name_width)
{
    char text[32];
    uint64_t n = report_count(h);
    fputs("  ", stdout);
    screen_cell(h->name, name_width);
    printf("%9" PRIu64, n);
    if (n > 0)
        printf(" %9s", value_text(text, sizeof text, h->unit, h->sum / (double)n));
    for (int i = 0; i < N_PERCENTILES && n > 0; i++)
        printf(" %9s", value_text(text, sizeof text, h->unit,
                                  report_percentile(h, percentiles[i].percent)));
    putchar('\n');
}

void report_histograms(const struct moed_model_stats *m)
{
    int width = 0;
    for (size_t i = 0; i < m->n_histograms; i++) {
        int w = screen_width(m->histograms[i]->name);
        width = w > width ? w : width;
    }
    fputs("  ", stdout);
    screen_cell("", width);
    printf("%9s %9s", "COUNT", "MEAN");
    for (int i = 0; i < N_PERCENTILES; i++)
        printf(" %9s", percentiles[i].title);
    putchar('\n');
    for (size_t i = 0; i < m->n_histograms; i++)
        print_histogram(m->histograms[i], width);
}

bool report_has_fared(const struct moed_model_stats *m)
{
    return m->n_histograms > 0 && report_count(m->histograms[0]) > 0;
}

void report_fares(const struct moed_stats_info *stats)
{
    for (size_t i = 0; i < stats->n_models; i++) {
        const struct moed_model_stats *m = stats->models[i];
        if (!report_has_fared(m))
            continue;
        putchar('\n');
        screen_word(stdout, m->model);
        puts(", since it was loaded");
        report_histograms(m);
    }
}

static json_t *histogram_json(const struct moed_histogram *h)
{
    uint64_t n = report_count(h);
    json_t *object = json_object(), *bounds = json_array(), *counts = json_array();
    for (size_t i = 0; i < h->n_bounds; i++)
        json_array_append_new(bounds, screen_json_real(h->bounds[i]));
    for (size_t i = 0; i <= h->n_bounds; i++)
        json_array_append_new(counts, json_integer((json_int_t)h->counts[i]));
    set_word(object, "unit", h->unit);
    set_word(object, "help", h->help);
    set_count(object, "count", n);
    json_object_set_new(object, "mean", n ? screen_json_real(h->sum / (double)n) : json_null());
    for (int i = 0; i < N_PERCENTILES; i++)
        json_object_set_new(object, percentiles[i].key,
                            n ? screen_json_real(report_percentile(h, percentiles[i].percent))
                              : json_null());
    json_object_set_new(object, "bounds", bounds);
    json_object_set_new(object, "counts", counts);
    return object;
}

json_t *report_model_stats_json(const struct moed_model_stats *s)
{
    json_t *object = json_object();
    set_word(object, "model", s->model);
    set_count(object, "steps", s->steps);
    set_count(object, "prompt_tokens", s->prompt_tokens);
    set_count(object, "cached_tokens", s->cached_tokens);
    set_count(object, "decoded_tokens", s->decoded_tokens);
    json_object_set_new(object, "prefill_seconds", screen_json_real(s->prefill_seconds));
    json_object_set_new(object, "decode_seconds", screen_json_real(s->decode_seconds));
    set_count(object, "sequences", s->sequences);
    set_count(object, "queued", s->queued);
    json_t *classes = json_object();
    for (int i = MOED_INTERACTIVE; i <= MOED_BACKGROUND; i++)
        set_count(classes, moed_class_name((enum moed_class)i), s->queued_by_class[i]);
    json_object_set_new(object, "queued_by_class", classes);
    set_count(object, "refused", s->refused);
    json_object_set_new(object, "plan_seconds", screen_json_real(s->plan_seconds));
    set_count(object, "pages_used", s->pages_used);
    set_count(object, "pages_kept", s->pages_kept);
    set_count(object, "pages_pinned", s->pages_pinned);
    set_count(object, "scrubbed_bytes", s->scrubbed_bytes);
    set_count(object, "broken", s->broken);
    set_count(object, "mended", s->mended);
    set_count(object, "pages_total", s->pages_total);
    set_count(object, "cache_bytes", s->cache_bytes);
    set_count(object, "given_back_bytes", s->given_back_bytes);
    set_count(object, "pages_lost", s->pages_lost);
    set_count(object, "saves_failed", s->saves_failed);
    set_count(object, "pages_shared", s->pages_shared);
    set_word(object, "workers", s->workers);
    set_word(object, "memory", s->memory);
    set_word(object, "nodes", s->nodes);
    json_t *histograms = json_object();
    for (size_t i = 0; i < s->n_histograms; i++)
        json_object_set_new(histograms, s->histograms[i]->name, histogram_json(s->histograms[i]));
    json_object_set_new(object, "histograms", histograms);
    return object;
}

json_t *report_pressure_json(const struct moed_pressure *p)
{
    json_t *object = json_object();
    bool known = p->some_percent >= 0;
    set_word(object, "rung", moed_rung_name(p->rung));
    set_count(object, "changes", p->changes);
    json_object_set_new(object, "some_percent",
                        known ? screen_json_real(p->some_percent) : json_null());
    json_object_set_new(object, "full_percent",
                        known ? screen_json_real(p->full_percent) : json_null());
    set_count(object, "left_bytes", p->left_bytes);
    set_count(object, "limit_bytes", p->limit_bytes);
    set_word(object, "limit", p->limit);
    set_word(object, "source", p->source);
    return object;
}

json_t *report_generation_json(const struct moed_generation *g)
{
    json_t *object = json_object();
    json_object_set_new(object, "generation_id", screen_json_hex(g->id, g->id_bytes));
    set_word(object, "model", g->model);
    set_count(object, "uid", g->uid);
    json_object_set_new(object, "prompt_tokens", json_integer(g->prompt_tokens));
    json_object_set_new(object, "completion_tokens", json_integer(g->completion_tokens));
    json_object_set_new(object, "seconds", screen_json_real(g->seconds));
    set_word(object, "class", moed_class_name(g->class_));
    json_object_set_new(object, "cached_tokens", json_integer(g->cached_tokens));
    json_object_set_new(object, "prefill_tokens_per_second", screen_json_real(g->prefill_rate));
    json_object_set_new(object, "decode_tokens_per_second", screen_json_real(g->decode_rate));
    json_object_set_new(object, "queue_position", json_integer(g->queue_position));
    json_object_set_new(object, "queue_seconds", screen_json_real(g->queue_seconds));
    return object;
}
