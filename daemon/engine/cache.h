/* SPDX-License-Identifier: MIT
 *
 * An engine's memory of what was read and written: pages, the tree of those that may be known
 * again, the archive of those that outlive the process. Opened on any thread, used on the engine's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/ladder.h"

struct archive;
struct engine_config;
struct engine_request;
struct forward;
struct model;
struct page_pool;
struct pins;
struct place;
struct seq;
struct tree;
struct view;

struct cache {
    struct page_pool *pool;
    struct tree *tree;
    struct pins *pins;
    struct archive *archive; /* NULL: nothing outlives the process */
    int n_pages;
    int context; /* tokens: the model's, or what the pages hold */
    uint64_t bytes;
    uint64_t looked_ns; /* for something to save ahead, in vain; 0: there may be more since */
};

/* For steps of that forward; `wake` says, on some thread, that the porter brings something. */
int cache_open(struct cache *cache, const struct model *model, const struct place *place,
               const struct forward *forward, const struct engine_config *config,
               void (*wake)(void *arg), void *arg, struct err *err);
void cache_close(struct cache *cache);

/* What the uid of such a request may keep is known to its view from now on. */
void cache_limit(const struct cache *cache, const struct engine_request *request,
                 struct view *view);
/* Whether what a sequence's request is to care for can be; it is refused else: seq->park says why.
 * False: it is away, or is to ask again. */
bool cache_care(struct cache *cache, struct seq *seq);
/* A sequence is over and freed; what it knows stays known, but for what is broken, and for what was
 * parked, whose bytes go back to the kernel: how many. Pins leave `spared` of all pages to others.
 */
size_t cache_leave(struct cache *cache, struct seq *seq, bool is_broken, int spared);
/* Where it is filling up: hands over what will soon be dropped, so that it is on the disk by then.
 */
void cache_save_ahead(struct cache *cache, uint64_t now_ns);
/* Memory is so short: drops what the rung asks for, what can be saved by then saved, and gives the
 * pages' memory to the kernel; bytes. */
size_t cache_relieve(struct cache *cache, enum rung rung);
