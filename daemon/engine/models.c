/* SPDX-License-Identifier: MIT
 *
 * Each load is a thread of its own that ends when the model is ready or has failed; its result is
 * taken over by models_update() on the loop, and so is what the finder found.
 */
#include "engine/models.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/thread.h"
#include "base/vault.h"
#include "engine/budget.h"
#include "engine/deposit.h"
#include "engine/finder.h"
#include "engine/scrub.h"
#include "kv/porter.h"
#include "model/kept.h"
#include "model/model.h"
#include "model/parts.h"
#include "model/weights.h"
#include "place/mem.h"
#include "place/place.h"

enum {
    PROGRESS_NS = 200000000, /* the loop is told no more often */
    SAVE_NS = 2000000000,    /* the end waits no longer for what is not on the disk yet */
};

struct slot {
    struct models_entry entry; /* first: what callers hold */
    struct models *models;
    struct model *model;
    struct place *place;

    /* Of a folder: what was found, and what is there since then while the model is open. */
    struct found found, next;
    int folder, next_folder;
    bool has_next, is_seen, failed_to_open;
    struct model_info info; /* stays when the model is shut */
    char kind[32];

    struct models_config config; /* of the last load; its strings: */
    char place_name[40], isa[40], cores[40], cache[40];

    /* Between the loader and the loop. */
    pthread_t thread;
    bool loading;
    atomic_bool finished, give_up, has_progress;
    atomic_uint_fast64_t bytes_done, bytes_all;
    int64_t told_ns; /* the loader's */
    int result;      /* the loader's until finished */
    struct engine *engine;
    struct place_words words;
    char ident[MODEL_IDENT_CHARS];
    struct err error;
    bool is_left;        /* its weights, in the vault */
    struct scrub *scrub; /* NULL: nobody looks at them */
    atomic_bool is_broken;
    int64_t started_ns, ended_ns;
};

struct models {
    struct models_config config;
    struct porter *porter;             /* NULL: no store */
    char *place, *isa, *cores, *cache; /* owned copies of the config's strings */
    void (*changed)(void *arg);
    void *arg;
    struct slot **slot;
    int n;
    struct finder finder;
    bool is_swept;               /* the vault, since the first listing */
    unsigned asked, begun, done; /* listings; asked is begun, or one more */
    int looked_into;             /* the slot that was opened last, or is being opened */
    int *folder_code;            /* of each, as it was last told */
    uint64_t *told;              /* hashes of the paths that a warning was for */
    size_t n_told;
};

