/* SPDX-License-Identifier: MIT
 *
 * What a changed configuration means for a daemon that runs. Loop thread.
 */
#pragma once

struct config;
struct service_reloaded;

/**
 * Sort the keys that differ by when they count.
 *
 *   born   what the daemon started with: a key that needs another start is told until it gets one
 *   old    what counts now           next   what shall
 */
void reload_compare(const struct config *born, const struct config *old, const struct config *next,
                    struct service_reloaded *ret);
