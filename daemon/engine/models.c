/* SPDX-License-Identifier: MIT
 *
 * Each load is a thread of its own that ends when the model is ready or has failed; its result is
 * taken over by models_update() on the loop.
 */
#include "engine/models.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "engine/budget.h"
#include "model/model.h"
#include "place/place.h"

struct slot {
    struct models_entry entry; /* first: what callers hold */
    struct models *models;
    struct model *model;
    struct place *place;

    /* Between the loader and the loop. */
    pthread_t thread;
    bool loading;
    atomic_bool finished, give_up;
    atomic_uint_fast64_t bytes_done, bytes_all;
    int result; /* the loader's until finished */
    struct engine *engine;
    struct err error;
    struct timespec started, ended;
};

struct models {
    struct models_config config;
    char *place, *isa; /* owned copies of the config's strings */
    void (*changed)(void *arg);
    void *arg;
    struct slot **slot;
    int n;
};

const char *models_state_name(enum models_state state)
{
    static const char *const names[] = {
        [MODELS_UNLOADED] = "unloaded", [MODELS_LOADING] = "loading", [MODELS_READY] = "ready",
        [MODELS_TEXT] = "text",         [MODELS_FAILED] = "failed",
    };
    return names[state];
}

int models_new(const struct models_config *config, void (*changed)(void *arg), void *arg,
               struct models **ret, struct err *err)
{
    OWN(models) *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, -ENOMEM, "no memory for the list of models");
    m->config = *config;
    m->changed = changed;
    m->arg = arg;
    m->place = strdup(config->place);
    m->isa = config->isa ? strdup(config->isa) : NULL;
    if (!m->place || (config->isa && !m->isa))
        return err_set(err, -ENOMEM, "no memory for the list of models");
    m->config.place = m->place;
    m->config.isa = m->isa;
    *ret = TAKE(m);
    return 0;
}

static void set_state(struct slot *slot, enum models_state state)
{
    slot->entry.state = state;
    slot->entry.generation++;
}

static void release(struct slot *slot)
{
    engine_close(slot->entry.engine);
    slot->entry.engine = NULL;
    if (slot->model)
        model_unload(slot->model);
    place_close(slot->place);
    slot->place = NULL;
}

static void slot_free(struct slot *slot)
{
    if (!slot)
        return;
    if (slot->loading) {
        atomic_store(&slot->give_up, true);
        pthread_join(slot->thread, NULL);
        engine_close(slot->engine);
    }
    release(slot);
    model_close(slot->model);
    free(slot);
}
OWN_DEFINE(slot, slot_free);

void models_free(struct models *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n; i++)
        slot_free(m->slot[i]);
    free(m->slot);
    free(m->place);
    free(m->isa);
    free(m);
}

int models_add(struct models *m, const char *path, struct err *err)
{
    OWN(slot) *slot = calloc(1, sizeof *slot);
    if (!slot)
        return err_set(err, -ENOMEM, "no memory for model '%s'", path);
    slot->models = m;
    int r = model_open(path, &slot->model, err);
    if (r < 0)
        return r;
    const struct model_info *info = model_info(slot->model);
    const struct models_entry *other = models_find(m, info->name);
    if (other && m->n > 0)
        return err_set(err, -EEXIST, "model '%s' is listed twice: %s and %s", info->name,
                       other->path, path);
    slot->entry.name = info->name;
    slot->entry.path = info->path;
    slot->entry.model = slot->model;
    set_state(slot, info->text_only ? MODELS_TEXT : MODELS_UNLOADED);
    if (!info->text_only && model_hparams(slot->model)->warn_no_mscale)
        log_warning(
            "models",
            "model '%s': YaRN without key yarn_log_multiplier, so attention is not rescaled",
            info->name);

    struct slot **more = realloc(m->slot, (size_t)(m->n + 1) * sizeof *more);
    if (!more)
        return err_set(err, -ENOMEM, "no memory for model '%s'", path);
    m->slot = more;
    m->slot[m->n++] = TAKE(slot);
    return 0;
}

int models_count(const struct models *m)
{
    return m->n;
}

static void refresh(struct slot *slot)
{
    slot->entry.bytes_done = atomic_load(&slot->bytes_done);
    slot->entry.bytes_all = atomic_load(&slot->bytes_all);
}

struct models_entry *models_at(struct models *m, int i)
{
    refresh(m->slot[i]);
    return &m->slot[i]->entry;
}

struct models_entry *models_find(struct models *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (!name || !*name || !strcmp(m->slot[i]->entry.name, name))
            return models_at(m, i);
    return NULL;
}

/* ------------------------------------------------------------------ loading */

