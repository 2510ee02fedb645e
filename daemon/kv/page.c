/* SPDX-License-Identifier: MIT */
#include "kv/page.h"

#include <errno.h>
#include <string.h>

#include "place/mem.h"
#include "place/plan_nodes.h"

struct home {
    struct page *free; /* used before, the last one first: its memory is warm */
    int n_touched; /* pages from here on were never given out: not even their structs are touched */
    int end;
    int used;
};

struct page_pool {
    struct page *page;
    struct home home[TOPO_MAX_NODES]; /* each has pages up to its end */
    int n_homes;
    int total, used, idle, pinned;
    int n_warm; /* free pages that were used and not given back since */
    size_t page_bytes;
    void *mem;
    size_t mem_bytes, pages_bytes;
};

size_t kv_row_bytes(const struct kv_schema *schema, enum mk_type type)
{
    return mk_cache_row_bytes(type, schema->latent, schema->rope);
}

size_t kv_plane_bytes(const struct kv_schema *schema, enum mk_type type)
{
    return (kv_row_bytes(schema, type) * PAGE_TOKENS + 63) / 64 * 64;
}

size_t kv_page_bytes(const struct kv_schema *schema, enum mk_type type)
{
    return kv_plane_bytes(schema, type) * (size_t)schema->n_layers;
}

int page_pool_open(const struct kv_schema *schema, enum mk_type type, uint64_t bytes,
                   struct page_pool **ret, struct err *err)
{
    size_t page_bytes = kv_page_bytes(schema, type);
    uint64_t total = bytes / page_bytes;
    if (total < 1 || total > INT32_MAX)
        return err_set(
            err, -EINVAL,
            "a latent cache of %llu bytes holds %llu pages of %zu bytes; 1 to %d expected",
            (unsigned long long)bytes, (unsigned long long)total, page_bytes, INT32_MAX);

    OWN(page_pool) *pool = calloc(1, sizeof *pool);
    if (!pool)
        return err_set(err, -ENOMEM, "no memory for a latent cache");
    pool->page_bytes = page_bytes;
    pool->mem_bytes = total * page_bytes;
    pool->pages_bytes = total * sizeof *pool->page;
    void *pages = NULL;
    int r = mem_reserve(pool->pages_bytes, &pages);
    pool->page = pages;
    if (r == 0)
        r = mem_reserve(pool->mem_bytes, &pool->mem);
    if (r < 0)
        return err_set(err, r, "no memory for %llu pages of latent cache, %zu bytes each",
                       (unsigned long long)total, page_bytes);
    pool->total = (int)total;
    pool->n_homes = 1;
    pool->home[0].end = (int)total;
    *ret = TAKE(pool);
    return 0;
}

void page_pool_close(struct page_pool *pool)
{
    if (!pool)
        return;
    mem_free(pool->mem, pool->mem_bytes);
    mem_free(pool->page, pool->pages_bytes);
    free(pool);
}

void page_pool_spread(struct page_pool *pool, const struct place *place)
{
    int os[TOPO_MAX_NODES], n = 0;
    for (int j = 0; j < place->n_nodes; j++)
        if (place->node[j].workers > 0) /* nobody is near the others */
            os[n++] = place->node[j].os;
    if (n < 2 || n > pool->total)
        return;
    pool->n_homes = n;
    for (int i = 0; i < n; i++) {
        int begin = (int)((int64_t)pool->total * i / n);
        struct home *home = &pool->home[i];
        *home = (struct home){.n_touched = begin, .end = (int)((int64_t)pool->total * (i + 1) / n)};
        if (os[i] >= 0) /* a wish: where weights are not bound either, status says so */
            mem_bind(pool->mem, pool->mem_bytes, (size_t)begin * pool->page_bytes,
                     (size_t)home->end * pool->page_bytes, os[i]);
    }
}

int page_pool_homes(const struct page_pool *pool)
{
    return pool->n_homes;
}

int page_pool_quiet_home(const struct page_pool *pool)
{
    int best = 0;
    for (int i = 1; i < pool->n_homes; i++)
        if (pool->home[i].used < pool->home[best].used)
            best = i;
    return best;
}

const void *page_pool_memory(const struct page_pool *pool, size_t *bytes)
{
    *bytes = pool->mem_bytes;
    return pool->mem;
}

int page_pool_total(const struct page_pool *pool)
{
    return pool->total;
}

int page_pool_used(const struct page_pool *pool)
{
    return pool->used;
}

int page_pool_idle(const struct page_pool *pool)
{
    return pool->idle;
}

int page_pool_pinned(const struct page_pool *pool)
{
    return pool->pinned;
}

/* A page of one home. */
static struct page *take(struct page_pool *pool, int at)
{
    struct home *home = &pool->home[at];
    struct page *page = home->free;
    if (page) {
        home->free = page->next_free;
        pool->n_warm -= page->dirty;
    } else {
        if (home->n_touched == home->end)
            return NULL;
        page = &pool->page[home->n_touched];
        page->data = (char *)pool->mem + (size_t)home->n_touched++ * pool->page_bytes;
        page->home = (int16_t)at;
    }
    home->used++;
    pool->used++;
    return page;
}

struct page *page_take(struct page_pool *pool, uint32_t uid, int home)
{
    struct page *page = NULL;
    for (int i = 0; i < pool->n_homes && !page; i++)
        page = take(pool, (home + i) % pool->n_homes);
    if (!page)
        return NULL;
    /* Another user's context never lies in memory that one works on. */
    if (page->dirty && page->uid != uid)
        explicit_bzero(page->data, pool->page_bytes);
    page->dirty = true;
    page->uid = uid;
    page->answers = 0;
    page->refs = 1;
    return page;
}

static bool is_idle(const struct page *page)
{
    return page->is_kept && !page->is_pinned && page->refs == 1;
}

void page_ref(struct page_pool *pool, struct page *page)
{
    pool->idle -= is_idle(page);
    page->refs++;
}

void page_unref(struct page_pool *pool, struct page *page)
{
    if (--page->refs > 0) {
        pool->idle += is_idle(page);
        return;
    }
    struct home *home = &pool->home[page->home];
    page->next_free = home->free;
    home->free = page;
    home->used--;
    pool->used--;
    pool->n_warm++;
}

size_t page_pool_give_back(struct page_pool *pool)
{
    size_t bytes = 0;
    for (int i = 0; i < pool->n_homes && pool->n_warm > 0; i++)
        for (struct page *page = pool->home[i].free; page; page = page->next_free) {
            if (!page->dirty)
                continue;
            bytes += mem_give_back(page->data, pool->page_bytes);
            page->dirty = false;
            pool->n_warm--;
        }
    return bytes;
}

void page_keep(struct page_pool *pool, struct page *page)
{
    page_ref(pool, page);
    page->is_kept = true;
}

void page_pin(struct page_pool *pool, struct page *page)
{
    page_keep(pool, page);
    page->is_pinned = true;
    pool->pinned++;
}

void page_drop(struct page_pool *pool, struct page *page)
{
    pool->idle -= is_idle(page);
    pool->pinned -= page->is_pinned;
    page->is_kept = page->is_pinned = false;
    page_unref(pool, page);
}

int page_index(const struct page_pool *pool, const struct page *page)
{
    return (int)(page - pool->page);
}

uint32_t page_rows(int tokens)
{
    return (uint32_t)((1ull << tokens) - 1);
}

/* All of it, for what lies where in a plane is not our business. */
void page_copy(struct page_pool *pool, struct page *page, const struct page *from, int tokens)
{
    memcpy(page->data, from->data, pool->page_bytes);
    page->answers = from->answers & page_rows(tokens);
}
