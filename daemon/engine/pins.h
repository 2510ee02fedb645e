/* SPDX-License-Identifier: MIT
 *
 * Pins: pages of sessions that stay in memory, and are not free while they do.
 *
 * A pin has a reference to each of its pages, as a sequence has, and is put anew after each turn of
 * its session. A user's pins have an eighth of the pages at most, those of all a quarter; pages
 * that two of them share count for both. Pins do not stand in the way of a request that needs more
 * than they leave: then the oldest go.
 *
 * The engine's thread's, but for pins_bytes() and pins_end().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct page;
struct page_pool;
struct pins;
struct view;

int pins_open(struct page_pool *pool, uint64_t page_bytes, struct pins **ret); /* -ENOMEM */
void pins_close(struct pins *pins);
OWN_DEFINE(pins, pins_close);

/* Whether a session's pin may have so many pages: -ENOSPC, with what was found and what may be. */
int pins_check(const struct pins *pins, uint32_t uid, uint64_t talk, int pages, struct err *err);
/**
 * Pin the first pages of a view, in place of what was pinned of its session: as many as may be.
 *
 *   end     one more, behind them; NULL: none
 *   spared  so many of all pages are left to others
 *   fails   -ENOMEM: what was pinned stays
 */
int pins_put(struct pins *pins, const struct view *view, int pages, struct page *end, int spared);
void pins_drop(struct pins *pins, uint32_t uid, uint64_t talk);
/* Drops the oldest until so many of all pages are not pinned. */
void pins_leave(struct pins *pins, int pages);
/* Pages that are neither pinned, nor shared by all and so there for ever. */
int pins_n_left(const struct pins *pins);
/* Those that are; one that two pins share counts twice. */
int pins_n_pages(const struct pins *pins);
/* Drops those that pins_end() named. */
void pins_sweep(struct pins *pins);

/* Any thread: what is pinned of a session; the end of that, by the next step. */
uint64_t pins_bytes(struct pins *pins, uint32_t uid, uint64_t talk);
void pins_end(struct pins *pins, uint32_t uid, uint64_t talk);