const char *models_state_name(enum models_state state)
{
    static const char *const names[] = {
        [MODELS_UNLOADED] = "unloaded", [MODELS_LOADING] = "loading", [MODELS_READY] = "ready",
        [MODELS_TEXT] = "text",         [MODELS_FAILED] = "failed",
    };
    return names[state];
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

int models_new(const struct models_config *config, void (*changed)(void *arg), void *arg,
               struct models **ret, struct err *err)
{
    OWN(models) *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, -ENOMEM, "no memory for the list of models");
    m->config = *config;
    finder_init(&m->finder, changed, arg);
    m->changed = changed;
    m->arg = arg;
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

static void set_state(struct slot *slot, enum models_state state)
{
    slot->entry.state = state;
    slot->entry.generation++;
}

static void release(struct slot *slot)
{
    scrub_stop(slot->scrub);
    slot->scrub = NULL;
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
    found_fini(&slot->found);
    found_fini(&slot->next);
    free(slot);
}
OWN_DEFINE(slot, slot_free);

void models_free(struct models *m)
{
    if (!m)
        return;
    finder_fini(&m->finder);
    free(m->folder_code);
    free(m->told);
    uint64_t until = (uint64_t)now_ns() + SAVE_NS;
    for (int i = 0; i < m->n; i++)
        if (m->slot[i]->entry.engine)
            engine_save(m->slot[i]->entry.engine, until);
    for (int i = 0; i < m->n; i++)
        slot_free(m->slot[i]);
    porter_close(m->porter);
    free(m->slot);
    free(m->place);
    free(m->isa);
    free(m->cores);
    free(m->cache);
    free(m);
}

/* Takes the slot. */
static int enter(struct models *m, struct slot **slot)
{
    struct slot **more = realloc(m->slot, (size_t)(m->n + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    m->slot = more;
    m->slot[m->n++] = TAKE(*slot);
    return 0;
}

static void warn_of(const struct slot *slot)
{
    const struct hparams *hp = model_hparams(slot->model);
    if (hp && hp->warn_no_mscale)
        log_warning(
            "models",
            "model '%s': YaRN without key yarn_log_multiplier, so attention is not rescaled",
            slot->entry.name);
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
    slot->entry.info = info;
    slot->entry.file_bytes = info->file_bytes;
    set_state(slot, info->text_only ? MODELS_TEXT : MODELS_UNLOADED);
    warn_of(slot);
    return enter(m, &slot) < 0 ? err_set(err, -ENOMEM, "no memory for model '%s'", path) : 0;
}

int models_count(const struct models *m)
{
    return m->n;
}

struct models_entry *models_at(struct models *m, int i)
{
    return &m->slot[i]->entry;
}

struct models_entry *models_find(struct models *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (!m->slot[i]->entry.gone && (!name || !*name || !strcmp(m->slot[i]->entry.name, name)))
            return models_at(m, i);
    return NULL;
}

static bool is_there(void *arg, const char *path)
{
    struct models *m = arg;
    for (int i = 0; i < m->n; i++)
        if (!m->slot[i]->entry.gone && !strcmp(m->slot[i]->entry.path, path))
            return true;
    return false;
}

/* Or may be, in a folder that is yet to be listed. */
static bool may_be_there(void *arg, const char *path)
{
    struct models *m = arg;
    for (int i = 0; i < m->finder.n_folders; i++) {
        size_t n = strlen(m->finder.folder[i].path);
        if (!strncmp(path, m->finder.folder[i].path, n) && path[n] == '/')
            return true;
    }
    return is_there(arg, path);
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

/* ------------------------------------------------------------------ folders */

int models_add_folder(struct models *m, const char *path, struct err *err)
{
    int *code = reallocarray(m->folder_code, (size_t)m->finder.n_folders + 1, sizeof *code);
    if (!code)
        return err_set(err, -ENOMEM, "no memory for the folder '%s'", path);
    m->folder_code = code;
    code[m->finder.n_folders] = 0;
    return finder_add(&m->finder, path, err);
}

/* What there is to say of a path is said once. */
static bool is_news(struct models *m, const char *path)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *path; path++)
        hash = (hash ^ (unsigned char)*path) * 0x100000001b3u;
    for (size_t i = 0; i < m->n_told; i++)
        if (m->told[i] == hash)
            return false;
    uint64_t *told =
        m->n_told < FOLDER_MOST_MODELS ? reallocarray(m->told, m->n_told + 1, sizeof *told) : NULL;
    if (!told)
        return false; /* one line less */
    m->told = told;
    told[m->n_told++] = hash;
    return true;
}

static void fail_entry(struct slot *slot, const struct err *err)
{
    slot->entry.error = *err;
    slot->failed_to_open = true;
    set_state(slot, MODELS_FAILED);
}

/* The slot is from now on what was found; nothing is known of it yet. */
static void become(struct slot *slot, int folder, struct found *found)
{
    struct err err = {0};
    found_fini(&slot->found);
    slot->found = *found;
    *found = (struct found){0};
    slot->folder = folder;
    slot->failed_to_open = false;
    slot->entry.name = slot->found.name;
    slot->entry.path = slot->found.path;
    slot->entry.file_bytes = slot->found.bytes;
    slot->entry.info = NULL;
    slot->entry.error = err;
    slot->entry.in_folder = true;
    set_state(slot, MODELS_UNLOADED);
    if (slot->found.odd) {
        err_set(&err, -EINVAL, "'%.300s': found a %s, expected a regular file", slot->found.path,
                slot->found.odd);
        fail_entry(slot, &err);
    }
}

static void see_again(struct slot *slot, int folder, struct found *found)
{
    struct models_entry *entry = &slot->entry;
    if (entry->gone) {
        entry->gone = false;
        entry->generation++;
    }
    bool same = slot->folder == folder && slot->found.stamp == found->stamp &&
                strcmp(slot->found.path, found->path) == 0;
    if (entry->state == MODELS_LOADING || entry->state == MODELS_READY || entry->opening)
        return; /* what is in memory stays; a later listing looks again */
    if (same) {
        slot->has_next = entry->stale = false;
    } else if (slot->model) { /* somebody may be using it */
        found_fini(&slot->next);
        slot->next = *found;
        *found = (struct found){0};
        slot->next_folder = folder;
        slot->has_next = entry->stale = true;
    } else
        become(slot, folder, found);
}

static void add_found(struct models *m, int folder, struct found *found)
{
    OWN(slot) *slot = m->n < FOLDER_MOST_MODELS ? calloc(1, sizeof *slot) : NULL;
    if (!slot) {
        if (is_news(m, found->path))
            log_warning("models", "%s is passed over: %d models are listed already", found->path,
                        m->n);
        return;
    }
    slot->models = m;
    slot->is_seen = true;
    become(slot, folder, found);
    struct slot *kept = slot;
    if (enter(m, &slot) < 0)
        log_error("models", "no memory for model '%s'", kept->entry.name);
}

static struct slot *slot_named(struct models *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->slot[i]->entry.name, name))
            return m->slot[i];
    return NULL;
}

