/* SPDX-License-Identifier: MIT
 *
 * The list itself is roster.h; what lies in folders comes by shelf.h, what is in memory is a
 * residence.h. Their threads' results are taken over by models_update() on the loop.
 */
#include "engine/models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/own.h"
#include "base/vault.h"
#include "engine/deposit.h"
#include "engine/residence.h"
#include "engine/roster.h"
#include "engine/scrub.h"
#include "engine/shelf.h"
#include "kv/porter.h"
#include "model/kept.h"
#include "model/model.h"
#include "place/place.h"

#define SAVE_NS 2000000000 /* the end waits no longer for what is not on the disk yet */

struct models {
    struct models_config config;
    struct porter *porter;             /* NULL: no store */
    char *place, *isa, *cores, *cache; /* owned copies of the config's strings */
    struct residence_host host;
    struct roster roster;
    struct shelf shelf;
    bool is_swept; /* the vault, since the first listing */
};

const char *models_state_name(enum models_state state)
{
    static const char *const names[] = {
        [MODELS_UNLOADED] = "unloaded", [MODELS_LOADING] = "loading",
        [MODELS_READY] = "ready",       [MODELS_TEXT] = "text",
        [MODELS_FAILED] = "failed",     [MODELS_UNLOADING] = "unloading",
    };
    return names[state];
}

static struct known *known_of(struct models_entry *entry)
{
    return (struct known *)entry;
}

static const struct known *known_in(const struct models_entry *entry)
{
    return (const struct known *)entry;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void open_store(struct models *m, const char *folder)
{
    struct err err = {0};
    if (folder && porter_open(folder, m->config.keep_bytes, &m->porter, &err) < 0)
        log_about(LOG_LEVEL_ERROR, "models", LOG_ABOUT(.event = EVENT_DISK),
                  "nothing is kept on the disk: %s", err.text);
    m->config.engine.porter = m->porter;
}

struct porter *models_porter(const struct models *m)
{
    return m->porter;
}

int models_new(const struct models_config *config, void (*changed)(void *arg), void *arg,
               struct models **ret, struct err *err)
{
    OWN(models) *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, -ENOMEM, "no memory for the list of models");
    m->config = *config;
    m->host = (struct residence_host){.vault = config->vault,
                                      .scrub_ns = config->scrub_ns,
                                      .shared = config->shared,
                                      .n_shared = config->n_shared,
                                      .changed = changed,
                                      .arg = arg};
    shelf_init(&m->shelf, &m->roster, changed, arg);
    m->place = strdup(config->place);
    m->isa = config->isa ? strdup(config->isa) : NULL;
    m->cores = config->cores ? strdup(config->cores) : NULL;
    m->cache = config->cache ? strdup(config->cache) : NULL;
    if (!m->place || (config->isa && !m->isa) || (config->cores && !m->cores) ||
        (config->cache && !m->cache))
        return err_set(err, -ENOMEM, "no memory for the list of models");
    m->config.place = m->place;
    m->config.isa = m->isa;
    m->config.cores = m->cores;
    m->config.cache = m->cache;
    m->config.keep_folder = NULL; /* it is open now, or never */
    open_store(m, config->keep_folder);
    *ret = TAKE(m);
    return 0;
}

void models_free(struct models *m)
{
    if (!m)
        return;
    shelf_fini(&m->shelf);
    uint64_t until = (uint64_t)now_ns() + SAVE_NS;
    for (int i = 0; i < m->roster.n; i++)
        residence_save(&m->roster.at[i]->residence, until);
    roster_fini(&m->roster);
    porter_close(m->porter);
    free(m->place);
    free(m->isa);
    free(m->cores);
    free(m->cache);
    free(m);
}

/* ------------------------------------------------------------------ the list */

