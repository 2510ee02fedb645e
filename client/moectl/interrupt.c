/* SPDX-License-Identifier: MIT */
#include "moectl/interrupt.h"

static volatile sig_atomic_t came; /* a handler has nowhere else to put it */

static void on_interrupt(int signal)
{
    (void)signal;
    came = 1;
}

void interrupt_catch(struct interrupt *ret)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigset_t block;
    sigemptyset(&action.sa_mask);
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    came = 0;
    sigprocmask(SIG_BLOCK, &block, &ret->before);
    sigaction(SIGINT, &action, &ret->old);
    if (ret->old.sa_handler == SIG_IGN) /* a script's background job is not meant */
        sigaction(SIGINT, &ret->old, NULL);
    ret->open = ret->before;
    sigdelset(&ret->open, SIGINT);
}

void interrupt_release(const struct interrupt *interrupt)
{
    sigaction(SIGINT, &interrupt->old, NULL);
    sigprocmask(SIG_SETMASK, &interrupt->before, NULL);
}

bool interrupt_came(void)
{
    return came;
}
