/* SPDX-License-Identifier: MIT */
#include "base/thread.h"

#include <signal.h>

#include "base/dump.h"

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg)
{
    sigset_t most, old;
    sigfillset(&most);
    sigdelset(&most, DUMP_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &most, &old);
    int r = pthread_create(ret, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_setname_np(*ret, name);
    return -r;
}