int models_add(struct models *m, const char *path, struct err *err)
{
    OWN(known) *known = calloc(1, sizeof *known);
    if (!known)
        return err_set(err, -ENOMEM, "no memory for model '%s'", path);
    int r = model_open(path, &known->model, err);
    if (r < 0)
        return r;
    const struct model_info *info = model_info(known->model);
    const struct models_entry *other = models_find(m, info->name);
    if (other && m->roster.n > 0)
        return err_set(err, -EEXIST, "model '%s' is listed twice: %s and %s", info->name,
                       other->path, path);
    known->entry.name = info->name;
    known->entry.path = info->path;
    known->entry.model = known->model;
    known->entry.info = info;
    known->entry.file_bytes = info->file_bytes;
    known_set_state(known, info->text_only ? MODELS_TEXT : MODELS_UNLOADED);
    known_warn(known);
    return roster_enter(&m->roster, &known) < 0
               ? err_set(err, -ENOMEM, "no memory for model '%s'", path)
               : 0;
}

int models_count(const struct models *m)
{
    return m->roster.n;
}

struct models_entry *models_at(struct models *m, int i)
{
    return &m->roster.at[i]->entry;
}

struct models_entry *models_find(struct models *m, const char *name)
{
    for (int i = 0; i < m->roster.n; i++) {
        struct models_entry *entry = models_at(m, i);
        if (!entry->gone && (!name || !*name || !strcmp(entry->name, name)))
            return entry;
    }
    return NULL;
}

int models_add_folder(struct models *m, const char *path, struct err *err)
{
    return shelf_add(&m->shelf, path, err);
}

unsigned models_scan(struct models *m)
{
    return shelf_scan(&m->shelf);
}

bool models_is_scanned(const struct models *m, unsigned ticket)
{
    return shelf_is_scanned(&m->shelf, ticket);
}

int models_open(struct models *m, struct models_entry *entry, struct err *err)
{
    return shelf_open(&m->shelf, known_of(entry), err);
}

void models_shut(struct models_entry *entry)
{
    shelf_shut(known_of(entry));
}

/* ------------------------------------------------------------------ the vault */

static bool is_there(void *arg, const char *path)
{
    struct models *m = arg;
    for (int i = 0; i < m->roster.n; i++)
        if (!models_at(m, i)->gone && !strcmp(models_at(m, i)->path, path))
            return true;
    return false;
}

/* Or may be, in a folder that is yet to be listed. */
static bool may_be_there(void *arg, const char *path)
{
    struct models *m = arg;
    return shelf_holds(&m->shelf, path) || is_there(arg, path);
}

void models_sweep_vault(struct models *m)
{
    if (m->config.vault)
        deposit_sweep(m->config.vault, may_be_there, m);
}

const char *models_vault(const struct models *m)
{
    return m->config.vault ? vault_words(m->config.vault) : "";
}

/* ------------------------------------------------------------------ loading */

/* What was counted while it was loaded becomes what the loop tells. */
static void refresh(struct known *known, int64_t now)
{
    struct residence *r = &known->residence;
    known->entry.bytes_done = atomic_load(&r->bytes_done);
    known->entry.bytes_all = atomic_load(&r->bytes_all);
    known->entry.load_seconds = (double)(now - r->started_ns) * 1e-9;
}

/* What counts for this model now. */
static int settle(const struct models *m, const char *name, struct models_config *ret,
                  struct err *err)
{
    *ret = m->config;
    if (!m->config.special)
        return 0;
    int r = m->config.special(m->config.special_arg, name, ret, err);
    ret->engine.porter = m->porter;
    return r;
}

int models_load(struct models *m, struct models_entry *entry, struct err *err)
{
    struct known *known = known_of(entry);
    struct models_config config;
    if (entry->state == MODELS_LOADING || entry->state == MODELS_READY)
        return 0;
    if (entry->state == MODELS_UNLOADING)
        return err_set(err, -EBUSY, "model '%s' is being unloaded", entry->name);
    if (entry->state == MODELS_TEXT)
        return err_set(err, -ENOTSUP, "model '%s' holds a vocabulary and no weights", entry->name);
    if (!known->model)
        return err_set(err, -EBADF, "model '%s' has not been opened", entry->name);
    int r = settle(m, entry->name, &config, err);
    if (r == 0)
        r = residence_begin(&known->residence, &m->host, known->model, &config, err);
    if (r < 0)
        return r;
    refresh(known, known->residence.started_ns);
    known_set_state(known, MODELS_LOADING);
    log_info("models", "model '%s': loading %s", entry->name, entry->path);
    m->host.changed(m->host.arg); /* the status line is the loop's, but not of who asked */
    return 0;
}

