/* SPDX-License-Identifier: MIT
 *
 * plan: what a model file would take. The daemon may not see a user's files, so the program moed is
 * run here, as the user; it neither asks the daemon nor needs one.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moectl/link.h"
#include "moectl/verb.h"

/* In a build tree moed lies beside us: <build>/client/moectl/moectl and <build>/daemon/moed. */
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

int verb_plan(const struct options *o)
{
    char program[PATH_MAX + 16];
    const char *words[] = {"moed", "--plan", o->args[0], o->json ? "--json" : NULL, NULL};
    char *const *argv = (char *const *)words; /* exec leaves them as they are */
    beside(program, sizeof program);
    execv(program, argv);
    execvp("moed", argv); /* returns if there is none */
    execv("/usr/sbin/moed", argv);
    execv("/usr/local/sbin/moed", argv);
    return link_error(o, "cannot run moed: %s; is the daemon's program installed?",
                      strerror(errno));
}
