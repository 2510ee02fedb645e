/* SPDX-License-Identifier: MIT
 *
 * A window of a minute and a count.
 */
#include "service/ration.h"

enum { WINDOW_MS = 60 * 1000 };

bool ration_take(struct ration *ration, uint64_t now_ms, uint32_t *kept_back)
{
    *kept_back = 0;
    if (ration->n == 0 || now_ms - ration->since_ms >= WINDOW_MS) {
        *kept_back = ration->kept_back;
        *ration = (struct ration){.since_ms = now_ms};
    }
    if (ration->n >= RATION_LINES) {
        ration->kept_back++;
        return false;
    }
    ration->n++;
    return true;
}
