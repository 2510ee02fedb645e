/* SPDX-License-Identifier: MIT */
#include "engine/cache.h"

#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "engine/archive.h"
#include "engine/budget.h"
#include "engine/engine.h"
#include "engine/pins.h"
#include "engine/preamble.h"
#include "engine/seq.h"
#include "kv/tree.h"
#include "model/forward.h"
#include "model/model.h"
#include "place/mem.h"
#include "place/place.h"

enum {
    LOOK_AFTER_NS = 100000000, /* for something to save ahead, where there was nothing */
    SHARED_PART = 8,           /* of the pages one in so many, at most, stays for what all share */
};

/* Every sequence at full context, with what one uid leaves to others beside them, but no more than
 * half of what is left now that the weights are in; at least what the budget promised. Only
 * reserved: what no one uses is never touched. */
static uint64_t default_bytes(const struct engine_config *config, int context, size_t page_bytes)
{
    char limit[64];
    int talk = context < BUDGET_TOKENS ? context : BUDGET_TOKENS;
    uint64_t least = (uint64_t)view_pages(talk) * page_bytes;
    uint64_t sequences = (uint64_t)config->max_sequences * (SCHED_SHARE + 1) / SCHED_SHARE + 1;
    uint64_t all = (uint64_t)view_pages(context) * page_bytes * sequences;
    uint64_t most = mem_available(limit, sizeof limit) / 2;
    return all < most ? all : least > most ? least : most;
}

/* What is shared stays when it is there: the rest must be enough for a talk as long as the context.
 */
static int share(struct cache *c, const struct preambles *preambles, int *pages)
{
    for (int i = 0; i < preambles->n; i++) {
        const struct preamble *p = &preambles->at[i];
        int more = p->n / PAGE_TOKENS;
        if (more == 0 || *pages + more > c->n_pages / SHARED_PART) {
            log_warning("engine",
                        "of SharedPrompt=%s %d tokens are not shared: they are %d whole pages, of "
                        "%d in all for what is shared %d are left",
                        p->path, p->n, more, c->n_pages / SHARED_PART,
                        c->n_pages / SHARED_PART - *pages);
            continue;
        }
        int r = tree_share(c->tree, p->token, p->n);
        if (r < 0)
            return r;
        *pages += more;
    }
    return 0;
}

static int open_pages(struct cache *c, const struct place *place, const struct kv_schema *schema,
                      enum mk_type type, const struct engine_config *config, struct err *err)
{
    size_t page_bytes = kv_page_bytes(schema, type);
    uint64_t bytes = config->cache_bytes;
    if (bytes == 0)
        bytes = default_bytes(config, c->context, page_bytes);
    int r = page_pool_open(schema, type, bytes, &c->pool, err);
    if (r < 0)
        return r;
    page_pool_spread(c->pool, place);
    c->n_pages = page_pool_total(c->pool);
    c->bytes = (uint64_t)c->n_pages * page_bytes;
    r = pins_open(c->pool, page_bytes, &c->pins);
    if (r < 0)
        return err_set(err, r, "no memory for pins");
    r = tree_open(c->pool, (int)((int64_t)c->n_pages * config->keep_percent / 100), &c->tree);
    if (r < 0)
        return err_set(err, r, "no memory to remember %d pages", c->n_pages);
    int shared = 0;
    r = config->shared ? share(c, config->shared, &shared) : 0;
    if (r < 0)
        return err_set(err, r, "no memory for what all share");
    if ((int64_t)(c->n_pages - shared) * PAGE_TOKENS < c->context)
        c->context = (c->n_pages - shared) * PAGE_TOKENS;
    return 0;
}

