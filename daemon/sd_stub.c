/* SPDX-License-Identifier: MIT
 *
 * sd.h for builds without libsystemd. A supervisor that counts on us is refused, not ignored: its
 * clients would wait on a socket that nobody serves, and it on a READY=1 that never comes.
 */
#include "sd.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

int sd_take(int *fds, void (*kept)(void *arg, const char *name, int fd), void *arg, struct err *err)
{
    (void)fds;
    (void)kept;
    (void)arg;
    if (getenv("LISTEN_FDS") || getenv("NOTIFY_SOCKET"))
        return err_set(err, -ENOTSUP,
                       "LISTEN_FDS or NOTIFY_SOCKET is set, but this build has no libsystemd");
    return 0;
}

const struct vault_keeper *sd_keeper(void)
{
    return NULL;
}

void sd_tell_opening(int n, int of, unsigned long long patience_ms)
{
    (void)n;
    (void)of;
    (void)patience_ms;
}

void sd_tell_ready(void) {}

void sd_tell_reloading(void) {}

void sd_tell_status(const char *text)
{
    (void)text;
}

uint64_t sd_watchdog_ms(void)
{
    return 0;
}

void sd_tell_alive(void) {}

void sd_tell_stopping(unsigned long long grace_ms)
{
    (void)grace_ms;
}
