/* SPDX-License-Identifier: MIT
 *
 * Ctrl-C while something runs. SIGINT is blocked but inside ppoll, so that it can't fall between a
 * look at the flag and the sleep.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>

struct interrupt {
    struct sigaction old;
    sigset_t before, open; /* masks: of the caller, and for ppoll */
};

/* From now on Ctrl-C is told by interrupt_came(). One at a time. */
void interrupt_catch(struct interrupt *ret);
/* Puts back how it was. */
void interrupt_release(const struct interrupt *interrupt);
bool interrupt_came(void);
