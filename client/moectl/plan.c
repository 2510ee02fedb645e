/* SPDX-License-Identifier: MIT
 *
 * plan: what a model file would take. The daemon may not see a user's files, so the program moed is
 * run here, as the user; it neither asks the daemon nor needs one.
 */
#include <stddef.h>

#include "moectl/daemon.h"
#include "moectl/verb.h"

int verb_plan(const struct options *o)
{
    const char *words[] = {"--plan", o->args[0], o->json ? "--json" : NULL, NULL};
    return daemon_become(o, words);
}
