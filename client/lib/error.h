/* SPDX-License-Identifier: MIT
 *
 * Filling struct moed_error, and the errno that stands for each status. Pure; any thread.
 */
#pragma once

#include <stdarg.h>

#include "moed/moed.h"

/* Writes code, status and words; returns `code`. `error` may be NULL. */
int error_set(struct moed_error *error, int code, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Copies into a caller's struct, which may be NULL; returns from->code. */
int error_give(const struct moed_error *from, struct moed_error *ret);
/* NOT_FOUND is -ENOENT and so on; never 0 but for OK. */
int error_of_status(int status);
