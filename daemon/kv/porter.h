/* SPDX-License-Identifier: MIT
 *
 * The porter: a thread that carries pages between memory and a store.
 *
 * Each engine has a desk with him: jobs go down a ring, and come back up another when they are
 * done, in order. What a job points to is lent until then: pages must be held, and nobody may write
 * them or, if they are to be filled, read them. The disk is touched on his thread, but for what
 * porter_let_go() and porter_remove() do, whose callers wait until he has nothing in hand.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "kv/rowfile.h"
#include "kv/store.h"

struct porter;
struct desk;

enum porter_task {
    PORTER_KEEP,  /* store_put() */
    PORTER_FETCH, /* store_find() and store_get() */
};

struct porter_job {
    enum porter_task task;
    uint64_t ticket; /* the sender's */
    struct rowfile_key key;
    const int32_t *token;
    uint64_t talk;   /* KEEP: a session's, as which they are held; 0: they are not */
    int n_tokens;    /* KEEP: as many rows; FETCH: at most so many rows */
    uint8_t *answer; /* KEEP: a bit a row; FETCH: of the rows found, with room for n_tokens; before
                        that of the first n_made rows, else zeros */
    void **page;     /* of the rows from the first one on */
    uint64_t uid_bytes; /* KEEP: store_limit() of the key's uid */
    int n_made;  /* FETCH: so many rows must have been made as `answer` says: else they are none */
    int n_known; /* FETCH: rows that are there. If more are found, the pages from that on in which
                    they end are filled, or cleared if that fails */
    /* Filled when it comes back: */
    int result; /* 0; KEEP: 1 for rows that were there; FETCH: rows, 0: no more than are known */
    uint64_t bytes; /* KEEP of a session's: of the file */
    struct err err;
};

/* Opens the store and starts the thread, which lists it first; see store_open(). */
int porter_open(const char *folder, uint64_t most_bytes, struct porter **ret, struct err *err);
/* Ends the thread after the job in hand. Desks must be closed. */
void porter_close(struct porter *porter);
OWN_DEFINE(porter, porter_close);
/* Any thread; waits for no disk. */
void porter_stat(struct porter *porter, struct store_stat *ret);

/* What is held as a session's: from now on it goes when room is needed; or it goes at once. 0 also
 * if there is nothing; as the disk does. Any thread that may wait for a disk. */
int porter_let_go(struct porter *porter, uint32_t uid, uint64_t talk, struct err *err);
int porter_remove(struct porter *porter, uint32_t uid, uint64_t talk, struct err *err);

/* A desk for one thread, at which at most `jobs` wait; `wake` is called on the porter's thread when
 * one comes back. Any thread; -ENOMEM. */
int desk_open(struct porter *porter, int jobs, void (*wake)(void *arg), void *arg,
              struct desk **ret);
/* Waits for the job in hand; those that wait are not done, nor given back. */
void desk_close(struct desk *desk);
OWN_DEFINE(desk, desk_close);
bool desk_send(struct desk *desk, const struct porter_job *job); /* false: no room */
bool desk_take(struct desk *desk, struct porter_job *ret);       /* false: none is done */
int desk_n_out(const struct desk *desk);                         /* sent and not taken */
