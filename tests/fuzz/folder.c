/* SPDX-License-Identifier: MIT
 *
 * See folder.h. Files stay open from one input to the next: making and removing them is half of
 * what a small input costs.
 */
#include "folder.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

enum { MAX_FILES = 16 };

static struct file {
    const char *name;
    int fd; /* -1: not there */
    bool fresh;
} files[MAX_FILES];
static int folder = -1;
static char path[64];

static void remove_folder(void)
{
    for (int i = 0; i < MAX_FILES && files[i].name; i++)
        unlinkat(folder, files[i].name, 0);
    rmdir(path);
}

const char *folder_path(void)
{
    if (folder >= 0)
        return path;
    snprintf(path, sizeof path, "/dev/shm/moed-fuzz.XXXXXX"); /* no disk, where there is memory */
    if (!mkdtemp(path)) {
        snprintf(path, sizeof path, "/tmp/moed-fuzz.XXXXXX");
        PROMISE(mkdtemp(path));
    }
    folder = open(path, O_DIRECTORY | O_CLOEXEC);
    PROMISE(folder >= 0);
    atexit(remove_folder);
    return path;
}

void folder_write(const char *name, const uint8_t *data, size_t bytes)
{
    folder_path();
    struct file *file = files;
    while (file->name && strcmp(file->name, name))
        file++;
    PROMISE(file < files + MAX_FILES - 1);
    if (!file->name)
        *file = (struct file){.name = name, .fd = -1};
    if (file->fd < 0)
        file->fd = openat(folder, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    PROMISE(file->fd >= 0 && ftruncate(file->fd, 0) == 0);
    PROMISE(pwrite(file->fd, data, bytes, 0) == (ssize_t)bytes);
    file->fresh = true;
}

void folder_settle(void)
{
    for (struct file *file = files; file->name; file++) {
        if (!file->fresh && file->fd >= 0) {
            PROMISE(unlinkat(folder, file->name, 0) == 0);
            close(file->fd);
            file->fd = -1;
        }
        file->fresh = false;
    }
}
