/* SPDX-License-Identifier: MIT
 *
 * One file of a model: opened once, measured, and watched for changes.
 *
 * The file that a user names may be reached in any way; every other file of the model is looked up
 * by its bare name in that file's folder, which is opened once: no `..`, no symbolic link, regular
 * files only. Filled by the thread that opens the model; immutable afterwards.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"

/* Each part is an open descriptor; the largest model known comes in 163 files. */
enum { FORMAT_MAX_PARTS = 512 };

struct part {
    char label[160]; /* the path as error messages name it: its end, if it is long */
    int fd;
    uint64_t bytes;
    struct timespec changed; /* when the contents last changed, as fstat said at open */
    uint64_t data;           /* where tensor data starts in the file */
    uint64_t alignment;      /* the longest gap that counts as padding is one byte less */
};

/* -ENOENT, -EACCES …: cannot open;  -EINVAL: not a regular file; with words. */
int part_open(const char *path, struct part *ret, struct err *err);
/* A file beside the first: `folder` is part_folder()'s, `beside` a path in it, for the label. */
int part_open_beside(int folder, const char *beside, const char *name, struct part *ret,
                     struct err *err);
void part_close(struct part *part); /* accepts one whose fd is -1 */

/* A folder in a folder, as a descriptor for part_open_beside(); `path` is for the words and ends in
 * its name. -ENOTDIR if it is something else, -EINVAL for a symbolic link; with words. */
int part_open_folder(int folder, const char *path, int *ret, struct err *err);
/* The folder that holds `path`, as a descriptor for part_open_beside(). */
int part_folder(const char *path, int *ret, struct err *err);

/* -EIO with words when the file ends first. */
int part_read(const struct part *part, uint64_t offset, void *dst, size_t bytes, struct err *err);
/* What was read belongs to the file that was checked, if nobody wrote to it in between. */
int part_check_unchanged(const struct part *part, struct err *err);
