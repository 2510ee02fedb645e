/* SPDX-License-Identifier: MIT
 *
 * libsystemd reads NOTIFY_SOCKET and LISTEN_FDS; both are told to nobody else (we start no
 * programs). A notification that can't be sent is not our failure: it is dropped.
 */
#include "sd.h"

#include <errno.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static void close_listeners(int n)
{
    for (int i = 0; i < n; i++)
        close(SD_LISTEN_FDS_START + i);
}

int sd_take_listeners(int *fds, struct err *err)
{
    int n = sd_listen_fds(1);
    if (n < 0)
        return err_set(err, n, "cannot take the sockets of LISTEN_FDS: errno %d", -n);
    if (n > SD_MAX_LISTENERS) {
        close_listeners(n);
        return err_set(err, -E2BIG, "%d sockets were handed over, expected at most %d", n,
                       SD_MAX_LISTENERS);
    }
    for (int i = 0; i < n; i++) {
        fds[i] = SD_LISTEN_FDS_START + i;
        if (sd_is_socket_unix(fds[i], SOCK_STREAM, 1, NULL, 0) <= 0) {
            close_listeners(n);
            return err_set(err, -EINVAL,
                           "descriptor %d was handed over, expected a listening Unix stream socket",
                           SD_LISTEN_FDS_START + i);
        }
    }
    return n;
}

void sd_tell_ready(void)
{
    sd_notify(0, "READY=1");
}

void sd_tell_status(const char *text)
{
    sd_notifyf(0, "STATUS=%s", text);
}

void sd_tell_stopping(unsigned long long grace_ms)
{
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu", grace_ms * 1000);
}
