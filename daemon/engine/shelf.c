/* SPDX-License-Identifier: MIT
 *
 * All wait in turn, so that nobody who asks again and again keeps the others waiting.
 */
#include "engine/shelf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"

void shelf_init(struct shelf *s, struct roster *roster, void (*changed)(void *arg), void *arg)
{
    *s = (struct shelf){.roster = roster};
    finder_init(&s->finder, changed, arg);
}

void shelf_fini(struct shelf *s)
{
    finder_fini(&s->finder);
    free(s->folder_code);
    free(s->told);
}

int shelf_add(struct shelf *s, const char *path, struct err *err)
{
    int *code = reallocarray(s->folder_code, (size_t)s->finder.n_folders + 1, sizeof *code);
    if (!code)
        return err_set(err, -ENOMEM, "no memory for the folder '%s'", path);
    s->folder_code = code;
    code[s->finder.n_folders] = 0;
    return finder_add(&s->finder, path, err);
}

bool shelf_holds(const struct shelf *s, const char *path)
{
    for (int i = 0; i < s->finder.n_folders; i++) {
        const char *folder = s->finder.folder[i].path;
        size_t n = strlen(folder);
        if (!strncmp(path, folder, n) && path[n] == '/')
            return true;
    }
    return false;
}

/* What there is to say of a path is said once. */
static bool is_news(struct shelf *s, const char *path)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *path; path++)
        hash = (hash ^ (unsigned char)*path) * 0x100000001b3u;
    for (size_t i = 0; i < s->n_told; i++)
        if (s->told[i] == hash)
            return false;
    uint64_t *told =
        s->n_told < FOLDER_MOST_MODELS ? reallocarray(s->told, s->n_told + 1, sizeof *told) : NULL;
    if (!told)
        return false; /* one line less */
    s->told = told;
    told[s->n_told++] = hash;
    return true;
}

static void fail_entry(struct known *known, const struct err *err)
{
    known->entry.error = *err;
    known->failed_to_open = true;
    known_set_state(known, MODELS_FAILED);
}

/* The entry is from now on what was found; nothing is known of it yet. */
static void become(struct known *known, int folder, struct found *found)
{
    struct err err = {0};
    found_fini(&known->found);
    known->found = *found;
    *found = (struct found){0};
    known->folder = folder;
    known->failed_to_open = false;
    known->entry.name = known->found.name;
    known->entry.path = known->found.path;
    known->entry.file_bytes = known->found.bytes;
    known->entry.info = NULL;
    known->entry.error = err;
    known->entry.in_folder = true;
    known_set_state(known, MODELS_UNLOADED);
    if (known->found.odd) {
        err_set(&err, -EINVAL, "'%.300s': found a %s, expected a regular file", known->found.path,
                known->found.odd);
        fail_entry(known, &err);
    }
}

static void see_again(struct known *known, int folder, struct found *found)
{
    struct models_entry *entry = &known->entry;
    if (entry->gone) {
        entry->gone = false;
        entry->generation++;
    }
    bool same = known->folder == folder && known->found.stamp == found->stamp &&
                strcmp(known->found.path, found->path) == 0;
    if (known_is_in_memory(known) || entry->opening)
        return; /* what is in memory stays; a later listing looks again */
    if (same) {
        known->has_next = entry->stale = false;
    } else if (known->model) { /* somebody may be using it */
        found_fini(&known->next);
        known->next = *found;
        *found = (struct found){0};
        known->next_folder = folder;
        known->has_next = entry->stale = true;
    } else
        become(known, folder, found);
}

static void add_found(struct shelf *s, int folder, struct found *found)
{
    OWN(known) *known = s->roster->n < FOLDER_MOST_MODELS ? calloc(1, sizeof *known) : NULL;
    if (!known) {
        if (is_news(s, found->path))
            log_warning("models", "%s is passed over: %d models are listed already", found->path,
                        s->roster->n);
        return;
    }
    known->is_seen = true;
    become(known, folder, found);
    struct known *kept = known;
    if (roster_enter(s->roster, &known) < 0)
        log_error("models", "no memory for model '%s'", kept->entry.name);
}

