/* SPDX-License-Identifier: MIT
 *
 * Stats and Watch. Loop thread.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "engine/models.h"
#include "engine/scrub.h"
#include "moed/v1/stats.pb-c.h"
#include "place/place.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/figures.h"
#include "service/generation.h"
#include "service/hub.h"
#include "service/method.h"
#include "service/pressure.h"
#include "ttrpc.h"

enum {
    N_GAUGES = 4,
    MAX_GENERATIONS = 250, /* thirteen fields each, and a message has 4096 */
};

/* ---- Stats */
static uint64_t resident_bytes(void)
{
    char text[128] = "";
    OWN_FD fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    unsigned long long size = 0, resident = 0;
    sscanf(text, "%llu %llu", &size, &resident);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void set_counter(Moed__V1__Counter *c, const struct counter_text *text, uint64_t value)
{
    moed__v1__counter__init(c);
    c->name = (char *)text->name;
    c->unit = (char *)text->unit;
    c->help = (char *)text->help;
    c->has_value = true;
    c->value = value;
}

static int n_open_calls(const struct hub *hub)
{
    int n = 0;
    for (const struct conn *conn = hub->conns; conn; conn = conn->next)
        n += conn->n_calls;
    return n;
}

static void set_counters(const struct hub *hub, Moed__V1__Counter *list)
{
    static const struct counter_text gauges[N_GAUGES] = {
        {"connections", "", "open now"},
        {"calls_open", "", "calls open now, this one too"},
        {"generations_running", "", "handed to an engine and not done"},
        {"client_bytes", "B", "held for clients: input, requests, unsent output"},
    };
    const uint64_t values[N_GAUGES] = {(uint64_t)hub->n_conns, (uint64_t)n_open_calls(hub),
                                       (uint64_t)hub->n_running, hub->held_bytes};
    for (int i = 0; i < N_GAUGES; i++)
        set_counter(&list[i], &gauges[i], values[i]);
    for (int i = 0; i < N_COUNTERS; i++)
        set_counter(&list[N_GAUGES + i], &counter_table[i], hub->counters[i]);
}

static void set_model(const struct models_entry *entry, Moed__V1__ModelStats *m,
                      struct place_words *words, struct engine_stat *s)
{
    engine_stat(entry->engine, s);
    models_describe(entry, words);
    moed__v1__model_stats__init(m);
    m->model = (char *)entry->name;
    m->has_steps = m->has_prompt_tokens = m->has_decoded_tokens = true;
    m->steps = s->steps;
    m->prompt_tokens = s->prompt_tokens;
    m->decoded_tokens = s->decoded_tokens;
    m->has_prefill_seconds = m->has_decode_seconds = true;
    m->prefill_seconds = (double)s->prefill_ns * 1e-9;
    m->decode_seconds = (double)s->decode_ns * 1e-9;
    m->has_sequences = m->has_queued = m->has_pages_used = m->has_pages_total = true;
    m->sequences = s->sequences;
    m->queued = s->queued;
    m->pages_used = s->pages_used;
    m->pages_total = s->pages_total;
    m->has_cached_tokens = m->has_pages_kept = true;
    m->cached_tokens = s->cached_tokens;
    m->pages_kept = s->pages_kept;
    m->has_pages_pinned = true;
    m->pages_pinned = s->pages_pinned;
    m->queued_by_class = s->queued_by_class;
    m->n_queued_by_class = N_CLASSES;
    m->has_refused = m->has_plan_seconds = true;
    m->refused = s->requests_refused;
    m->plan_seconds = (double)s->plan_ns * 1e-9;
    m->has_cache_bytes = m->has_given_back_bytes = m->has_pages_lost = true;
    m->cache_bytes = s->cache_bytes;
    m->given_back_bytes = s->given_back_bytes;
    m->pages_lost = s->pages_lost;
    m->has_saves_failed = m->has_pages_shared = true;
    m->pages_shared = s->pages_shared;
    m->saves_failed = s->saves_failed;
    struct scrub_stat scrub;
    models_scrubbed(entry, &scrub);
    m->has_scrubbed_bytes = m->has_broken = m->has_mended = true;
    m->scrubbed_bytes = scrub.bytes;
    m->broken = scrub.broken;
    m->mended = scrub.mended;
    m->workers = words->workers;
    m->memory = words->memory;
    m->nodes = words->nodes;
}

struct report { /* the messages of one answer and the lists that point at them */
    Moed__V1__Counter counters[N_GAUGES + N_COUNTERS];
    Moed__V1__Counter *counter_list[N_GAUGES + N_COUNTERS];
    Moed__V1__Generation generations[MAX_GENERATIONS];
    Moed__V1__Generation *generation_list[MAX_GENERATIONS];
};

static size_t list_generations(struct call *call, struct report *report)
{
    struct hub *hub = call->hub;
    uint32_t uid = call->conn->uid == getuid() ? 0 : call->conn->uid; /* our own uid sees all */
    size_t n = 0;
    for (struct generation *g = generation_next(hub, NULL, uid); g && n < MAX_GENERATIONS;
         g = generation_next(hub, g, uid)) {
        generation_describe(g, &report->generations[n]);
        report->generation_list[n] = &report->generations[n];
        n++;
    }
    return n;
}

static void report_stats(struct call *call, bool experts)
{
    struct hub *hub = call->hub;
    size_t n = (size_t)models_count(hub->models);
    OWN_MEM struct report *report = calloc(1, sizeof *report);
    OWN_MEM Moed__V1__ModelStats *models = calloc(n + 1, sizeof *models);
    OWN_MEM Moed__V1__ModelStats **list = calloc(n + 1, sizeof *list);
    OWN_MEM struct place_words *words = calloc(n + 1, sizeof *words);
    OWN_MEM struct engine_stat *stats = calloc(n + 1, sizeof *stats);
    OWN(figures) *figures = NULL;
    if (!report || !models || !list || !words || !stats) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the figures");
        return;
    }
    Moed__V1__StatsResponse response = MOED__V1__STATS_RESPONSE__INIT;
    set_counters(hub, report->counters);
    for (int i = 0; i < N_GAUGES + N_COUNTERS; i++)
        report->counter_list[i] = &report->counters[i];
    response.counters = report->counter_list;
    response.n_counters = N_GAUGES + N_COUNTERS;
    for (size_t i = 0; i < n; i++) {
        const struct models_entry *entry = models_at(hub->models, (int)i);
        if (!entry->engine)
            continue;
        set_model(entry, &models[response.n_models], &words[response.n_models],
                  &stats[response.n_models]);
        if (figures_add(&figures, entry->engine, experts, &models[response.n_models]) < 0) {
            call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the figures");
            return;
        }
        list[response.n_models] = &models[response.n_models];
        response.n_models++;
    }
    response.models = list;
    response.n_generations = list_generations(call, report);
    response.generations = report->generation_list;
    response.has_uptime_seconds = response.has_resident_bytes = true;
    response.uptime_seconds = (double)(uv_now(hub->loop) - hub->started_ms) * 1e-3;
    response.resident_bytes = resident_bytes();
    response.notice = (char *)(hub->config.notice ? hub->config.notice(hub->config.arg) : "");
    response.vault = (char *)models_vault(hub->models);
    Moed__V1__Pressure pressure;
    pressure_describe(hub->pressure, &pressure);
    response.pressure = &pressure;
    call_reply(call, &response.base);
}

