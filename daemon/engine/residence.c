/* SPDX-License-Identifier: MIT
 *
 * Going is a thread's work too: what is kept may have to be written first, and giving back hundreds
 * of gigabytes takes the kernel seconds.
 */
#include "engine/residence.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/thread.h"
#include "base/vault.h"
#include "engine/budget.h"
#include "engine/deposit.h"
#include "engine/engine.h"
#include "engine/preamble.h"
#include "engine/scrub.h"
#include "model/kept.h"
#include "model/model.h"
#include "model/parts.h"
#include "model/weights.h"
#include "place/mem.h"
#include "place/place.h"

#define PROGRESS_NS 200000000 /* the loop is told no more often */
#define SAVE_NS     5000000000 /* a model that goes waits no longer for what is not on the disk yet */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void release(struct residence *r)
{
    scrub_stop(r->scrub);
    r->scrub = NULL;
    engine_close(r->engine);
    r->engine = NULL;
    model_unload(r->model);
    place_close(r->place);
    r->place = NULL;
}

/* Of a model that goes while the process stays. */
static void forget_kept(struct residence *r)
{
    if (r->is_kept)
        deposit_drop(r->host->vault, r->model);
    r->is_kept = false;
}

/* The last that a thread does: from here on all is the loop's. */
static void report(struct residence *r)
{
    void (*changed)(void *) = r->host->changed;
    void *arg = r->host->arg;
    atomic_store(&r->finished, true);
    changed(arg);
}

/* ------------------------------------------------------------------ coming */

static bool progress(void *arg, uint64_t done, uint64_t all)
{
    struct residence *r = arg;
    int64_t now = now_ns();
    atomic_store_explicit(&r->bytes_done, done, memory_order_relaxed);
    atomic_store_explicit(&r->bytes_all, all, memory_order_relaxed);
    if (now - r->told_ns >= PROGRESS_NS) {
        r->told_ns = now;
        atomic_store(&r->has_progress, true);
        r->host->changed(r->host->arg);
    }
    return !atomic_load_explicit(&r->give_up, memory_order_relaxed);
}

/* Pages are looked at now that the weights are in: too slow for the loop. */
static void describe(struct residence *r)
{
    const struct loaded *loaded = model_loaded(r->model);
    struct place_words *words = &r->words;
    struct mem_look look;
    char weights[192], cache[192];
    size_t bytes;
    place_describe(r->place, words);
    spread_look(&loaded->spread, &look);
    mem_describe(&look, weights, sizeof weights);
    const void *mem = engine_cache(r->engine, &bytes);
    mem_look(mem, bytes, &look);
    mem_describe(&look, cache, sizeof cache);
    spread_describe(&loaded->spread, words->nodes, sizeof words->nodes);
    size_t used = strlen(words->nodes);
    if (r->place->n_nodes > 1)
        snprintf(words->nodes + used, sizeof words->nodes - used,
                 "; each talk's latent cache is on one of them");
    snprintf(words->memory, sizeof words->memory, "weights %s%s%s; latent cache of %s %s", weights,
             r->is_kept ? ", kept by " : "", r->is_kept ? vault_words(r->host->vault) : "",
             mk_type_info[r->place->cache_type].name, cache);
}

/* Without the vault, or with one that does not work, everything is as ever but for the next start.
 */
static int load_weights(struct residence *r)
{
    struct vault *vault = r->host->vault;
    if (!vault)
        return model_load(r->model, r->place, progress, r, &r->error);
    int code = model_load_kept(r->model, r->place, progress, r, &r->error);
    if (code < 0)
        return code;
    struct err err = {0};
    const char *name = model_info(r->model)->name;
    r->is_kept = deposit_leave(vault, r->model, &err) == 0;
    if (!r->is_kept)
        log_about(LOG_LEVEL_WARNING, "models",
                  LOG_ABOUT(.event = EVENT_WEIGHTS_UNKEPT, .model = name),
                  "model '%s': its weights end with this process: %s", name, err.text);
    return 0;
}

static int open_engine(struct residence *r)
{
    struct preambles preambles __attribute__((cleanup(preambles_fini))) = {0};
    struct engine_config config = r->config.engine;
    preambles_read(&preambles, r->host->shared, r->host->n_shared, r->model);
    config.shared = &preambles;
    return engine_open(r->model, r->place, &config, r->host->changed, r->host->arg, &r->engine,
                       &r->error);
}

static int load(struct residence *r)
{
    const struct models_config *config = &r->config;
    struct place_spec spec = {.kind = config->place,
                              .isa = config->isa,
                              .threads = config->threads,
                              .nodes = config->nodes,
                              .cores = config->cores,
                              .cache = config->cache};
    struct budget budget;
    int code = place_open(&spec, &r->place, &r->error);
    if (code < 0)
        return code;
    r->is_kept = r->host->vault && deposit_adopt(r->host->vault, r->model, r->place);
    code = budget_make(r->model, r->place, &config->engine, &budget, &r->error);
    if (code == 0 && r->is_kept)
        budget.available += budget.weights; /* they are there */
    if (code == 0)
        code = budget_check(&budget, &r->error);
    if (code == 0 && !r->is_kept)
        code = load_weights(r);
    if (code == 0)
        code = model_ident(r->model, r->ident, &r->error);
    if (code == 0)
        code = open_engine(r);
    if (code == 0)
        describe(r);
    return code;
}