static bool progress(void *arg, uint64_t done, uint64_t all)
{
    struct slot *slot = arg;
    atomic_store_explicit(&slot->bytes_done, done, memory_order_relaxed);
    atomic_store_explicit(&slot->bytes_all, all, memory_order_relaxed);
    return !atomic_load_explicit(&slot->give_up, memory_order_relaxed);
}

static int load(struct slot *slot)
{
    const struct models *m = slot->models;
    struct place_spec spec = {
        .kind = m->config.place, .isa = m->config.isa, .threads = m->config.threads};
    struct budget budget;
    int r = place_open(&spec, &slot->place, &slot->error);
    if (r == 0)
        r = budget_make(slot->model, slot->place, &m->config.engine, &budget, &slot->error);
    if (r == 0)
        r = budget_check(&budget, &slot->error);
    if (r == 0)
        r = model_load(slot->model, slot->place, progress, slot, &slot->error);
    if (r == 0)
        r = engine_open(slot->model, slot->place, &m->config.engine, m->changed, m->arg,
                        &slot->engine, &slot->error);
    return r;
}

static void *loader_main(void *arg)
{
    struct slot *slot = arg;
    slot->result = load(slot);
    clock_gettime(CLOCK_MONOTONIC, &slot->ended);
    /* The last use of the slot: from here on it is the loop's. */
    void (*changed)(void *) = slot->models->changed;
    void *changed_arg = slot->models->arg;
    atomic_store(&slot->finished, true);
    changed(changed_arg);
    return NULL;
}

int models_load(struct models *m, struct models_entry *entry, struct err *err)
{
    (void)m;
    struct slot *slot = (struct slot *)entry;
    if (entry->state == MODELS_LOADING || entry->state == MODELS_READY)
        return 0;
    if (entry->state == MODELS_TEXT)
        return err_set(err, -ENOTSUP, "model '%s' holds a vocabulary and no weights", entry->name);
    atomic_store(&slot->finished, false);
    atomic_store(&slot->give_up, false);
    atomic_store(&slot->bytes_done, 0);
    atomic_store(&slot->bytes_all, model_info(slot->model)->weight_bytes);
    slot->engine = NULL;
    slot->error = (struct err){0};
    clock_gettime(CLOCK_MONOTONIC, &slot->started);

    sigset_t all, old; /* signals are the loop's business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&slot->thread, NULL, loader_main, slot);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r)
        return err_set(err, -r, "cannot start loading model '%s': %s", entry->name, strerror(r));
    slot->loading = true;
    set_state(slot, MODELS_LOADING);
    log_info("models", "model '%s': loading %s", entry->name, entry->path);
    return 0;
}

static void take_over(struct slot *slot)
{
    pthread_join(slot->thread, NULL);
    slot->loading = false;
    struct models_entry *entry = &slot->entry;
    if (slot->result < 0) {
        release(slot);
        entry->error = slot->error;
        set_state(slot, MODELS_FAILED);
        log_error("models", "model '%s' did not load: %s", entry->name, slot->error.text);
        return;
    }
    entry->engine = slot->engine;
    entry->load_seconds = (double)(slot->ended.tv_sec - slot->started.tv_sec) +
                          (double)(slot->ended.tv_nsec - slot->started.tv_nsec) * 1e-9;
    set_state(slot, MODELS_READY);
    struct engine_stat stat;
    engine_stat(entry->engine, &stat);
    log_info("models",
             "model '%s' ready in %.2f s: %.1f MB of weights on place %s (%s, %d threads), context "
             "%u tokens, latent cache %u pages in %.1f MB",
             entry->name, entry->load_seconds, (double)model_info(slot->model)->weight_bytes / 1e6,
             slot->place->ops->kind, slot->place->isa, slot->place->threads, stat.context,
             stat.pages_total, (double)stat.cache_bytes / 1e6);
}

bool models_update(struct models *m)
{
    bool changed = false;
    for (int i = 0; i < m->n; i++) {
        struct slot *slot = m->slot[i];
        if (!slot->loading || !atomic_load(&slot->finished))
            continue;
        take_over(slot);
        changed = true;
    }
    return changed;
}

int models_unload(struct models *m, struct models_entry *entry, struct err *err)
{
    (void)m;
    struct slot *slot = (struct slot *)entry;
    if (entry->state == MODELS_LOADING)
        return err_set(err, -EBUSY, "model '%s' is loading", entry->name);
    if (entry->state == MODELS_TEXT || entry->state == MODELS_UNLOADED)
        return 0;
    release(slot);
    set_state(slot, MODELS_UNLOADED);
    log_info("models", "model '%s' unloaded", entry->name);
    return 0;
}
