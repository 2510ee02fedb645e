/* SPDX-License-Identifier: MIT
 *
 * Threads that leave signals to the loop: all are blocked, but the one that asks a thread where it
 * stands (dump.h).
 */
#pragma once

#include <pthread.h>

/* `name` has at most 15 bytes; tools show it. Negative errno. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg);
