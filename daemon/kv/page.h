/* SPDX-License-Identifier: MIT
 *
 * The latent cache as pages: each holds the rows of 32 consecutive tokens of all layers.
 *
 * The schema says what a row is; an architecture declares it, so a new kind of cache row needs
 * nothing here. Pages are counted: sequences share those that are whole (tree.h says which), and
 * where somebody goes on in the middle of one, it is copied first. Owned by the engine's thread.
 * Where a place has several nodes of memory, each is the home of some pages, and a view takes its
 * pages at one home while there are any. Memory is reserved at open and touched only when a page is
 * first used; a page given to another user is cleared first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "place/place.h"

enum { PAGE_TOKENS = 32 }; /* as many as a page's word of answers has bits */

struct kv_schema {
    int n_layers;
    int latent, rope; /* numbers of a token's row in one layer: the latent, and its rotated key */
};

/* Bytes of one row, of one layer's rows in a page (a plane), and of a page on that place. */
size_t kv_row_bytes(const struct kv_schema *schema, enum mk_type type);
size_t kv_plane_bytes(const struct kv_schema *schema, enum mk_type type);
size_t kv_page_bytes(const struct kv_schema *schema, enum mk_type type);

struct page {
    unsigned refs;    /* 0: free */
    uint32_t uid;     /* of the last user */
    uint32_t answers; /* a bit a token: its row was made by the arithmetic of answers */
    int16_t home;
    bool dirty;   /* was used before, and not given back since */
    bool is_kept; /* one of the references is page_keep()'s, or: */
    bool is_pinned;
    void *data;
    struct page *next_free;
};

struct page_pool;

/* -ENOMEM; -EINVAL if not one page fits in `bytes`. */
int page_pool_open(const struct kv_schema *schema, enum mk_type type, uint64_t bytes,
                   struct page_pool **ret, struct err *err);
void page_pool_close(struct page_pool *pool);
OWN_DEFINE(page_pool, page_pool_close);

/* Makes the place's nodes homes of pages in equal parts. Before the first page is taken. */
void page_pool_spread(struct page_pool *pool, const struct place *place);
int page_pool_homes(const struct page_pool *pool);
/* The home with the fewest used pages. */
int page_pool_quiet_home(const struct page_pool *pool);

const void *page_pool_memory(const struct page_pool *pool, size_t *bytes);
int page_pool_total(const struct page_pool *pool);
int page_pool_used(const struct page_pool *pool);
/* Those of the used ones that are kept and that nobody else has a reference to; that are pinned. */
int page_pool_idle(const struct page_pool *pool);
int page_pool_pinned(const struct page_pool *pool);

/* Lets the kernel have the memory of free pages; bytes that it took. */
size_t page_pool_give_back(struct page_pool *pool);

/* A free page with one reference, of that home if it has one; NULL if there is none. */
struct page *page_take(struct page_pool *pool, uint32_t uid, int home);
void page_ref(struct page_pool *pool, struct page *page);
void page_unref(struct page_pool *pool, struct page *page);
/* A reference of one who will drop it when somebody needs the memory. One a page. */
void page_keep(struct page_pool *pool, struct page *page);
/* The same of one who will not, whoever needs it: the page is never idle. */
void page_pin(struct page_pool *pool, struct page *page);
void page_drop(struct page_pool *pool, struct page *page);
/* From 0 to below the total. */
int page_index(const struct page_pool *pool, const struct page *page);
/* A bit for each of the first tokens. */
uint32_t page_rows(int tokens);
/* The rows of the first tokens become those of another page that the user may know. */
void page_copy(struct page_pool *pool, struct page *page, const struct page *from, int tokens);
