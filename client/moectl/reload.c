/* SPDX-License-Identifier: MIT
 *
 * reload: the daemon reads its configuration once more. One thread.
 */
#include <stdio.h>

#include "moectl/link.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

static json_t *names_json(const char *const *names, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, screen_json_word(names[i]));
    return list;
}

static void print_names(const char *what, const char *const *names, size_t n)
{
    if (n == 0)
        return;
    fputs(what, stdout);
    for (size_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : " ", stdout);
        screen_word(stdout, names[i]);
    }
    putchar('\n');
}

int verb_reload(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = link_open(o, &moed);
    if (r == 0)
        r = link_wait(o, moed_reload(moed, &call, &error), &call, &error);
    if (r)
        return r;
    const struct moed_reloaded *done = moed_call_reloaded(call);
    if (!done)
        return link_error(o, "the daemon's answer holds nothing");
    if (o->json) {
        screen_json(json_pack("{s:o,s:o,s:o}", "now", names_json(done->now, done->n_now), "later",
                              names_json(done->later, done->n_later), "restart",
                              names_json(done->restart, done->n_restart)));
        return EXIT_DONE;
    }
    if (o->quiet)
        return EXIT_DONE;
    print_names("changed:", done->now, done->n_now);
    print_names("for models that are loaded from now on:", done->later, done->n_later);
    print_names("after the next start:", done->restart, done->n_restart);
    if (done->n_now + done->n_later + done->n_restart == 0)
        puts("nothing changed");
    return EXIT_DONE;
}