static void take_listing(struct models *m, int folder)
{
    struct finder_listing *listing = &m->finder.listing[folder];
    if (listing->code != m->folder_code[folder]) {
        m->folder_code[folder] = listing->code;
        if (listing->code < 0)
            log_warning("models", "%s", listing->err.text);
    }
    for (size_t i = 0; i < listing->list.n; i++) {
        struct found *found = &listing->list.at[i];
        struct slot *slot = slot_named(m, found->name);
        if (!slot) {
            add_found(m, folder, found);
        } else if (!slot->entry.in_folder || slot->is_seen) {
            if (strcmp(slot->entry.path, found->path) && is_news(m, found->path))
                log_warning("models", "%s is passed over: the name '%s' means %s", found->path,
                            found->name, slot->entry.path);
        } else {
            slot->is_seen = true;
            see_again(slot, folder, found);
        }
    }
}

static void take_listings(struct models *m)
{
    for (int i = 0; i < m->n; i++)
        m->slot[i]->is_seen = false;
    for (int i = 0; i < m->finder.n_folders; i++)
        take_listing(m, i);
    for (int i = 0; i < m->n; i++) {
        struct models_entry *entry = &m->slot[i]->entry;
        if (!entry->in_folder || m->slot[i]->is_seen || entry->state == MODELS_LOADING ||
            entry->state == MODELS_READY)
            continue;
        entry->gone = entry->stale = true;
    }
    m->done = m->begun;
}

static void take_opened(struct models *m)
{
    struct slot *slot = m->slot[m->looked_into]; /* which stayed what it is meanwhile */
    struct models_entry *entry = &slot->entry;
    entry->opening = false;
    if (!m->finder.model) {
        fail_entry(slot, &m->finder.err);
        return;
    }
    slot->model = TAKE(m->finder.model);
    slot->info = *model_info(slot->model);
    snprintf(slot->kind, sizeof slot->kind, "%s", slot->info.kind);
    slot->info.kind = slot->kind;
    slot->info.name = entry->name;
    slot->info.path = entry->path;
    bool is_first = !entry->info;
    entry->model = slot->model;
    entry->info = &slot->info;
    entry->file_bytes = slot->info.file_bytes;
    if (entry->state != MODELS_FAILED || slot->failed_to_open)
        set_state(slot, slot->info.text_only ? MODELS_TEXT : MODELS_UNLOADED);
    slot->failed_to_open = false;
    if (is_first)
        warn_of(slot);
}

