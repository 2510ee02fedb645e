/* SPDX-License-Identifier: MIT
 *
 * Large zeroed blocks straight from the kernel, with huge pages where they help.
 *
 * Any thread. Blocks are page aligned, touched by nobody yet, and left out of core dumps: they hold
 * weights and users' contexts.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* -ENOMEM, also for more than the machine has. */
int mem_alloc(size_t bytes, void **ret);
/* The same for what may never be used whole: no promise that the memory is there. */
int mem_reserve(size_t bytes, void **ret);
/* Bytes that this process may still use: what the machine has available, or less where a cgroup
 * says so. `limit` is set to the name of what is the tightest. */
uint64_t mem_available(char *limit, size_t size);
void mem_free(void *mem, size_t bytes);
