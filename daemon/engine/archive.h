/* SPDX-License-Identifier: MIT
 *
 * The engine's end of the store: talks that outlive the process.
 *
 * A sequence that may find more on the disk than in memory is away while the porter looks; talks of
 * the tree are handed to him one at a time, when nothing else is to be done. One that cannot be
 * written stays unsaved, and is tried again: after a quarter of a second, then after twice as long
 * each time, up to ten minutes. On the engine's thread; pages that are lent to the porter are held
 * here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "kv/rowfile.h"
#include "kv/tree.h"

struct model;
struct place;
struct porter;
struct seq;
struct archive;

/* What rows of this model mean on this place, in pages of that schema and type; no uid. Fails as
 * reading the model does; -E2BIG: no file takes such pages. */
int archive_key(const struct model *model, const struct place *place,
                const struct kv_schema *schema, enum mk_type type, struct rowfile_key *ret,
                struct err *err);

/* `key` without a uid. At most `sequences` are away at a time, of at most `tokens` each. */
int archive_open(struct porter *porter, const struct rowfile_key *key, struct page_pool *pool,
                 struct tree *tree, int sequences, int tokens, void (*wake)(void *arg), void *arg,
                 struct archive **ret);
/* Waits for what the porter has in hand. Nobody is away any more; who is over is freed. */
void archive_close(struct archive *archive);
OWN_DEFINE(archive, archive_close);

/* Has the porter look for more than the n_known tokens in the sequence's view, which is given room
 * for them; false: there can be no more, or he has no time. */
bool archive_ask(struct archive *archive, struct seq *seq);
/* Has the porter hold what is known of a sequence's tokens, which is some, as its session's. What
 * comes of it is in seq->park; false: he has no time now. */
bool archive_park(struct archive *archive, struct seq *seq);
/* Takes what came back: a sequence that was away, with what is known in its view and tree; NULL:
 * none. */
struct seq *archive_serve(struct archive *archive);
/* Hands over the next talk that is not on the disk; false: there is none, or not yet. At last what
 * failed is tried once more, whenever that was. */
bool archive_save(struct archive *archive, bool at_last);
/* The same of talks that nobody goes on with, all or those that will soon be dropped:
 * tree_unsaved_idle(). */
bool archive_save_idle(struct archive *archive, bool all);
bool archive_is_saving(const struct archive *archive);
/* When one that failed is to be tried again; UINT64_MAX: there is none. */
uint64_t archive_retry_ns(const struct archive *archive);
/* How often a talk could not be written. */
uint64_t archive_n_failed(const struct archive *archive);
