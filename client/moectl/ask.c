/* SPDX-License-Identifier: MIT
 *
 * ask and generate: one prompt, one answer or a few. One thread.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moectl/answer.h"
#include "moectl/input.h"
#include "moectl/link.h"
#include "moectl/record.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

/* An answer that has failed was reported already; only an interrupted one is still worth its
 * object. */
static bool is_worth_printing(int r)
{
    return r == EXIT_DONE || r == EXIT_INTERRUPTED;
}

/* Generates, and keeps the answer if that is asked for. */
static int run(struct moed *moed, struct moed_request *request, struct record *record,
               struct answer *a)
{
    int r = record_prepare(record, moed, request, a);
    if (r == EXIT_DONE)
        r = answer_run(moed, request, a);
    if (r == EXIT_DONE)
        r = record_write(record, request, a);
    int closed = record_close(record);
    return r ? r : closed;
}

int verb_ask(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_request) *request = NULL;
    struct record record = {0};
    int r = input_chat_request(o, &request);
    if (r == 0)
        r = link_open(o, &moed);
    if (r == 0)
        r = record_open(o, &record);
    if (r)
        return r;
    struct answer a = {.to_screen = !o->json, .o = o};
    r = run(moed, request, &record, &a);
    if (o->json && is_worth_printing(r))
        screen_json(answer_json(&a));
    if (!o->json && !a.ends_line)
        putchar('\n');
    fflush(stdout);
    if (!o->json)
        answer_print_figures(&a);
    answer_fini(&a);
    return r;
}

static int add_text(const struct options *o, struct moed_request *request)
{
    OWN_MEM char *input = NULL;
    const char *text = o->raw;
    size_t bytes = text ? strlen(text) : 0;
    int r = 0;
    if (!text) {
        if (isatty(STDIN_FILENO))
            return usage_error(o, "generate needs --raw TEXT, --tokens-in IDS or standard input");
        r = input_read(o, &input, &bytes);
        text = input;
    }
    if (r == 0)
        r = input_check(o, o->raw ? "--raw" : "standard input", text, bytes);
    if (r == 0 && moed_request_add_text(request, text, bytes) < 0)
        r = link_error(o, "no memory for the prompt");
    if (r == 0 && o->suffix)
        r = input_check(o, "--suffix", o->suffix, strlen(o->suffix));
    if (r == 0 && o->suffix && moed_request_add_suffix(request, o->suffix, strlen(o->suffix)) < 0)
        r = link_error(o, "no memory for the prompt");
    return r;
}

static int build(const struct options *o, struct moed_request **ret)
{
    if (o->raw && o->has_ids)
        return usage_error(o, "--raw and --tokens-in exclude each other");
    if (o->suffix && o->has_ids)
        return usage_error(o, "--suffix and --tokens-in exclude each other");
    if (o->suffix && !*o->suffix)
        return usage_error(o, "--suffix needs a text");
    OWN(moed_request) *request = moed_request_new();
    if (!request)
        return link_error(o, "no memory for the request");
    int r = options_apply(o, request);
    if (r == 0 && o->has_ids && moed_request_add_ids(request, o->ids, o->n_ids) < 0)
        r = link_error(o, "no memory for the prompt");
    else if (r == 0 && !o->has_ids)
        r = add_text(o, request);
    if (r)
        return r;
    if (o->json || o->has_top)
        moed_request_set_integer(request, MOED_LOGPROBS, 1);
    if (o->json)
        moed_request_set_integer(request, MOED_RETURN_PROMPT, 1);
    if (o->prompt_logprobs)
        moed_request_set_integer(request, MOED_PROMPT_LOGPROBS, 1);
    *ret = TAKE(request);
    return 0;
}

int verb_generate(const struct options *o)
{
    if (o->has_top && !o->json)
        return usage_error(o, "--top-logprobs needs --json");
    if (o->prompt_logprobs && !o->json)
        return usage_error(o, "--prompt-logprobs needs --json");
    OWN(moed) *moed = NULL;
    OWN(moed_request) *request = NULL;
    struct record record = {0};
    int r = build(o, &request);
    if (r == 0)
        r = link_open(o, &moed);
    if (r == 0)
        r = record_open(o, &record);
    if (r)
        return r;
    struct answer a = {.to_screen = !o->json, .keep_tokens = o->json, .o = o};
    r = run(moed, request, &record, &a);
    if (o->json && is_worth_printing(r))
        screen_json(answer_json_raw(&a));
    if (!o->json && !a.ends_line && isatty(STDOUT_FILENO))
        putchar('\n'); /* a pipe gets the text and nothing else */
    fflush(stdout);
    if (!o->json)
        answer_print_figures(&a);
    answer_fini(&a);
    return r;
}
