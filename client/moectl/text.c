/* SPDX-License-Identifier: MIT
 *
 * tokenize, detokenize, render: text and tokens without generating. One thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "moectl/input.h"
#include "moectl/link.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

static void print_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i > 0 ? " " : "", ids[i]);
    putchar('\n');
}

/* A pipe gets the very bytes; a terminal gets them safe, and a line's end. */
static void print_text(const char *text, size_t bytes)
{
    screen_text(stdout, text, bytes);
    if (isatty(STDOUT_FILENO) && bytes > 0 && text[bytes - 1] != '\n')
        putchar('\n');
}

int verb_tokenize(const struct options *o)
{
    OWN_MEM char *text = NULL;
    size_t bytes = 0, n = 0;
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = input_read(o, &text, &bytes);
    if (r == 0)
        r = input_check(o, "standard input", text, bytes);
    if (r == 0)
        r = link_open(o, &moed);
    if (r)
        return r;
    unsigned flags = (o->add_bos ? MOED_ADD_BOS : 0u) | (o->no_special ? MOED_NO_SPECIAL : 0u);
    r = link_wait(o, moed_tokenize(moed, o->model, text, bytes, flags, &call, &error), &call,
                  &error);
    if (r)
        return r;
    const int32_t *ids = moed_call_ids(call, &n);
    if (o->json)
        screen_json(json_pack("{s:o}", "tokens", screen_json_ids(ids, n)));
    else
        print_ids(ids, n);
    return EXIT_DONE;
}

/* What `tokenize --json` prints. */
static bool read_object(const char *text, int32_t **ids, size_t *n)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    char *list = json_dumps(json_object_get(object, "tokens"), JSON_ENCODE_ANY);
    bool is_read = list && list[0] == '[' && options_ids(list, ids, n) == 0;
    free(list);
    json_decref(object);
    return is_read;
}

static int read_ids(const struct options *o, int32_t **ids, size_t *n)
{
    OWN_MEM char *input = NULL;
    size_t bytes = 0;
    for (int i = 0; i < o->n_args; i++)
        if (options_ids(o->args[i], ids, n) < 0)
            return usage_error(o, "found '%s', expected token ids", o->args[i]);
    if (o->n_args > 0)
        return 0;
    int r = input_read(o, &input, &bytes);
    if (r)
        return r;
    char *object = input + strspn(input, " \t\r\n");
    bool is_read = *object == '{' ? read_object(object, ids, n) : options_ids(input, ids, n) == 0;
    if (!is_read || strlen(input) != bytes)
        return link_error(o, "standard input holds something else than token ids");
    return 0;
}

int verb_detokenize(const struct options *o)
{
    OWN_MEM int32_t *ids = NULL;
    size_t n = 0, text_bytes = 0, raw_bytes = 0;
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = read_ids(o, &ids, &n);
    if (r == 0)
        r = link_open(o, &moed);
    if (r)
        return r;
    unsigned flags = o->hide_special ? MOED_HIDE_SPECIAL : 0u;
    r = link_wait(o, moed_detokenize(moed, o->model, ids, n, flags, &call, &error), &call, &error);
    if (r)
        return r;
    const char *text = moed_call_text(call, &text_bytes);
    const char *raw = moed_call_bytes(call, &raw_bytes);
    if (o->json)
        screen_json(json_pack("{s:o,s:o}", "text", screen_json_text(text, text_bytes), "bytes",
                              screen_json_hex((const uint8_t *)raw, raw_bytes)));
    else
        print_text(raw, raw_bytes);
    return EXIT_DONE;
}

int verb_render(const struct options *o)
{
    size_t n = 0, bytes = 0;
    OWN(moed) *moed = NULL;
    OWN(moed_request) *request = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = input_chat_request(o, &request);
    if (r == 0)
        r = link_open(o, &moed);
    if (r)
        return r;
    r = link_wait(o, moed_render(moed, request, &call, &error), &call, &error);
    if (r)
        return r;
    const int32_t *ids = moed_call_ids(call, &n);
    const char *text = moed_call_text(call, &bytes);
    if (o->json)
        screen_json(json_pack("{s:o,s:o}", "tokens", screen_json_ids(ids, n), "text",
                              screen_json_text(text, bytes)));
    else
        print_text(text, bytes);
    return EXIT_DONE;
}