static bool begin_listing(struct models *m)
{
    struct err err = {0};
    if (m->asked == m->begun)
        return false;
    m->begun = m->asked;
    if (finder_list(&m->finder, &err) == 0)
        return true;
    log_error("models", "%s", err.text);
    m->done = m->begun; /* who waits goes on with what is known */
    return false;
}

static bool begin_opening(struct models *m)
{
    struct err err = {0};
    for (int i = 1; i <= m->n; i++) {
        int next = (m->looked_into + i) % m->n;
        struct slot *slot = m->slot[next];
        if (!slot->entry.opening)
            continue;
        m->looked_into = next;
        if (finder_open(&m->finder, slot->folder, slot->entry.path, &err) == 0)
            return true;
        slot->entry.opening = false;
        fail_entry(slot, &err);
    }
    return false;
}

/* The next thing to look for or into, unless the finder is at work: all in turn, so that nobody who
 * asks again and again keeps the others waiting. */
static void keep_finding(struct models *m, enum finder_task last)
{
    if (m->finder.task != FINDER_IDLE)
        return;
    if (last == FINDER_LIST && begin_opening(m))
        return;
    if (!begin_listing(m))
        begin_opening(m);
}

unsigned models_scan(struct models *m)
{
    if (m->finder.n_folders == 0)
        return m->done;
    m->asked = m->begun + 1;
    keep_finding(m, FINDER_IDLE);
    return m->asked;
}

bool models_is_scanned(const struct models *m, unsigned ticket)
{
    return (int)(m->done - ticket) >= 0;
}

int models_open(struct models *m, struct models_entry *entry, struct err *err)
{
    struct slot *slot = (struct slot *)entry;
    if (slot->model || entry->opening)
        return 0;
    if (slot->found.odd)
        return err_set(err, entry->error.code, "%s", entry->error.text);
    entry->opening = true;
    keep_finding(m, FINDER_IDLE);
    return 0;
}

void models_shut(struct models *m, struct models_entry *entry)
{
    (void)m;
    struct slot *slot = (struct slot *)entry;
    if (!entry->in_folder || entry->state == MODELS_LOADING || entry->state == MODELS_READY)
        return;
    model_close(slot->model);
    slot->model = NULL;
    entry->model = NULL;
    entry->stale = false;
    if (slot->has_next) {
        slot->has_next = false;
        become(slot, slot->next_folder, &slot->next);
    }
}

/* ------------------------------------------------------------------ loading */

static bool progress(void *arg, uint64_t done, uint64_t all)
{
    struct slot *slot = arg;
    int64_t now = now_ns();
    atomic_store_explicit(&slot->bytes_done, done, memory_order_relaxed);
    atomic_store_explicit(&slot->bytes_all, all, memory_order_relaxed);
    if (now - slot->told_ns >= PROGRESS_NS) {
        slot->told_ns = now;
        atomic_store(&slot->has_progress, true);
        slot->models->changed(slot->models->arg);
    }
    return !atomic_load_explicit(&slot->give_up, memory_order_relaxed);
}

