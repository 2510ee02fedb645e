/* SPDX-License-Identifier: MIT
 *
 * What a supervisor hands over and wants to hear: sockets, readiness, a line of status.
 *
 * Loop thread. Beside bus/ the only user of libsystemd; sd_stub.c stands in for builds without it.
 * Without a supervisor in the environment everything here does nothing.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum { SD_MAX_LISTENERS = 8 };

struct vault_keeper;

/**
 * What the supervisor hands over, once: the listening sockets it opened for us, and what it kept
 * for an earlier process of ours.
 *
 *   fds      [SD_MAX_LISTENERS] the caller's
 *   kept     is given each descriptor that was kept, and its name; takes it
 *   returns  how many sockets (0: none were handed over); negative errno with words, and all are
 *            closed, if one of them is not a listening Unix stream socket
 */
int sd_take(int *fds, void (*kept)(void *arg, const char *name, int fd), void *arg,
            struct err *err);
/* The store of the supervisor; NULL: there is no supervisor. Whether the store has room for us it
 * does not say. Its functions may be called on any thread. */
const struct vault_keeper *sd_keeper(void);
/* Files are being opened before that: `n` of `of`, and this one may take so long from now. */
void sd_tell_opening(int n, int of, unsigned long long patience_ms);
/* The socket is served; the models may still load. */
void sd_tell_ready(void);
/* The configuration is being read again; sd_tell_ready() ends it. */
void sd_tell_reloading(void);
/* One line for `systemctl status`. */
void sd_tell_status(const char *text);
/* How often it wants to hear that all is well, in milliseconds; 0: it does not. And that it is. */
uint64_t sd_watchdog_ms(void);
void sd_tell_alive(void);
/* We are on our way out; `grace_ms` is how long that may take from now. */
void sd_tell_stopping(unsigned long long grace_ms);
