/* SPDX-License-Identifier: MIT
 *
 * Reading what a verb is asked: standard input and words.
 */
#pragma once

#include "moectl/option.h"

/* All of standard input, with a zero byte behind, on the heap. EXIT_FAILED has been reported. */
int input_read(const struct options *o, char **ret, size_t *bytes);
/* All of a file, likewise. */
int input_read_file(const struct options *o, const char *path, char **ret, size_t *bytes);
/* The words joined by spaces, standard input behind them where it is no terminal (its last newline
 * dropped). Usage error when there is neither. */
int input_question(const struct options *o, char **ret, size_t *bytes);
/* The request of `ask` and `render`: options, system message and question. */
int input_chat_request(const struct options *o, struct moed_request **ret);
/* Text must be UTF-8 without zero bytes; reported as EXIT_FAILED. */
int input_check(const struct options *o, const char *name, const char *text, size_t bytes);