/* Pages are looked at now that the weights are in: too slow for the loop. */
static void describe(struct slot *slot)
{
    const struct loaded *loaded = model_loaded(slot->model);
    struct place_words *words = &slot->words;
    struct mem_look look;
    char weights[192], cache[192];
    size_t bytes;
    place_describe(slot->place, words);
    spread_look(&loaded->spread, &look);
    mem_describe(&look, weights, sizeof weights);
    const void *mem = engine_cache(slot->engine, &bytes);
    mem_look(mem, bytes, &look);
    mem_describe(&look, cache, sizeof cache);
    spread_describe(&loaded->spread, words->nodes, sizeof words->nodes);
    size_t used = strlen(words->nodes);
    if (slot->place->n_nodes > 1)
        snprintf(words->nodes + used, sizeof words->nodes - used,
                 "; each talk's latent cache is on one of them");
    snprintf(words->memory, sizeof words->memory, "weights %s%s%s; latent cache of %s %s", weights,
             slot->is_left ? ", kept by " : "",
             slot->is_left ? vault_words(slot->models->config.vault) : "",
             mk_type_info[slot->place->cache_type].name, cache);
}

/* Without the vault, or with one that does not work, everything is as ever but for the next start.
 */
static int load_weights(struct slot *slot)
{
    struct vault *vault = slot->models->config.vault;
    if (!vault)
        return model_load(slot->model, slot->place, progress, slot, &slot->error);
    int r = model_load_kept(slot->model, slot->place, progress, slot, &slot->error);
    if (r < 0)
        return r;
    struct err err = {0};
    slot->is_left = deposit_leave(vault, slot->model, &err) == 0;
    if (!slot->is_left)
        log_about(LOG_LEVEL_WARNING, "models",
                  LOG_ABOUT(.event = EVENT_WEIGHTS_UNKEPT, .model = slot->entry.name),
                  "model '%s': its weights end with this process: %s", slot->entry.name, err.text);
    return 0;
}

static int load(struct slot *slot)
{
    const struct models *m = slot->models;
    const struct models_config *config = &slot->config;
    struct place_spec spec = {.kind = config->place,
                              .isa = config->isa,
                              .threads = config->threads,
                              .nodes = config->nodes,
                              .cores = config->cores,
                              .cache = config->cache};
    struct budget budget;
    int r = place_open(&spec, &slot->place, &slot->error);
    if (r < 0)
        return r;
    slot->is_left = m->config.vault && deposit_adopt(m->config.vault, slot->model, slot->place);
    r = budget_make(slot->model, slot->place, &config->engine, &budget, &slot->error);
    if (r == 0 && slot->is_left)
        budget.available += budget.weights; /* they are there */
    if (r == 0)
        r = budget_check(&budget, &slot->error);
    if (r == 0 && !slot->is_left)
        r = load_weights(slot);
    if (r == 0)
        r = model_ident(slot->model, slot->ident, &slot->error);
    if (r == 0)
        r = engine_open(slot->model, slot->place, &config->engine, m->changed, m->arg,
                        &slot->engine, &slot->error);
    if (r == 0)
        describe(slot);
    return r;
}

static void *loader_main(void *arg)
{
    struct slot *slot = arg;
    slot->result = load(slot);
    slot->ended_ns = now_ns();
    /* The last use of the slot: from here on it is the loop's. */
    void (*changed)(void *) = slot->models->changed;
    void *changed_arg = slot->models->arg;
    atomic_store(&slot->finished, true);
    changed(changed_arg);
    return NULL;
}

/* What the loader counted becomes what the loop tells. */
static void refresh(struct slot *slot, int64_t now)
{
    slot->entry.bytes_done = atomic_load(&slot->bytes_done);
    slot->entry.bytes_all = atomic_load(&slot->bytes_all);
    slot->entry.load_seconds = (double)(now - slot->started_ns) * 1e-9;
}

static const char *keep(char *dst, size_t size, const char *text)
{
    if (!text)
        return NULL;
    snprintf(dst, size, "%s", text);
    return dst;
}

