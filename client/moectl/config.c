/* SPDX-License-Identifier: MIT
 *
 * config: the daemon's configuration, which the program moed reads and writes: it alone knows the
 * keys. It is run as the user, who needs no daemon for this, and rights only to change something.
 */
#include <stdio.h>
#include <string.h>

#include "moectl/daemon.h"
#include "moectl/verb.h"

static int run(const struct options *o, const char *option, const char *value)
{
    char both[1024];
    const char *words[6] = {both};
    int n = 1;
    if ((size_t)snprintf(both, sizeof both, value ? "%s=%s" : "%s", option, value) >= sizeof both)
        return usage_error(o, "config: the value is too long");
    if (o->json)
        words[n++] = "--json";
    if (o->config) {
        words[n++] = "--config";
        words[n++] = o->config;
    }
    return daemon_become(o, words);
}

int verb_config(const struct options *o)
{
    static const struct {
        const char *name, *option;
        int least, most; /* words behind the name */
    } acts[] = {{"cat", "--show-config", 0, 0},
                {"check", "--check-config", 0, 1},
                {"get", "--get-config", 1, 1},
                {"set", "--set-config", 2, 2}};
    const char *name = o->args[0];
    int n = o->n_args - 1;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        char pair[1024];
        if (strcmp(acts[i].name, name) != 0)
            continue;
        if (n < acts[i].least || n > acts[i].most)
            return usage_error(o, "config %s takes %d words, not %d", name, acts[i].most, n);
        if (n < 2)
            return run(o, acts[i].option, n > 0 ? o->args[1] : NULL);
        if ((size_t)snprintf(pair, sizeof pair, "%s=%s", o->args[1], o->args[2]) >= sizeof pair)
            return usage_error(o, "config: the value is too long");
        return run(o, acts[i].option, pair);
    }
    return usage_error(o, "config: found '%s', expected cat, check, get or set", name);
}
