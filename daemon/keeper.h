/* SPDX-License-Identifier: MIT
 *
 * A helper that holds descriptors for a daemon which no supervisor keeps them for: both of its
 * ends.
 *
 * The helper is a process of its own, `moed --vault-socket PATH`, and does nothing else. It serves
 * its own uid, one process at a time, and what it holds ends with it. A message is a datagram on a
 * SOCK_SEQPACKET: a letter, and for most a name:
 *
 *   to the helper    K name + descriptor  keep     D name  drop     T  tell all     S  settle
 *   from it          F name + descriptor  found             E  end of an answer
 */
#pragma once

#include "base/err.h"
#include "base/vault.h"

/* The helper: serves until SIGTERM or SIGINT; an exit status. */
int keeper_serve(const char *path);

/**
 * The daemon's end.
 *
 *   kept   is given each descriptor that is held, and its name; takes it
 *   ret    for vault_new(); lives as long as the process
 *   fails  -EBUSY: the helper serves somebody else; with words
 */
int keeper_connect(const char *path, const struct vault_keeper **ret, struct err *err);
int keeper_take(const struct vault_keeper *keeper,
                void (*kept)(void *arg, const char *name, int fd), void *arg, struct err *err);
