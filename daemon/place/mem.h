/* SPDX-License-Identifier: MIT
 *
 * Large zeroed blocks straight from the kernel, with huge pages where they help.
 *
 * Any thread. Blocks are page aligned, touched by nobody yet, and left out of core dumps: they hold
 * weights and users' contexts.
 */
#pragma once

#include <stddef.h>

/* -ENOMEM, also for more than the machine has. */
int mem_alloc(size_t bytes, void **ret);
/* The same for what may never be used whole: no promise that the memory is there. */
int mem_reserve(size_t bytes, void **ret);
void mem_free(void *mem, size_t bytes);
