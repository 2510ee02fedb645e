/* SPDX-License-Identifier: MIT */
#include "kv/page.h"

#include <errno.h>
#include <string.h>

#include "place/mem.h"

struct page_pool {
    struct page *page;
    struct page *free; /* used before, the last one first: its memory is warm */
    int total, used;
    int n_touched; /* pages from here on were never given out: not even their structs are touched */
    size_t page_bytes;
    void *mem;
    size_t mem_bytes, pages_bytes;
};

size_t kv_row_bytes(const struct kv_schema *schema, enum mk_type type)
{
    return mk_row_bytes(type, (size_t)schema->row_elements);
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

struct page *page_take(struct page_pool *pool, uint32_t uid)
{
    struct page *page = pool->free;
    if (page) {
        pool->free = page->next_free;
    } else {
        if (pool->n_touched == pool->total)
            return NULL;
        page = &pool->page[pool->n_touched];
        page->data = (char *)pool->mem + (size_t)pool->n_touched++ * pool->page_bytes;
    }
    pool->used++;
    /* Another user's context never lies in memory that one works on. */
    if (page->dirty && page->uid != uid)
        explicit_bzero(page->data, pool->page_bytes);
    page->dirty = true;
    page->uid = uid;
    page->refs = 1;
    return page;
}

void page_ref(struct page *page)
{
    page->refs++;
}

void page_unref(struct page_pool *pool, struct page *page)
{
    if (--page->refs > 0)
        return;
    page->next_free = pool->free;
    pool->free = page;
    pool->used--;
}
