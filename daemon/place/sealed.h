/* SPDX-License-Identifier: MIT
 *
 * Memory that may outlive the process: a descriptor without a name in any folder, filled once and
 * then sealed, so that whoever holds it can read it and nobody can change it.
 *
 * Any thread; a block is made, sealed and freed by one at a time. Its address stays what it is from
 * making to freeing. Pages are huge ones where that can be had: those set aside by the
 * administrator, else the kernel's own, asked for piece by piece; without them a new process takes
 * half a minute to find its way through 400 GB.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sealed {
    int fd; /* -1: none; of a sealed block it can be read only */
    void *mem;
    size_t bytes;
    bool is_set_aside;
    atomic_uchar *asked; /* [of each huge page] while it is filled: the kernel was asked for it */
    atomic_int refused;  /* times that it had none, one after the other */
};

/* Zeroed, writable, touched by nobody. -ENOMEM, or what memfd_create said. */
int sealed_make(size_t bytes, struct sealed *ret);
/* Before bytes [from, from + n) are written for the first time, by any number of threads. */
void sealed_expect(struct sealed *block, size_t from, size_t n);
/* From now on nobody writes; who does dies. Pages are found again when they are touched. */
int sealed_seal(struct sealed *block);
/**
 * What somebody handed over, mapped if it is a sealed block of ours of so many bytes.
 *
 *   fd      borrowed
 *   fails   -EPERM somebody else's, -EBADF not memory, -EACCES it can still be changed,
 *           -EMSGSIZE another size; with words
 */
int sealed_map(int fd, size_t bytes, struct sealed *ret, struct err *err);
/* The same checks for something small, which is copied to the heap: a byte more than it has, 0. */
int sealed_copy(int fd, size_t most, char **ret, size_t *bytes, struct err *err);
/* Bytes [from, from + n) become what is at `src` for this process alone, at once for readers who
 * must not be held up: in memory of its own, the sealed one stays as it is. -ENOMEM. */
int sealed_cover(struct sealed *block, size_t from, size_t n, const void *src);
void sealed_fini(struct sealed *block);
