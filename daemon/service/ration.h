/* SPDX-License-Identifier: MIT
 *
 * Log lines by ration: a cause that clients can trigger at will gets a few lines a minute.
 *
 * Loop thread; zeroed is full.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { RATION_LINES = 10 }; /* of one cause in a minute */

struct ration {
    uint64_t since_ms;
    uint32_t n, kept_back;
};

/* Whether a line may be written now; *kept_back says how many were not since the last minute. */
bool ration_take(struct ration *ration, uint64_t now_ms, uint32_t *kept_back);
