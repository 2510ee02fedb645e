/* SPDX-License-Identifier: MIT
 *
 * Input. Bytes are taken as they are; what is not UTF-8 is refused before the daemon sees it.
 */
#include "moectl/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "moectl/link.h"
#include "moectl/screen.h"

/* All of a descriptor; `name` is for the words. */
static int read_all(const struct options *o, int fd, const char *name, char **ret, size_t *bytes)
{
    size_t n = 0, room = 1 << 16;
    OWN_MEM char *text = malloc(room + 1);
    while (text) {
        ssize_t got = read(fd, text + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return link_error(o, "cannot read %s: %s", name, strerror(errno));
        if (got == 0) {
            text[n] = '\0';
            *ret = TAKE(text);
            *bytes = n;
            return 0;
        }
        n += (size_t)got;
        if (n < room)
            continue;
        room *= 2;
        char *more = realloc(text, room + 1);
        if (!more)
            break;
        text = more;
    }
    return link_error(o, "no memory for %s", name);
}

int input_read(const struct options *o, char **ret, size_t *bytes)
{
    return read_all(o, STDIN_FILENO, "standard input", ret, bytes);
}

int input_read_file(const struct options *o, const char *path, char **ret, size_t *bytes)
{
    OWN_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return link_error(o, "cannot open '%s': %s", path, strerror(errno));
    return read_all(o, fd, path, ret, bytes);
}

int input_check(const struct options *o, const char *name, const char *text, size_t bytes)
{
    if (memchr(text, '\0', bytes))
        return link_error(o, "%s holds a zero byte", name);
    if (!screen_is_utf8(text, bytes))
        return link_error(o, "%s is not UTF-8", name);
    return 0;
}

static char *join(char *const *words, int n_words, size_t *bytes)
{
    size_t n = 0;
    for (int i = 0; i < n_words; i++)
        n += strlen(words[i]) + 1;
    char *text = malloc(n + 1);
    if (!text)
        abort();
    char *to = text;
    for (int i = 0; i < n_words; i++) {
        if (i > 0)
            *to++ = ' ';
        to = stpcpy(to, words[i]);
    }
    *to = '\0';
    *bytes = (size_t)(to - text);
    return text;
}

int input_question(const struct options *o, char **ret, size_t *bytes)
{
    OWN_MEM char *words = join(o->args, o->n_args, bytes);
    if (isatty(STDIN_FILENO)) {
        if (*bytes == 0 && !o->session)
            return usage_error(o, "%s needs %s", o->verb->name, o->verb->args);
        *ret = TAKE(words);
        return 0;
    }
    OWN_MEM char *more = NULL;
    size_t n_more = 0;
    int r = input_read(o, &more, &n_more);
    if (r)
        return r;
    if (n_more > 0 && more[n_more - 1] == '\n')
        n_more--;
    if (*bytes == 0 && n_more == 0 && !o->session)
        return usage_error(o, "%s needs %s, or a text on standard input", o->verb->name,
                           o->verb->args);
    char *all = malloc(*bytes + 2 + n_more + 1);
    if (!all)
        return link_error(o, "no memory for the question");
    size_t n = *bytes;
    memcpy(all, words, n);
    if (n > 0 && n_more > 0) {
        all[n++] = '\n';
        all[n++] = '\n';
    }
    memcpy(all + n, more, n_more);
    all[n + n_more] = '\0';
    *bytes = n + n_more;
    *ret = all;
    return 0;
}

static int add(const struct options *o, struct moed_request *request, enum moed_role role,
               const char *name, const char *text, size_t bytes)
{
    int r = input_check(o, name, text, bytes);
    if (r)
        return r;
    r = moed_request_add_message(request, role, text, bytes);
    if (r == -EMSGSIZE)
        return link_error(o, "%s exceeds 4 MiB", name);
    return r < 0 ? link_error(o, "%s: %s", name, strerror(-r)) : 0;
}

/* The text goes as it is, for models see it so; parsed only to say early what is wrong with it. */
static int add_tools(const struct options *o, struct moed_request *request)
{
    OWN_MEM char *text = NULL;
    size_t bytes = 0;
    json_error_t fault;
    int r = input_read_file(o, o->tools, &text, &bytes);
    if (r == 0)
        r = input_check(o, o->tools, text, bytes);
    if (r)
        return r;
    json_t *tools = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &fault);
    bool is_array = json_is_array(tools);
    json_decref(tools);
    if (!tools)
        return link_error(o, "%s:%d: %s", o->tools, fault.line, fault.text);
    if (!is_array)
        return link_error(o, "%s: expected a JSON array of functions", o->tools);
    r = moed_request_set_tools(request, text);
    return r < 0 ? link_error(o, "%s: %s", o->tools, strerror(-r)) : 0;
}

int input_chat_request(const struct options *o, struct moed_request **ret)
{
    OWN_MEM char *question = NULL;
    size_t bytes = 0;
    int r = input_question(o, &question, &bytes);
    if (r)
        return r;
    OWN(moed_request) *request = moed_request_new();
    if (!request)
        abort();
    r = options_apply(o, request);
    if (r == 0 && o->tools)
        r = add_tools(o, request);
    if (r == 0 && o->system)
        r = add(o, request, MOED_SYSTEM, "the system message", o->system, strlen(o->system));
    if (r == 0 && bytes > 0) /* in a session an answer may go on */
        r = add(o, request, MOED_USER, "the question", question, bytes);
    if (r)
        return r;
    if (o->think || !o->session) /* which has settings of its own */
        moed_request_set_integer(request, MOED_THINKING, o->think);
    *ret = TAKE(request);
    return 0;
}
