/* SPDX-License-Identifier: MIT */
#include "engine/finder.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "model/model.h"

void finder_init(struct finder *f, void (*changed)(void *arg), void *arg)
{
    *f = (struct finder){.changed = changed, .arg = arg};
}

static void forget(struct finder *f)
{
    for (int i = 0; i < f->n_folders; i++)
        found_list_fini(&f->listing[i].list);
    free(f->path);
    f->path = NULL;
    model_close(f->model);
    f->model = NULL;
    f->err = (struct err){0};
}

void finder_fini(struct finder *f)
{
    if (f->task != FINDER_IDLE)
        pthread_join(f->thread, NULL);
    forget(f);
    for (int i = 0; i < f->n_folders; i++)
        folder_close(&f->folder[i]);
    free(f->folder);
    free(f->listing);
}

int finder_add(struct finder *f, const char *path, struct err *err)
{
    size_t n = (size_t)f->n_folders + 1;
    struct folder *folder = reallocarray(f->folder, n, sizeof *folder);
    if (folder)
        f->folder = folder;
    struct finder_listing *listing = reallocarray(f->listing, n, sizeof *listing);
    if (listing)
        f->listing = listing;
    if (!folder || !listing || folder_open(path, &f->folder[f->n_folders]) < 0)
        return err_set(err, -ENOMEM, "no memory for the folder '%s'", path);
    f->listing[f->n_folders++] = (struct finder_listing){0};
    return 0;
}

static void *finder_main(void *arg)
{
    struct finder *f = arg;
    if (f->task == FINDER_OPEN) {
        const struct folder *folder = &f->folder[f->from];
        if (folder->fd < 0)
            err_set(&f->err, -ENOENT, "the folder '%s' is not there", folder->path);
        else
            model_open_at(folder->fd, f->path, &f->model, &f->err);
    } else
        for (int i = 0; i < f->n_folders; i++)
            f->listing[i].code =
                folder_list(&f->folder[i], &f->listing[i].list, &f->listing[i].err);
    /* The last use of the finder: from here on it is the loop's. */
    void (*changed)(void *) = f->changed;
    void *changed_arg = f->arg;
    atomic_store(&f->finished, true);
    changed(changed_arg);
    return NULL;
}

static int begin(struct finder *f, enum finder_task task, struct err *err)
{
    f->task = task;
    atomic_store(&f->finished, false);
    int r = thread_start(&f->thread, "moed-finder", finder_main, f);
    if (r == 0)
        return 0;
    f->task = FINDER_IDLE;
    return err_set(err, r, "cannot start looking for models: %s", strerror(-r));
}

int finder_list(struct finder *f, struct err *err)
{
    assert(f->task == FINDER_IDLE);
    forget(f);
    return begin(f, FINDER_LIST, err);
}

int finder_open(struct finder *f, int folder, const char *path, struct err *err)
{
    assert(f->task == FINDER_IDLE && folder < f->n_folders);
    forget(f);
    f->from = folder;
    f->path = strdup(path);
    if (!f->path)
        return err_set(err, -ENOMEM, "no memory to open '%s'", path);
    return begin(f, FINDER_OPEN, err);
}

enum finder_task finder_take(struct finder *f)
{
    enum finder_task task = f->task;
    if (task == FINDER_IDLE || !atomic_load(&f->finished))
        return FINDER_IDLE;
    pthread_join(f->thread, NULL);
    f->task = FINDER_IDLE;
    return task;
}
