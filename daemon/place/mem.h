/* SPDX-License-Identifier: MIT
 *
 * Large zeroed blocks straight from the kernel, in huge pages where there are any.
 *
 * Any thread. Blocks are page aligned, touched by nobody yet, and left out of core dumps: they hold
 * weights and users' contexts.
 *
 * Pages come from the first of these that has enough: those of 2 MiB that the administrator set
 * aside (vm.nr_hugepages), for what stays as long as a model and all of a block or none of it;
 * transparent huge pages, as the kernel finds them; small ones. mem_look() tells what it was.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -ENOMEM, also for more than the machine has. */
int mem_alloc(size_t bytes, void **ret);
/* The same for what stays: weights. */
int mem_alloc_long(size_t bytes, void **ret);
/* The same for what stays and may never be used whole: no promise that the memory is there. */
int mem_reserve(size_t bytes, void **ret);
void mem_free(void *mem, size_t bytes);
/* Zeroes a piece of a block and lets the kernel have its memory until somebody touches it; bytes
 * that it took: whole pages, none of those that were set aside. */
size_t mem_give_back(void *mem, size_t bytes);

/* Bytes that this process may still use: what the machine has available, or less where a cgroup
 * says so. `limit` is set to the name of what is the tightest. Pages set aside are not in it. */
uint64_t mem_available(char *limit, size_t size);
/* Bytes of set aside pages that nobody has or was promised. */
uint64_t mem_set_aside(void);

/* Bytes that a node of memory has left for blocks of so many in all: of set aside pages where those
 * are enough, else what the kernel can give. */
uint64_t mem_node_room(int os, uint64_t wanted);
/* Asks that bytes [from, to) of a block of `bytes`, to the nearest huge page, come from a node
 * while it has some and nobody has touched them; negative errno where the kernel does not let us.
 */
int mem_bind(void *mem, size_t bytes, size_t from, size_t to, int os);
/* Percent of a block's touched pages, by a sample, that lie on the node; -1: nobody knows. */
int mem_node_percent(const void *mem, size_t bytes, int os);

/* What pages a block was given. */
struct mem_look {
    uint64_t bytes;    /* of the block */
    uint64_t touched;  /* of them in memory */
    uint64_t huge;     /* of those in huge pages */
    bool is_set_aside; /* in pages that were set aside */
    bool is_asked;     /* the kernel was asked for transparent huge pages */
    bool is_shared;    /* with whoever else holds it: sealed.h */
};
/* Reads /proc/self/smaps, so the kernel walks all our pages: some milliseconds for each GB in small
 * ones. Blocks side by side may be told together. */
void mem_look(const void *mem, size_t bytes, struct mem_look *ret);
/* "10.4 GB, 99 % in transparent huge pages" */
void mem_describe(const struct mem_look *look, char *dst, size_t size);