static void say_ready(const struct known *known)
{
    const struct models_entry *entry = &known->entry;
    const struct residence *r = &known->residence;
    struct engine_stat stat;
    engine_stat(entry->engine, &stat);
    log_about(LOG_LEVEL_INFO, "models", LOG_ABOUT(.event = EVENT_MODEL_READY, .model = entry->name),
              "model '%s' ready in %.2f s: %.1f MB of weights%s on place %s (%s, %d threads), "
              "context %u tokens, latent cache of %s, %u pages in %.1f MB",
              entry->name, entry->load_seconds,
              (double)model_info(known->model)->weight_bytes / 1e6,
              entry->adopted ? ", taken over," : "", r->place->ops->kind, r->place->isa,
              r->place->threads, stat.context, mk_type_info[r->place->cache_type].name,
              stat.pages_total, (double)stat.cache_bytes / 1e6);
    if (*r->words.workers)
        log_info("models", "model '%s': workers: %s", entry->name, r->words.workers);
    log_info("models", "model '%s': memory: %s", entry->name, r->words.memory);
    if (*r->words.nodes)
        log_info("models", "model '%s': nodes: %s", entry->name, r->words.nodes);
}

static void arrive(struct known *known)
{
    struct models_entry *entry = &known->entry;
    struct residence *r = &known->residence;
    entry->engine = r->engine;
    entry->idle_ms = r->config.idle_ms;
    entry->resting = false;
    refresh(known, r->ended_ns);
    entry->adopted = model_is_adopted(known->model);
    entry->kept_bytes = r->is_kept ? model_kept_bytes(known->model) : 0;
    known_set_state(known, MODELS_READY);
    say_ready(known);
}

static void fail(struct known *known)
{
    struct models_entry *entry = &known->entry;
    entry->error = known->residence.error;
    known_set_state(known, MODELS_FAILED);
    log_about(LOG_LEVEL_ERROR, "models",
              LOG_ABOUT(.event = EVENT_MODEL_FAILED, .model = entry->name),
              "model '%s' did not load: %s", entry->name, entry->error.text);
}

/* A found model was loaded when the last process ended: it is again, without anybody asking. */
static void resume(struct models *m, struct models_entry *entry)
{
    struct err err = {0};
    if (!entry->in_folder || entry->gone || entry->opening || entry->state != MODELS_UNLOADED ||
        !deposit_is_offered(m->config.vault, entry->path))
        return;
    int r = entry->model ? models_load(m, entry, &err) : models_open(m, entry, &err);
    if (r < 0)
        log_error("models", "cannot load '%s' again: %s", entry->name, err.text);
}

static void resume_all(struct models *m, enum finder_task task)
{
    if (!m->config.vault || task == FINDER_IDLE)
        return;
    if (task == FINDER_LIST && !m->is_swept) {
        m->is_swept = true;
        deposit_sweep(m->config.vault, is_there, m);
    }
    for (int i = 0; i < m->roster.n; i++)
        resume(m, models_at(m, i));
}

/* ------------------------------------------------------------------ unloading */

static int unload(struct models *m, struct models_entry *entry, bool rests, struct err *err)
{
    struct known *known = known_of(entry);
    if (entry->state == MODELS_LOADING)
        return err_set(err, -EBUSY, "model '%s' is loading", entry->name);
    entry->resting = rests;
    if (entry->state == MODELS_FAILED)
        known_set_state(known, MODELS_UNLOADED);
    if (entry->state != MODELS_READY)
        return 0;
    entry->engine = NULL;
    known_set_state(known, MODELS_UNLOADING);
    residence_end(&known->residence);
    m->host.changed(m->host.arg);
    return 0;
}

