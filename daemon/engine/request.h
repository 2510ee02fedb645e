/* SPDX-License-Identifier: MIT
 *
 * What a request must hold before an engine takes it. Any thread; the loop's in the daemon.
 */
#pragma once

#include "base/err.h"

struct engine_request;
struct vocab;

/* As engine_submit() fails, for a context of so many tokens. */
int request_check(const struct engine_request *request, const struct vocab *vocab, int context,
                  struct err *err);
