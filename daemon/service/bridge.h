/* SPDX-License-Identifier: MIT
 *
 * Between the engines and the streams: polls what the engines say. Loop thread.
 */
#pragma once

#include <stdbool.h>

struct hub;

/* Takes events of all engines, in turns; true if some are left for the next loop turn. */
bool bridge_poll(struct hub *hub);
/* The engines are no longer polled: forgets what still waits for them. */
void bridge_forget(struct hub *hub);