int models_unload(struct models *m, struct models_entry *entry, struct err *err)
{
    return unload(m, entry, false, err);
}

int models_rest(struct models *m, struct models_entry *entry, struct err *err)
{
    return unload(m, entry, true, err);
}

static void leave(struct known *known)
{
    const struct models_entry *entry = &known->entry;
    known_set_state(known, MODELS_UNLOADED);
    if (entry->resting)
        log_about(LOG_LEVEL_INFO, "models",
                  LOG_ABOUT(.event = EVENT_MODEL_RESTS, .model = entry->name),
                  "model '%s' unloaded for idleness: the next request loads it", entry->name);
    else
        log_about(LOG_LEVEL_INFO, "models",
                  LOG_ABOUT(.event = EVENT_MODEL_UNLOADED, .model = entry->name),
                  "model '%s' unloaded", entry->name);
}

/* ------------------------------------------------------------------ news */

static bool update(struct known *known)
{
    struct residence *r = &known->residence;
    enum residence_news news = residence_poll(r);
    if (atomic_load_explicit(&r->is_broken, memory_order_relaxed))
        known->entry.kept_bytes = 0;
    switch (news) {
    case RESIDENCE_QUIET:
        return false;
    case RESIDENCE_PROGRESS:
        refresh(known, now_ns());
        break;
    case RESIDENCE_ARRIVED:
        arrive(known);
        break;
    case RESIDENCE_FAILED:
        fail(known);
        break;
    case RESIDENCE_LEFT:
        leave(known);
        break;
    }
    return true;
}

bool models_update(struct models *m)
{
    enum finder_task task = shelf_update(&m->shelf);
    resume_all(m, task);
    shelf_go_on(&m->shelf, task);
    bool changed = task != FINDER_IDLE;
    for (int i = 0; i < m->roster.n; i++)
        changed |= update(m->roster.at[i]);
    return changed;
}

/* ------------------------------------------------------------------ a machine that sleeps */

void models_flush(struct models *m, uint64_t until_ns)
{
    for (int i = 0; i < m->roster.n; i++)
        if (m->roster.at[i]->entry.engine)
            engine_flush(m->roster.at[i]->entry.engine, until_ns);
}

bool models_is_flushing(const struct models *m)
{
    for (int i = 0; i < m->roster.n; i++) {
        const struct models_entry *entry = &m->roster.at[i]->entry;
        if (entry->state == MODELS_UNLOADING ||
            (entry->engine && engine_is_flushing(entry->engine)))
            return true;
    }
    return false;
}

int models_verify(struct models *m)
{
    int n = 0;
    for (int i = 0; i < m->roster.n; i++) {
        struct scrub *scrub = m->roster.at[i]->residence.scrub;
        if (m->roster.at[i]->entry.state != MODELS_READY || !scrub)
            continue;
        scrub_hurry(scrub);
        n++;
    }
    return n;
}

/* ------------------------------------------------------------------ asking */

void models_describe(const struct models_entry *entry, struct place_words *ret)
{
    *ret = (struct place_words){0};
    if (entry->state == MODELS_READY)
        *ret = known_in(entry)->residence.words;
}

void models_scrubbed(const struct models_entry *entry, struct scrub_stat *ret)
{
    scrub_stat(entry->state == MODELS_READY ? known_in(entry)->residence.scrub : NULL, ret);
}

void models_receipt(const struct models_entry *entry, struct models_receipt *ret)
{
    const struct residence *r = &known_in(entry)->residence;
    const struct place *place = r->place;
    *ret = (struct models_receipt){0};
    if (entry->state != MODELS_READY)
        return;
    snprintf(ret->place, sizeof ret->place, "%s", place->ops->kind);
    snprintf(ret->isa, sizeof ret->isa, "%s", place->isa);
    snprintf(ret->cache, sizeof ret->cache, "%s", mk_type_info[place->cache_type].name);
    snprintf(ret->attention, sizeof ret->attention, "%s", place->attention);
    snprintf(ret->model, sizeof ret->model, "%s", r->ident);
}
