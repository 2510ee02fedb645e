/* SPDX-License-Identifier: MIT
 *
 * Connecting and failing.
 */
#include "moectl/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "moectl/screen.h"

enum { TIMEOUT_MS = 60000 }; /* of calls that answer once */

static void say(const struct options *o, const char *text)
{
    bool color = screen_has_color(o, stderr);
    fputs(color ? "\x1b[31mmoectl:\x1b[0m " : "moectl: ", stderr);
    screen_word(stderr, text);
    fputc('\n', stderr);
}

int link_error(const struct options *o, const char *fmt, ...)
{
    struct moed_error error = MOED_ERROR_INIT;
    va_list args;
    va_start(args, fmt);
    vsnprintf(error.message, sizeof error.message, fmt, args);
    va_end(args);
    error.status = MOED_UNKNOWN;
    return link_failed(o, &error);
}

int link_failed(const struct options *o, const struct moed_error *error)
{
    fflush(stdout);
    if (o->json) {
        json_t *inner = json_object();
        json_object_set_new(inner, "status", screen_json_word(moed_status_name(error->status)));
        json_object_set_new(inner, "code", json_integer(error->status));
        json_object_set_new(inner, "message", screen_json_word(error->message));
        if (error->retry_after_ms)
            json_object_set_new(inner, "retry_after_ms",
                                json_integer((json_int_t)error->retry_after_ms));
        json_t *outer = json_object();
        json_object_set_new(outer, "error", inner);
        screen_json(outer);
    }
    say(o, error->message);
    if (error->retry_after_ms)
        fprintf(stderr, "Try again in about %.1f s.\n", (double)error->retry_after_ms / 1000);
    return error->status == MOED_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED;
}

int link_open(const struct options *o, struct moed **ret)
{
    struct moed_error error = MOED_ERROR_INIT;
    int r = moed_open(o->socket, ret, &error);
    if (r == 0) {
        moed_set_timeout(*ret, TIMEOUT_MS);
        return 0;
    }
    link_failed(o, &error);
    if (o->socket)
        fprintf(stderr, "Start one:  moed --model FILE --socket PATH\n");
    else
        fprintf(stderr, "Start one:  systemctl start moed,  or  moed --model FILE\n");
    return EXIT_NO_DAEMON;
}

int link_wait(const struct options *o, int started, struct moed_call *const *call,
              struct moed_error *error)
{
    if (started < 0 || moed_wait(*call, error) < 0)
        return link_failed(o, error);
    return 0;
}
