/* SPDX-License-Identifier: MIT
 *
 * Builds a prompt as ids: markers by lookup, everything else as text that cannot become one.
 *
 * Text between two markers is gathered and encoded in one go, as a template's output would be.
 * The first failure sticks and makes the later calls do nothing; prompt_finish reports it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct vocab;
struct ids;

struct prompt {
    const struct vocab *vocab;
    struct ids *ids;
    struct err *err;
    size_t before; /* ids there were */
    int failed;    /* negative errno */
    char *text;    /* gathered since the last marker */
    size_t n, room;
    const int32_t *written; /* [n_written], of them from next_written on */
    int n_written, next_written;
};

void prompt_init(struct prompt *prompt, const struct vocab *vocab, struct ids *ids,
                 struct err *err);
void prompt_bos(struct prompt *prompt);
/* A special token by its exact text; -EINVAL if the vocabulary lacks it. */
void prompt_mark(struct prompt *prompt, const char *marker);
void prompt_text(struct prompt *prompt, const char *text, size_t bytes);
void prompt_string(struct prompt *prompt, const char *text);
/* What comes now was once written as these ids: text up to a marker that ends in what a run of them
 * spells, none of them special, becomes that run. Borrowed until prompt_written(prompt, NULL, 0).
 */
void prompt_written(struct prompt *prompt, const int32_t *ids, int n);
/* A template's own text: special tokens the vocabulary has act, others are their letters. */
void prompt_template(struct prompt *prompt, const char *text);
/* JSON that jtext_check has seen, spaced anew; and what a JSON string says. */
void prompt_json(struct prompt *prompt, const char *text, size_t bytes);
void prompt_unquoted(struct prompt *prompt, const char *text, size_t bytes);
/* The failure, if there was one; then the ids are as they were. */
int prompt_finish(struct prompt *prompt);
void prompt_fini(struct prompt *prompt);
