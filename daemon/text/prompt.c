/* SPDX-License-Identifier: MIT
 *
 * Ids from markers and text. See prompt.h. */
#include "text/prompt.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/jtext.h"
#include "text/token.h"

void prompt_init(struct prompt *prompt, const struct vocab *vocab, struct ids *ids, struct err *err)
{
    *prompt = (struct prompt){.vocab = vocab, .ids = ids, .err = err, .before = ids->n};
}

static bool is_plain(const struct vocab *vocab, int32_t id)
{
    return id >= 0 && id < vocab_size(vocab) && !vocab_is_special(vocab, id) &&
           !vocab_is_unused(vocab, id);
}

/* Whether the text ends in what these ids spell; then *rest is how much stands before that. */
static bool ends_in(const struct prompt *prompt, const int32_t *ids, int n, size_t *rest)
{
    *rest = prompt->n;
    while (n-- > 0) {
        size_t bytes;
        const char *spelled = vocab_bytes(prompt->vocab, ids[n], &bytes);
        if (bytes == 0 || bytes > *rest ||
            memcmp(prompt->text + *rest - bytes, spelled, bytes) != 0)
            return false;
        *rest -= bytes;
    }
    return true;
}

/* The next run of written ids that the text ends in; how long it is, 0: there is none. */
static int find_written(struct prompt *prompt, const int32_t **run, size_t *rest)
{
    for (int at = prompt->next_written; at < prompt->n_written; at++) {
        int first = at;
        while (at < prompt->n_written && is_plain(prompt->vocab, prompt->written[at]))
            at++;
        if (at == first || !ends_in(prompt, prompt->written + first, at - first, rest))
            continue;
        prompt->next_written = at;
        *run = prompt->written + first;
        return at - first;
    }
    return 0;
}

static void flush(struct prompt *prompt)
{
    const int32_t *run = NULL;
    size_t n = prompt->n;
    int n_run = prompt->failed == 0 && n > 0 ? find_written(prompt, &run, &n) : 0;
    if (n_run == 0)
        n = prompt->n;
    prompt->n = 0;
    if (prompt->failed == 0 && n > 0)
        prompt->failed = vocab_encode(prompt->vocab, prompt->text, n, 0, prompt->ids,
                                      prompt->err); /* without VOCAB_SPECIAL: never a marker */
    if (prompt->failed == 0 && n_run > 0 && ids_append(prompt->ids, run, (size_t)n_run) < 0)
        prompt->failed = err_set(prompt->err, -ENOMEM, "no memory for a prompt");
}

void prompt_written(struct prompt *prompt, const int32_t *ids, int n)
{
    if (prompt->n_written > 0)
        flush(prompt); /* or what follows would be read as a part of it */
    prompt->written = ids;
    prompt->n_written = n;
    prompt->next_written = 0;
}

static void push(struct prompt *prompt, int32_t id)
{
    flush(prompt);
    if (prompt->failed < 0)
        return;
    prompt->failed = ids_push(prompt->ids, id);
    if (prompt->failed < 0)
        err_set(prompt->err, prompt->failed, "no memory for a prompt");
}

void prompt_bos(struct prompt *prompt)
{
    int32_t id = vocab_bos(prompt->vocab);
    if (id >= 0)
        push(prompt, id);
    else
        prompt_mark(prompt, "<｜begin▁of▁sentence｜>");
}

void prompt_mark(struct prompt *prompt, const char *marker)
{
    int32_t id = vocab_find(prompt->vocab, marker);
    if (prompt->failed == 0 && !vocab_is_special(prompt->vocab, id))
        prompt->failed = err_set(prompt->err, -EINVAL,
                                 "the chat format needs the special token '%s', which the "
                                 "vocabulary lacks",
                                 marker);
    push(prompt, id);
}

void prompt_text(struct prompt *prompt, const char *text, size_t bytes)
{
    if (prompt->failed < 0 || bytes == 0)
        return;
    if (bytes > prompt->room - prompt->n) {
        size_t room = prompt->n + bytes; /* cannot wrap: both lie in memory */
        room += room / 2;
        char *grown = realloc(prompt->text, room);
        if (!grown) {
            prompt->failed = err_set(prompt->err, -ENOMEM, "no memory for a prompt");
            return;
        }
        prompt->text = grown;
        prompt->room = room;
    }
    memcpy(prompt->text + prompt->n, text, bytes);
    prompt->n += bytes;
}

void prompt_string(struct prompt *prompt, const char *text)
{
    prompt_text(prompt, text, strlen(text));
}

/* How long the special token is that stands at a place of a template; 0: none. */
static size_t marker_at(const struct vocab *vocab, const char *at, int32_t *id)
{
    static const char dsml[] = "｜DSML｜";
    char marker[64];
    size_t n = 0;
    if (*at == '<' || *at == '[') {
        const char *close = strchr(at, *at == '<' ? '>' : ']');
        n = close ? (size_t)(close - at) + 1 : 0;
    } else if (strncmp(at, dsml, sizeof(dsml) - 1) == 0) {
        n = sizeof(dsml) - 1;
    }
    if (n == 0 || n >= sizeof(marker))
        return 0;
    memcpy(marker, at, n);
    marker[n] = '\0';
    *id = vocab_find(vocab, marker);
    return vocab_is_special(vocab, *id) ? n : 0;
}

void prompt_template(struct prompt *prompt, const char *text)
{
    const char *at = text;
    while (*at) {
        int32_t id;
        size_t n = marker_at(prompt->vocab, at, &id);
        if (n == 0) {
            at++;
            continue;
        }
        prompt_text(prompt, text, (size_t)(at - text));
        push(prompt, id);
        text = at += n;
    }
    prompt_text(prompt, text, (size_t)(at - text));
}

static void put_out(struct prompt *prompt, struct jtext_out *out)
{
    if (out->failed && prompt->failed == 0)
        prompt->failed = err_set(prompt->err, -ENOMEM, "no memory for a prompt");
    prompt_text(prompt, out->data, out->n);
    jtext_fini(out);
}

void prompt_json(struct prompt *prompt, const char *text, size_t bytes)
{
    struct jtext_out out = {0};
    jtext_space(&out, text, bytes);
    put_out(prompt, &out);
}

void prompt_unquoted(struct prompt *prompt, const char *text, size_t bytes)
{
    struct jtext_out out = {0};
    jtext_unquote(&out, text, bytes);
    put_out(prompt, &out);
}

int prompt_finish(struct prompt *prompt)
{
    flush(prompt);
    if (prompt->failed < 0)
        prompt->ids->n = prompt->before;
    return prompt->failed;
}

void prompt_fini(struct prompt *prompt)
{
    free(prompt->text);
    prompt->text = NULL;
}