/* What counts for this model now; the loader reads the copy. */
static int settle(struct slot *slot, struct err *err)
{
    const struct models *m = slot->models;
    struct models_config config = m->config;
    if (m->config.special) {
        int r = m->config.special(m->config.special_arg, slot->entry.name, &config, err);
        if (r < 0)
            return r;
        config.engine.porter = m->porter;
    }
    slot->config = config;
    slot->config.place = keep(slot->place_name, sizeof slot->place_name, config.place);
    slot->config.isa = keep(slot->isa, sizeof slot->isa, config.isa);
    slot->config.cores = keep(slot->cores, sizeof slot->cores, config.cores);
    slot->config.cache = keep(slot->cache, sizeof slot->cache, config.cache);
    return 0;
}

int models_load(struct models *m, struct models_entry *entry, struct err *err)
{
    struct slot *slot = (struct slot *)entry;
    if (entry->state == MODELS_LOADING || entry->state == MODELS_READY)
        return 0;
    if (entry->state == MODELS_TEXT)
        return err_set(err, -ENOTSUP, "model '%s' holds a vocabulary and no weights", entry->name);
    if (!slot->model)
        return err_set(err, -EBADF, "model '%s' has not been opened", entry->name);
    int r = settle(slot, err);
    if (r < 0)
        return r;
    atomic_store(&slot->finished, false);
    atomic_store(&slot->give_up, false);
    atomic_store(&slot->has_progress, false);
    atomic_store(&slot->bytes_done, 0);
    atomic_store(&slot->bytes_all, model_info(slot->model)->weight_bytes);
    slot->engine = NULL;
    slot->error = (struct err){0};
    slot->started_ns = slot->told_ns = now_ns();
    refresh(slot, slot->started_ns);

    r = thread_start(&slot->thread, "moed-loader", loader_main, slot);
    if (r < 0)
        return err_set(err, r, "cannot start loading model '%s': %s", entry->name, strerror(-r));
    slot->loading = true;
    set_state(slot, MODELS_LOADING);
    log_info("models", "model '%s': loading %s", entry->name, entry->path);
    m->changed(m->arg); /* the status line is the loop's, but not of who asked */
    return 0;
}

/* Of a model that goes while the process stays. */
static void forget_kept(struct slot *slot)
{
    if (slot->is_left)
        deposit_drop(slot->models->config.vault, slot->model);
    slot->is_left = false;
}

/* On the scrub's thread: what memory lost is not for the next process. */
static void on_broken(void *arg)
{
    struct slot *slot = arg;
    deposit_drop(slot->models->config.vault, slot->model);
    atomic_store(&slot->is_broken, true);
    slot->models->changed(slot->models->arg);
}

static void start_scrub(struct slot *slot)
{
    const struct scrub_config config = {.model = slot->model,
                                        .engine = slot->entry.engine,
                                        .every_ns = slot->models->config.scrub_ns,
                                        .pace_ms = SCRUB_PACE_MS,
                                        .idle_ms = SCRUB_IDLE_MS,
                                        .broken = on_broken,
                                        .arg = slot};
    struct err err = {0};
    atomic_store(&slot->is_broken, false);
    if (slot->is_left && config.every_ns > 0 && scrub_start(&config, &slot->scrub, &err) < 0)
        log_warning("models", "model '%s': %s", slot->entry.name, err.text);
}