static void *loader_main(void *arg)
{
    struct residence *r = arg;
    r->result = load(r);
    r->ended_ns = now_ns();
    report(r);
    return NULL;
}

static const char *keep(char *dst, size_t size, const char *text)
{
    if (!text)
        return NULL;
    snprintf(dst, size, "%s", text);
    return dst;
}

static void copy_config(struct residence *r, const struct models_config *config)
{
    r->config = *config;
    r->config.place = keep(r->place_name, sizeof r->place_name, config->place);
    r->config.isa = keep(r->isa, sizeof r->isa, config->isa);
    r->config.cores = keep(r->cores, sizeof r->cores, config->cores);
    r->config.cache = keep(r->cache, sizeof r->cache, config->cache);
}

static int start(struct residence *r, const char *thread, void *(*run)(void *))
{
    atomic_store(&r->finished, false);
    int code = thread_start(&r->thread, thread, run, r);
    r->runs = code == 0;
    return code;
}

int residence_begin(struct residence *r, const struct residence_host *host, struct model *model,
                    const struct models_config *config, struct err *err)
{
    copy_config(r, config);
    r->host = host;
    r->model = model;
    atomic_store(&r->give_up, false);
    atomic_store(&r->has_progress, false);
    atomic_store(&r->bytes_done, 0);
    atomic_store(&r->bytes_all, model_info(model)->weight_bytes);
    r->error = (struct err){0};
    r->started_ns = r->ended_ns = r->told_ns = now_ns();
    int code = start(r, "moed-loader", loader_main);
    if (code < 0)
        return err_set(err, code, "cannot start loading model '%s': %s", model_info(model)->name,
                       strerror(-code));
    r->state = RESIDENCE_COMING;
    return 0;
}

/* ------------------------------------------------------------------ being here */

/* On the scrub's thread: what memory lost is not for the next process. */
static void on_broken(void *arg)
{
    struct residence *r = arg;
    deposit_drop(r->host->vault, r->model);
    atomic_store(&r->is_broken, true);
    r->host->changed(r->host->arg);
}

static void start_scrub(struct residence *r)
{
    const struct scrub_config config = {.model = r->model,
                                        .engine = r->engine,
                                        .every_ns = r->host->scrub_ns,
                                        .pace_ms = SCRUB_PACE_MS,
                                        .idle_ms = SCRUB_IDLE_MS,
                                        .broken = on_broken,
                                        .arg = r};
    struct err err = {0};
    atomic_store(&r->is_broken, false);
    if (r->is_kept && config.every_ns > 0 && scrub_start(&config, &r->scrub, &err) < 0)
        log_warning("models", "model '%s': %s", model_info(r->model)->name, err.text);
}

void residence_save(struct residence *r, uint64_t until_ns)
{
    if (r->state == RESIDENCE_HERE)
        engine_save(r->engine, until_ns);
}

/* ------------------------------------------------------------------ going */

static void *leaver_main(void *arg)
{
    struct residence *r = arg;
    forget_kept(r);
    release(r);
    report(r);
    return NULL;
}

/* Without a thread it goes at once. */
void residence_end(struct residence *r)
{
    engine_save(r->engine, (uint64_t)now_ns() + SAVE_NS);
    r->state = RESIDENCE_GOING;
    if (start(r, "moed-leaver", leaver_main) < 0)
        leaver_main(r);
}

/* ------------------------------------------------------------------ what the loop hears */

static void join(struct residence *r)
{
    if (r->runs)
        pthread_join(r->thread, NULL);
    r->runs = false;
}

enum residence_news residence_poll(struct residence *r)
{
    if (r->state != RESIDENCE_COMING && r->state != RESIDENCE_GOING)
        return RESIDENCE_QUIET;
    if (!atomic_load(&r->finished))
        return atomic_exchange(&r->has_progress, false) ? RESIDENCE_PROGRESS : RESIDENCE_QUIET;
    join(r);
    if (r->state == RESIDENCE_GOING) {
        r->state = RESIDENCE_NONE;
        return RESIDENCE_LEFT;
    }
    if (r->result < 0) {
        forget_kept(r);
        release(r);
        r->state = RESIDENCE_NONE;
        return RESIDENCE_FAILED;
    }
    start_scrub(r);
    r->state = RESIDENCE_HERE;
    return RESIDENCE_ARRIVED;
}

void residence_fini(struct residence *r)
{
    atomic_store(&r->give_up, true);
    join(r);
    if (r->state != RESIDENCE_NONE)
        release(r);
    r->state = RESIDENCE_NONE;
}
