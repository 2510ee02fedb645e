/* SPDX-License-Identifier: MIT
 *
 * Ownership by scope, as in the daemon: OWN_DEFINE(noun, destroy) after a destructor lets
 * OWN(noun) free at the end of the block; TAKE hands on. Destructors accept NULL and keep errno.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define OWN(noun) __attribute__((cleanup(own_##noun))) struct noun
#define OWN_DEFINE(noun, destroy)                                                                  \
    static inline void own_##noun(struct noun **p)                                                 \
    {                                                                                              \
        int saved = errno;                                                                         \
        destroy(*p);                                                                               \
        errno = saved;                                                                             \
    }                                                                                              \
    struct noun

/* A file descriptor closed at the end of the block; -1 is nothing. */
#define OWN_FD __attribute__((cleanup(own_fd))) int
static inline void own_fd(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

/* A heap block freed at the end of the block. */
#define OWN_MEM __attribute__((cleanup(own_mem)))
static inline void own_mem(void *p)
{
    int saved = errno;
    free(*(void **)p);
    errno = saved;
}

#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) took_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        took_;                                                                                     \
    })
#define TAKE_FD(fd)                                                                                \
    __extension__({                                                                                \
        int took_ = (fd);                                                                          \
        (fd) = -1;                                                                                 \
        took_;                                                                                     \
    })