int cache_open(struct cache *c, const struct model *model, const struct place *place,
               const struct forward *forward, const struct engine_config *config,
               void (*wake)(void *arg), void *arg, struct err *err)
{
    struct kv_schema schema;
    forward_schema(forward, &schema);
    enum mk_type type = forward_cache_type(forward);
    *c = (struct cache){.context = model_hparams(model)->context};
    int r = open_pages(c, place, &schema, type, config, err);
    if (r < 0 || !config->porter || config->keep_percent == 0)
        return r;
    struct rowfile_key key;
    struct err why = {0};
    if (archive_key(model, place, &schema, type, &key, &why) < 0) {
        /* Everything goes on, but for a process's time only. */
        log_about(LOG_LEVEL_WARNING, "engine", LOG_ABOUT(.event = EVENT_DISK),
                  "nothing is kept on the disk: %s", why.text);
        return 0;
    }
    r = archive_open(config->porter, &key, c->pool, c->tree, config->max_sequences, c->context,
                     wake, arg, &c->archive);
    return r < 0 ? err_set(err, r, "no memory for an archive of %d tokens", c->context) : 0;
}

void cache_close(struct cache *c)
{
    archive_close(c->archive);
    pins_close(c->pins);
    tree_close(c->tree);
    assert(!c->pool || page_pool_used(c->pool) == 0);
    page_pool_close(c->pool);
    *c = (struct cache){0};
}

void cache_limit(const struct cache *c, const struct engine_request *request, struct view *view)
{
    uint64_t pages = request->kept_bytes / (c->bytes / (uint64_t)c->n_pages);
    if (pages < (uint64_t)c->n_pages)
        view->quota = (int)pages;
    view->disk_bytes = request->disk_bytes;
}

/* ------------------------------------------------------------------ sessions */

static void park(struct cache *c, struct seq *seq)
{
    if (!c->archive) {
        seq->park.is_done = true;
        seq->park.code = err_set(&seq->park.err, -EUNATCH,
                                 "the daemon has no folder to park sessions in (KeepFolder)");
    } else if (seq->n_known == 0) {
        seq->park.is_done = true;
    } else {
        archive_park(c->archive, seq);
    }
}

bool cache_care(struct cache *c, struct seq *seq)
{
    enum engine_care care = seq->request->care;
    if (care == CARE_PARK && !seq->park.is_done)
        park(c, seq);
    if (care == CARE_PIN)
        seq->park.code = pins_check(c->pins, seq->view.uid, seq->view.talk,
                                    view_pages(seq->n_known), &seq->park.err);
    return !seq->is_away && (care != CARE_PARK || seq->park.is_done);
}

/* A turn that ends before its first token is none: what was pinned stays. */
static bool is_to_be_pinned(const struct seq *seq)
{
    return seq->request->is_pinned && seq->park.code == 0 &&
           (seq->request->care == CARE_PIN || seq_is_decoding(seq));
}

static void keep(struct cache *c, struct seq *seq, int spared)
{
    struct view *view = &seq->view;
    struct page *end = tree_keep_end(c->tree, view, seq->token, seq->n_cached);
    if (is_to_be_pinned(seq) && pins_put(c->pins, view, view->n_kept, end, spared) < 0)
        log_warning("engine", "no memory for the pin of a session of uid %u", view->uid);
}

size_t cache_leave(struct cache *c, struct seq *seq, bool is_broken, int spared)
{
    uint32_t uid = seq->view.uid;
    uint64_t talk = seq->view.talk;
    bool is_parked = seq->park.is_done && seq->park.code == 0;
    if (talk && (is_broken || is_parked))
        pins_drop(c->pins, uid, talk);
    if (is_broken)
        tree_forget(c->tree, &seq->view);
    else if (!is_parked)
        keep(c, seq, spared);
    seq_free(seq, c->pool);
    c->looked_ns = 0;
    if (!is_parked)
        return 0;
    tree_drop_talk(c->tree, uid, talk);
    return page_pool_give_back(c->pool);
}

void cache_save_ahead(struct cache *c, uint64_t now_ns)
{
    if (!c->archive || archive_is_saving(c->archive) ||
        (c->looked_ns && now_ns - c->looked_ns < LOOK_AFTER_NS))
        return;
    if (!archive_save_idle(c->archive, false))
        c->looked_ns = now_ns;
}

size_t cache_relieve(struct cache *c, enum rung rung)
{
    if (rung < RUNG_PARK)
        return 0;
    if (c->archive && !archive_is_saving(c->archive))
        archive_save_idle(c->archive, true);
    tree_drop_idle(c->tree, rung < RUNG_DROP);
    return page_pool_give_back(c->pool);
}
