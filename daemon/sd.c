/* SPDX-License-Identifier: MIT
 *
 * libsystemd reads NOTIFY_SOCKET and LISTEN_FDS; both are told to nobody else (we start no
 * programs). A notification that can't be sent is not our failure: it is dropped.
 */
#include "sd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/vault.h"

enum { SETTLE_US = 5000000 };

/* ------------------------------------------------------------------ what is handed over */

struct gifts {
    int n, n_sockets;
    char **name; /* NULL: nobody named them */
};

static void gifts_fini(struct gifts *g)
{
    for (int i = 0; g->name && i < g->n; i++)
        free(g->name[i]);
    free(g->name);
}

static bool is_socket(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int take_socket(int fd, int *fds, struct gifts *g, struct err *err)
{
    if (g->n_sockets == SD_MAX_LISTENERS) {
        close(fd);
        return err_set(err, -E2BIG, "more than %d sockets were handed over", SD_MAX_LISTENERS);
    }
    fds[g->n_sockets++] = fd;
    return sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0
               ? 0
               : err_set(err, -EINVAL,
                         "descriptor %d was handed over, expected a listening Unix stream socket",
                         fd);
}

int sd_take(int *fds, void (*kept)(void *arg, const char *name, int fd), void *arg, struct err *err)
{
    struct gifts g = {0};
    g.n = sd_listen_fds_with_names(1, &g.name);
    if (g.n < 0)
        return err_set(err, g.n, "cannot take what LISTEN_FDS says: errno %d", -g.n);
    int r = 0;
    for (int i = 0; i < g.n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        if (r == 0 && g.name && !is_socket(fd))
            kept(arg, g.name[i], fd);
        else if (r == 0)
            r = take_socket(fd, fds, &g, err);
        else
            close(fd);
    }
    for (int i = 0; i < g.n_sockets && r < 0; i++)
        close(fds[i]);
    gifts_fini(&g);
    return r < 0 ? r : g.n_sockets;
}

/* ------------------------------------------------------------------ its store */

static int store_keep(void *arg, const char *name, int fd)
{
    (void)arg;
    char text[VAULT_NAME_BYTES + 64];
    /* Not polled: nothing ever happens to memory. */
    snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    int r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
    return r < 0 ? r : 0;
}

static void store_drop(void *arg, const char *name)
{
    (void)arg;
    sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

static void store_settle(void *arg)
{
    (void)arg;
    sd_notify_barrier(0, SETTLE_US);
}

const struct vault_keeper *sd_keeper(void)
{
    static const struct vault_keeper store = {
        .words = "systemd", .keep = store_keep, .drop = store_drop, .settle = store_settle};
    return getenv("NOTIFY_SOCKET") ? &store : NULL;
}

/* ------------------------------------------------------------------ what it wants to hear */

void sd_tell_opening(int n, int of, unsigned long long patience_ms)
{
    sd_notifyf(0, "STATUS=Opening model %d of %d\nEXTEND_TIMEOUT_USEC=%llu", n, of,
               patience_ms * 1000);
}

void sd_tell_ready(void)
{
    sd_notify(0, "READY=1");
}

void sd_tell_reloading(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
               1000000ull * (unsigned long long)now.tv_sec +
                   (unsigned long long)now.tv_nsec / 1000);
}

void sd_tell_status(const char *text)
{
    sd_notifyf(0, "STATUS=%s", text);
}

uint64_t sd_watchdog_ms(void)
{
    uint64_t us = 0;
    return sd_watchdog_enabled(0, &us) > 0 ? us / 1000 : 0;
}

void sd_tell_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}

void sd_tell_stopping(unsigned long long grace_ms)
{
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu", grace_ms * 1000);
}
