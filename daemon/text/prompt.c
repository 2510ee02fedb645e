/* SPDX-License-Identifier: MIT
 *
 * Ids from markers and text. See prompt.h. */
#include "text/prompt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/token.h"

void prompt_init(struct prompt *prompt, const struct vocab *vocab, struct ids *ids, struct err *err)
{
    *prompt = (struct prompt){.vocab = vocab, .ids = ids, .err = err, .before = ids->n};
}

static void flush(struct prompt *prompt)
{
    if (prompt->failed == 0 && prompt->n > 0)
        prompt->failed = vocab_encode(prompt->vocab, prompt->text, prompt->n, 0, prompt->ids,
                                      prompt->err); /* without VOCAB_SPECIAL: never a marker */
    prompt->n = 0;
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
