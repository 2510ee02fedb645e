/* SPDX-License-Identifier: MIT
 *
 * log: what the daemon wrote, which the journal keeps: journalctl is run in our place. One thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "moectl/link.h"
#include "moectl/verb.h"

enum { MOST_MATCHES = 16, MOST_WORDS = MOST_MATCHES + 12 };

static bool has_journal(void)
{
    return access("/run/systemd/journal", F_OK) == 0 || access("/run/log/journal", F_OK) == 0 ||
           access("/var/log/journal", F_OK) == 0;
}

static int check_matches(const struct options *o)
{
    if (o->n_args > MOST_MATCHES)
        return usage_error(o, "log: at most %d fields", MOST_MATCHES);
    for (int i = 0; i < o->n_args; i++)
        if (*o->args[i] == '-' || *o->args[i] == '=' || !strchr(o->args[i], '='))
            return usage_error(o, "log: found '%s', expected FIELD=VALUE", o->args[i]);
    return 0;
}

int verb_log(const struct options *o)
{
    static char since[1024];
    const char *words[MOST_WORDS] = {"journalctl", "--unit=moed", "--no-hostname"};
    int n = 3, r = check_matches(o);
    if (r)
        return r;
    if ((size_t)snprintf(since, sizeof since, "--since=%s", o->since ? o->since : "") >=
        sizeof since)
        return usage_error(o, "log: the time is too long");
    if (o->since)
        words[n++] = since;
    else
        words[n++] = "--lines=100";
    words[n++] = o->follow ? "--follow" : "--pager-end";
    if (o->json)
        words[n++] = "--output=json";
    if (o->explain)
        words[n++] = "--catalog";
    if (o->quiet)
        words[n++] = "--quiet";
    for (int i = 0; i < o->n_args; i++)
        words[n++] = o->args[i];
    if (!has_journal())
        return link_error(o, "this machine keeps no journal: the log is on the standard error of "
                             "whatever started moed");
    if (o->color != COLOR_AUTO)
        setenv("SYSTEMD_COLORS", o->color == COLOR_ALWAYS ? "1" : "0", 1);
    execvp(words[0], (char *const *)words); /* exec leaves them as they are */
    return link_error(o, "cannot run journalctl: %s; it comes with systemd", strerror(errno));
}
