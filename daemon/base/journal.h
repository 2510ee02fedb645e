/* SPDX-License-Identifier: MIT
 *
 * systemd's journal: a log line with fields as one datagram, as journald's native protocol has it.
 *
 * Any thread. Not through libsystemd, whose sending waits for a journald that hangs, and with it
 * an engine in the middle of a step.
 */
#pragma once

#include <stddef.h>

/* A field; the value has no newline. NULL: the field is left out. */
struct journal_field {
    const char *name, *value;
};

/* A socket to send from; negative errno. */
int journal_open(void);
/* 0; -EAGAIN: journald has a backlog; another negative errno: nobody listens at `path`. */
int journal_send(int fd, const char *path, const struct journal_field *field, size_t n);
