/* SPDX-License-Identifier: MIT
 *
 * Whether the engines get on with their work: what a supervisor's watchdog is fed by.
 *
 * Loop thread, which asks a few times in the supervisor's period; that it asks proves that the loop
 * itself is alive. An engine is stuck if it has work and neither ends a step nor takes a tile from
 * one look to the next.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct models;

enum { WATCHDOG_LOOKS = 6 }; /* in a period */

struct watchdog {
    struct watchdog_seen *seen; /* of each model, by its index, at the last look */
    int n;
    bool is_told; /* that something is stuck */
};

/* Whether the supervisor may be told that all is well. */
bool watchdog_look(struct watchdog *watchdog, struct models *models);
void watchdog_fini(struct watchdog *watchdog);
