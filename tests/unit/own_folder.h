/* SPDX-License-Identifier: MIT
 *
 * A folder of a test's own, made before it and erased after it with all that is in it.
 */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder[64];

static inline int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/moed-test.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int erase_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int erase_folder(void **state)
{
    (void)state;
    return nftw(folder, erase_one, 8, FTW_DEPTH | FTW_PHYS);
}
