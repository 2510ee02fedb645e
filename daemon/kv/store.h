/* SPDX-License-Identifier: MIT
 *
 * The store: a folder of row files, found by whose they are, of what model, and by their tokens.
 *
 *     FOLDER/UID/HASH.kv      0700, all of it ours; HASH.tmp while one is written
 *     FOLDER/UID/HASH.held    rows that stay until their owner lets them go
 *
 * A file comes into being by tmp, sync, rename, sync of the folder: it is there as a whole or not
 * at all. Heads are read once, at the scan, and kept in memory; blocks are checked when they are
 * read. What cannot be believed is a miss: a file that is ours and broken is removed, one of
 * another version, user or byte order is never found and goes when room is needed, anything else is
 * left alone. Whatever fails, the pages in memory stay the caller's and as they were.
 *
 * Room is a number of bytes and MOST_FILES files. Who holds the most pays first, by what was not
 * used for longest, so that nobody can push out another who holds less; but first who holds more
 * than a limit of his own. Rows that are put with a name are held: they stay until their owner lets
 * them go or removes them, and are a quarter of the room at most for one user, half of it for all.
 *
 * One thread at a time; no other process: the folder is locked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "kv/rowfile.h"

enum { STORE_MOST_FILES = 16384 };

struct store;

/**
 * Open a folder, which is made if only its last name is missing.
 *
 *   fails   -EBUSY   another process has it
 *           -EPERM   not ours, or others may write it
 *           -ENOENT, -ENOTDIR, -EACCES … as the disk does; -ENOMEM
 */
int store_open(const char *folder, uint64_t most_bytes, struct store **ret, struct err *err);
void store_close(struct store *store);
OWN_DEFINE(store, store_close);

/* Lists the folder; until then everything is a miss. What cannot be read is passed over.
 * -ENOMEM, or what makes the folder unreadable as a whole. */
int store_scan(struct store *store, struct err *err);

/**
 * Keep rows. Returns 1 if they were there already, as a part of others perhaps; else 0, and those
 * without a name that are a beginning of these are removed. What failed may be tried again.
 *
 *   text    with a name: replaces the user's rows of that name, and is held
 *   page    page[rowfile_pages(n_rows)]
 *   fails   -EFBIG   more than the store, or the user, may have in all
 *           -ENOSPC, -EDQUOT   the disk is full, or rows that are held leave no room, or are too
 *                              many: the words say which
 *           -EIO … as the disk does; -ENOMEM
 */
int store_put(struct store *store, const struct rowfile_key *key, const struct rowfile_text *text,
              void *const *page, struct err *err);

/* Rows that were kept. Valid until the next call that takes a store that is not const. */
struct kept {
    const struct rowfile_key *key;
    const struct rowfile_text *text;
    uint64_t used_ns; /* realtime: when it was written or read last */
    uint64_t bytes;
};

/**
 * Find the rows that begin as these tokens do for longest; returns how many rows that is, 0: none.
 *
 *   answer  NULL, or bits as in struct rowfile_text: rows made otherwise do not count
 */
int store_find(const struct store *store, const struct rowfile_key *key, const int32_t *token,
               int n_tokens, const uint8_t *answer, const struct kept **ret);
/* The user's rows of that name, of whatever model, those that are held first; NULL: none. */
const struct kept *store_named(const struct store *store, uint32_t uid, const char *name);
/* Reads pages as rowfile_read() does. When it fails all of the pages are zeros. -EBADMSG, -ENOENT:
 * broken or gone, and forgotten; -EIO … as the disk does, and not found again unless it is held;
 * -ENOMEM. */
int store_get(struct store *store, const struct kept *kept, int from, int n_pages,
              void *const *page, struct err *err);
/* Rows with a name are as others from now on. Fails as the disk does; they may be held after a
 * crash then. */
int store_let_go(struct store *store, const struct kept *kept, struct err *err);
/* Fails as the disk does; they may be found after a crash then, and until then if the file is
 * there. */
int store_remove(struct store *store, const struct kept *kept, struct err *err);

/* Of what a user has there without a name no more may lie there, from the next put on; without it
 * he has what there is room for. -ENOMEM. */
int store_limit(struct store *store, uint32_t uid, uint64_t most_bytes);

struct store_stat {
    uint64_t bytes, most_bytes;
    uint64_t held_bytes; /* of bytes */
    int n_files;
    uint64_t n_evicted; /* for room, since the start */
    uint64_t n_broken;  /* removed for what they were */
};
void store_stat(const struct store *store, struct store_stat *ret);
