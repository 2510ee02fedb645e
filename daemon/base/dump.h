/* SPDX-License-Identifier: MIT
 *
 * Where every thread stands, on stderr, when a signal ends the process: a supervisor whose watchdog
 * heard nothing, a failed assertion, a bad address.
 *
 * Addresses in the program and nothing else: no argument, no variable, no byte of a prompt.
 * `addr2line -e moed` makes lines of them.
 */
#pragma once

#include <signal.h>

/* Sent to one thread after the other, which then tells. */
#define DUMP_SIGNAL SIGUSR2

/* Once, before threads start. Signals that somebody handles already, a sanitizer, are left alone.
 */
void dump_install(void);