static void take_over(struct slot *slot)
{
    pthread_join(slot->thread, NULL);
    slot->loading = false;
    struct models_entry *entry = &slot->entry;
    if (slot->result < 0) {
        forget_kept(slot);
        release(slot);
        entry->error = slot->error;
        set_state(slot, MODELS_FAILED);
        log_about(LOG_LEVEL_ERROR, "models",
                  LOG_ABOUT(.event = EVENT_MODEL_FAILED, .model = entry->name),
                  "model '%s' did not load: %s", entry->name, slot->error.text);
        return;
    }
    entry->engine = slot->engine;
    refresh(slot, slot->ended_ns);
    entry->adopted = model_is_adopted(slot->model);
    entry->kept_bytes = slot->is_left ? model_kept_bytes(slot->model) : 0;
    start_scrub(slot);
    set_state(slot, MODELS_READY);
    struct engine_stat stat;
    engine_stat(entry->engine, &stat);
    log_about(LOG_LEVEL_INFO, "models", LOG_ABOUT(.event = EVENT_MODEL_READY, .model = entry->name),
              "model '%s' ready in %.2f s: %.1f MB of weights%s on place %s (%s, %d threads), "
              "context %u tokens, latent cache of %s, %u pages in %.1f MB",
              entry->name, entry->load_seconds, (double)model_info(slot->model)->weight_bytes / 1e6,
              entry->adopted ? ", taken over," : "", slot->place->ops->kind, slot->place->isa,
              slot->place->threads, stat.context, mk_type_info[slot->place->cache_type].name,
              stat.pages_total, (double)stat.cache_bytes / 1e6);
    if (*slot->words.workers)
        log_info("models", "model '%s': workers: %s", entry->name, slot->words.workers);
    log_info("models", "model '%s': memory: %s", entry->name, slot->words.memory);
    if (*slot->words.nodes)
        log_info("models", "model '%s': nodes: %s", entry->name, slot->words.nodes);
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
    for (int i = 0; i < m->n; i++)
        resume(m, &m->slot[i]->entry);
}

bool models_update(struct models *m)
{
    enum finder_task task = finder_take(&m->finder);
    if (task == FINDER_LIST)
        take_listings(m);
    else if (task == FINDER_OPEN)
        take_opened(m);
    resume_all(m, task);
    keep_finding(m, task);
    bool changed = task != FINDER_IDLE;
    for (int i = 0; i < m->n; i++) {
        struct slot *slot = m->slot[i];
        if (atomic_load_explicit(&slot->is_broken, memory_order_relaxed))
            slot->entry.kept_bytes = 0;
        if (!slot->loading)
            continue;
        if (atomic_load(&slot->finished))
            take_over(slot);
        else if (atomic_exchange(&slot->has_progress, false))
            refresh(slot, now_ns());
        else
            continue;
        changed = true;
    }
    return changed;
}

void models_describe(const struct models_entry *entry, struct place_words *ret)
{
    const struct slot *slot = (const struct slot *)entry;
    *ret = (struct place_words){0};
    if (entry->state == MODELS_READY)
        *ret = slot->words;
}

void models_scrubbed(const struct models_entry *entry, struct scrub_stat *ret)
{
    scrub_stat(((const struct slot *)entry)->scrub, ret);
}

void models_receipt(const struct models_entry *entry, struct models_receipt *ret)
{
    const struct slot *slot = (const struct slot *)entry;
    const struct place *place = slot->place;
    *ret = (struct models_receipt){0};
    if (entry->state != MODELS_READY)
        return;
    snprintf(ret->place, sizeof ret->place, "%s", place->ops->kind);
    snprintf(ret->isa, sizeof ret->isa, "%s", place->isa);
    snprintf(ret->cache, sizeof ret->cache, "%s", mk_type_info[place->cache_type].name);
    snprintf(ret->attention, sizeof ret->attention, "%s", place->attention);
    snprintf(ret->model, sizeof ret->model, "%s", slot->ident);
}

int models_unload(struct models *m, struct models_entry *entry, struct err *err)
{
    struct slot *slot = (struct slot *)entry;
    if (entry->state == MODELS_LOADING)
        return err_set(err, -EBUSY, "model '%s' is loading", entry->name);
    if (entry->state == MODELS_TEXT || entry->state == MODELS_UNLOADED)
        return 0;
    forget_kept(slot);
    release(slot);
    set_state(slot, MODELS_UNLOADED);
    log_about(LOG_LEVEL_INFO, "models",
              LOG_ABOUT(.event = EVENT_MODEL_UNLOADED, .model = entry->name), "model '%s' unloaded",
              entry->name);
    m->changed(m->arg);
    return 0;
}