static void take_listing(struct shelf *s, int folder)
{
    struct finder_listing *listing = &s->finder.listing[folder];
    if (listing->code != s->folder_code[folder]) {
        s->folder_code[folder] = listing->code;
        if (listing->code < 0)
            log_warning("models", "%s", listing->err.text);
    }
    for (size_t i = 0; i < listing->list.n; i++) {
        struct found *found = &listing->list.at[i];
        struct known *known = roster_find(s->roster, found->name);
        if (!known) {
            add_found(s, folder, found);
        } else if (!known->entry.in_folder || known->is_seen) {
            if (strcmp(known->entry.path, found->path) && is_news(s, found->path))
                log_warning("models", "%s is passed over: the name '%s' means %s", found->path,
                            found->name, known->entry.path);
        } else {
            known->is_seen = true;
            see_again(known, folder, found);
        }
    }
}

static void take_listings(struct shelf *s)
{
    for (int i = 0; i < s->roster->n; i++)
        s->roster->at[i]->is_seen = false;
    for (int i = 0; i < s->finder.n_folders; i++)
        take_listing(s, i);
    for (int i = 0; i < s->roster->n; i++) {
        const struct known *known = s->roster->at[i];
        if (known->entry.in_folder && !known->is_seen && !known_is_in_memory(known))
            s->roster->at[i]->entry.gone = s->roster->at[i]->entry.stale = true;
    }
    s->done = s->begun;
}

static void take_opened(struct shelf *s)
{
    struct known *known = s->roster->at[s->looked_into]; /* which stayed what it is meanwhile */
    struct models_entry *entry = &known->entry;
    entry->opening = false;
    if (!s->finder.model) {
        fail_entry(known, &s->finder.err);
        return;
    }
    known->model = TAKE(s->finder.model);
    known->info = *model_info(known->model);
    snprintf(known->kind, sizeof known->kind, "%s", known->info.kind);
    known->info.kind = known->kind;
    known->info.name = entry->name;
    known->info.path = entry->path;
    bool is_first = !entry->info;
    entry->model = known->model;
    entry->info = &known->info;
    entry->file_bytes = known->info.file_bytes;
    if (entry->state != MODELS_FAILED || known->failed_to_open)
        known_set_state(known, known->info.text_only ? MODELS_TEXT : MODELS_UNLOADED);
    known->failed_to_open = false;
    if (is_first)
        known_warn(known);
}

static bool begin_listing(struct shelf *s)
{
    struct err err = {0};
    if (s->asked == s->begun)
        return false;
    s->begun = s->asked;
    if (finder_list(&s->finder, &err) == 0)
        return true;
    log_error("models", "%s", err.text);
    s->done = s->begun; /* who waits goes on with what is known */
    return false;
}

static bool begin_opening(struct shelf *s)
{
    struct err err = {0};
    for (int i = 1; i <= s->roster->n; i++) {
        int next = (s->looked_into + i) % s->roster->n;
        struct known *known = s->roster->at[next];
        if (!known->entry.opening)
            continue;
        s->looked_into = next;
        if (finder_open(&s->finder, known->folder, known->entry.path, &err) == 0)
            return true;
        known->entry.opening = false;
        fail_entry(known, &err);
    }
    return false;
}

void shelf_go_on(struct shelf *s, enum finder_task last)
{
    if (s->finder.task != FINDER_IDLE)
        return;
    if (last == FINDER_LIST && begin_opening(s))
        return;
    if (!begin_listing(s))
        begin_opening(s);
}

unsigned shelf_scan(struct shelf *s)
{
    if (s->finder.n_folders == 0)
        return s->done;
    s->asked = s->begun + 1;
    shelf_go_on(s, FINDER_IDLE);
    return s->asked;
}

bool shelf_is_scanned(const struct shelf *s, unsigned ticket)
{
    return (int)(s->done - ticket) >= 0;
}

int shelf_open(struct shelf *s, struct known *known, struct err *err)
{
    if (known->model || known->entry.opening)
        return 0;
    if (known->found.odd)
        return err_set(err, known->entry.error.code, "%s", known->entry.error.text);
    known->entry.opening = true;
    shelf_go_on(s, FINDER_IDLE);
    return 0;
}

void shelf_shut(struct known *known)
{
    if (!known->entry.in_folder || known_is_in_memory(known))
        return;
    model_close(known->model);
    known->model = NULL;
    known->entry.model = NULL;
    known->entry.stale = false;
    if (known->has_next) {
        known->has_next = false;
        become(known, known->next_folder, &known->next);
    }
}

enum finder_task shelf_update(struct shelf *s)
{
    enum finder_task task = finder_take(&s->finder);
    if (task == FINDER_LIST)
        take_listings(s);
    else if (task == FINDER_OPEN)
        take_opened(s);
    return task;
}
