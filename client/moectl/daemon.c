/* SPDX-License-Identifier: MIT
 *
 * Where moed lies: in a build tree beside us, else where it was installed.
 */
#include "moectl/daemon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moectl/link.h"

/* <build>/client/moectl/moectl and <build>/daemon/moed. */
static void beside(char *dst, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
    }
    snprintf(dst, size, "%s/daemon/moed", self);
}

int daemon_become(const struct options *o, const char *const *words)
{
    char program[PATH_MAX + 16];
    const char *argv[16] = {"moed"};
    for (int i = 0; words[i] && i < 14; i++)
        argv[i + 1] = words[i];
    char *const *args = (char *const *)argv; /* exec leaves them as they are */
    beside(program, sizeof program);
    execv(program, args);
    execvp("moed", args); /* returns if there is none */
    execv("/usr/sbin/moed", args);
    execv("/usr/local/sbin/moed", args);
    return link_error(o, "cannot run moed: %s; is the daemon's program installed?",
                      strerror(errno));
}
