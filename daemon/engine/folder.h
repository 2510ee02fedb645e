/* SPDX-License-Identifier: MIT
 *
 * A folder of models: opened once, listed as often as somebody asks.
 *
 * Listing looks at names, types and sizes and opens no file. What is found by a name is later
 * opened beneath the folder's descriptor (model_open_at), never by its path. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct folder {
    char *path; /* as configured, without a slash at its end */
    int fd;     /* O_PATH; -1: it is not there (yet) */
};

struct found {       /* one model of a folder */
    char *name;      /* what model_name() makes of its file */
    char *path;      /* in the folder; of a split model the first part that is there */
    uint64_t bytes;  /* of its files; 0 for a checkpoint, whose files are not looked at */
    uint64_t stamp;  /* another number if a file's size or time of change is another */
    const char *odd; /* what stands there instead of a file: "symbolic link" …; NULL: a file */
};

struct found_list {
    struct found *at;
    size_t n;
};

/* Models of a folder that are told; the names of a folder that are looked at. */
enum { FOLDER_MOST_MODELS = 512, FOLDER_MOST_NAMES = 65536 };

/* A folder that is not there is no failure: fd is -1 then. -ENOMEM */
int folder_open(const char *path, struct folder *ret);
void folder_close(struct folder *folder);

/**
 * What lies in it, ordered by the names of the files: files named *.gguf, and folders with a
 * config.json. Hidden names, names that are no text, and all other files are passed over. Two
 * models may come under one name.
 *
 *   folder  opened now if it was not there before, or if what was opened has been removed
 *   ret     freed with found_list_fini(), also after a failure
 *   fails   -ENOENT it is still not there; -EACCES …; -E2BIG more than FOLDER_MOST_MODELS, and *ret
 *           has the first of them; -ENOMEM; with words
 */
int folder_list(struct folder *folder, struct found_list *ret, struct err *err);
void found_fini(struct found *found);
void found_list_fini(struct found_list *list);
