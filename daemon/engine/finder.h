/* SPDX-License-Identifier: MIT
 *
 * Looks for models and into them, away from the loop: one thing at a time, on a thread that ends
 * with it. A disk that hangs holds up whoever waits for it, and nobody else.
 *
 * Loop thread. `changed` is called on the other thread: wake the loop and call finder_take() there.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "engine/folder.h"

struct model;

enum finder_task { FINDER_IDLE, FINDER_LIST, FINDER_OPEN };

struct finder_listing { /* of one folder */
    struct found_list list;
    int code; /* of folder_list(), with words; of -E2BIG the list is good */
    struct err err;
};

struct finder {
    struct folder *folder; /* the thread's while it runs */
    int n_folders;
    void (*changed)(void *arg);
    void *arg;

    enum finder_task task;
    pthread_t thread;
    atomic_bool finished;
    /* results, the thread's until finished */
    struct finder_listing *listing; /* one a folder */
    int from;                       /* FINDER_OPEN: the folder, and the path in it */
    char *path;
    struct model *model; /* NULL: it could not be opened */
    struct err err;
};

void finder_init(struct finder *finder, void (*changed)(void *arg), void *arg);
/* Waits for what runs. */
void finder_fini(struct finder *finder);
/* -ENOMEM. Before the first listing. */
int finder_add(struct finder *finder, const char *path, struct err *err);

/* Begin; FINDER_IDLE before. -ENOMEM, -EAGAIN: no thread; with words. */
int finder_list(struct finder *finder, struct err *err);
int finder_open(struct finder *finder, int folder, const char *path, struct err *err);
/* What is done, or FINDER_IDLE: nothing is, or it goes on. The results may be taken until the next
 * task begins, `model` must be. */
enum finder_task finder_take(struct finder *finder);
