/* SPDX-License-Identifier: MIT
 *
 * What a supervisor hands over and wants to hear: sockets, readiness, a line of status.
 *
 * Loop thread. The only user of libsystemd; sd_stub.c stands in for builds without it. Without a
 * supervisor in the environment everything here does nothing.
 */
#pragma once

#include "base/err.h"

enum { SD_MAX_LISTENERS = 8 };

/**
 * The listening sockets the supervisor opened for us, once: their descriptors go to the caller.
 *
 *   returns  how many (0: none were handed over); negative errno with words, and all are closed,
 *            if one of them is not a listening Unix stream socket
 */
int sd_take_listeners(int *fds, struct err *err);
/* The socket is served; the models may still load. */
void sd_tell_ready(void);
/* One line for `systemctl status`. */
void sd_tell_status(const char *text);
/* We are on our way out; `grace_ms` is how long that may take from now. */
void sd_tell_stopping(unsigned long long grace_ms);