void method_stats(struct call *call, struct payload *payload)
{
    Moed__V1__StatsRequest *request =
        call_unpack(call, &moed__v1__stats_request__descriptor, payload);
    if (!request)
        return;
    bool experts = request->experts;
    moed__v1__stats_request__free_unpacked(request, NULL);
    report_stats(call, experts);
}

/* ---- Watch: every model as it is, then what changes. Nothing queues: while an event is unwritten,
 * changes wait in the models themselves, and the next event tells how they are by then. */
struct told { /* what a watcher knows of one model */
    bool is_told;
    uint32_t generation;
    uint64_t bytes_done;
};

struct watch {
    uint64_t seq;
    uint64_t told_changes; /* of the pressure's rung */
    bool told_draining;
    struct told *told; /* by index */
    int n_told;
};

static void tell_model(struct call *call, struct watch *watch, int i)
{
    const struct models_entry *entry = models_at(call->hub->models, i);
    struct told *told = &watch->told[i];
    if (entry->gone)
        return;
    if (told->is_told && told->generation == entry->generation &&
        told->bytes_done == entry->bytes_done)
        return;
    *told = (struct told){true, entry->generation, entry->bytes_done};
    Moed__V1__WatchEvent ev = MOED__V1__WATCH_EVENT__INIT;
    Moed__V1__Model model;
    method_describe(entry, &model);
    ev.has_seq = true;
    ev.seq = watch->seq++;
    ev.model = &model;
    call_event(call, &ev.base, NULL);
}

static void tell_pressure(struct call *call, struct watch *watch)
{
    const struct pressure *pressure = call->hub->pressure;
    if (watch->told_changes == pressure_changes(pressure))
        return;
    watch->told_changes = pressure_changes(pressure);
    Moed__V1__WatchEvent ev = MOED__V1__WATCH_EVENT__INIT;
    Moed__V1__Pressure now;
    pressure_describe(pressure, &now);
    ev.has_seq = true;
    ev.seq = watch->seq++;
    ev.pressure = &now;
    call_event(call, &ev.base, NULL);
}

static void on_pump(struct call *call)
{
    struct watch *watch = call->data;
    if (call_unwritten(call) > 0)
        return;
    int n = call->hub->n_uses;
    if (n > watch->n_told) { /* models have been found */
        struct told *told = reallocarray(watch->told, (size_t)n, sizeof *told);
        if (!told) {
            call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory to watch");
            return;
        }
        memset(told + watch->n_told, 0, (size_t)(n - watch->n_told) * sizeof *told);
        watch->told = told;
        watch->n_told = n;
    }
    for (int i = 0; i < n; i++)
        tell_model(call, watch, i);
    tell_pressure(call, watch);
    if (call->hub->draining && !watch->told_draining) {
        Moed__V1__WatchEvent ev = MOED__V1__WATCH_EVENT__INIT;
        watch->told_draining = true;
        ev.has_seq = ev.has_draining = true;
        ev.seq = watch->seq++;
        ev.draining = true;
        call_event(call, &ev.base, NULL);
    }
}

static void on_changed(struct call *call)
{
    conn_touch(call->conn); /* and the pump looks */
}

static void on_end(struct call *call)
{
    struct watch *watch = call->data;
    free(watch->told);
    free(watch);
}

static const struct call_hooks hooks = {.pump = on_pump, .changed = on_changed, .end = on_end};

void method_watch(struct call *call, struct payload *payload)
{
    Moed__V1__WatchRequest *request =
        call_unpack(call, &moed__v1__watch_request__descriptor, payload);
    if (!request)
        return;
    moed__v1__watch_request__free_unpacked(request, NULL);
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory to watch");
        return;
    }
    call->data = watch;
    call->hooks = &hooks;
    call->outlives_drain = true;
    conn_touch(call->conn);
}
