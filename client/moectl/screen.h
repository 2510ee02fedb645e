/* SPDX-License-Identifier: MIT
 *
 * What goes to the user: text that can't harm a terminal, colours where they are wanted, JSON.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "moectl/option.h"

/* Whether escape codes may go to the stream: --color, NO_COLOR, CLICOLOR_FORCE, TERM, a tty. */
bool screen_has_color(const struct options *o, FILE *to);
/* Writes text; on a terminal every control character but newline and tab is shown as an escape
 * ("\x1b"), for a model may write anything. */
void screen_text(FILE *to, const char *text, size_t bytes);
void screen_word(FILE *to, const char *text);
/* Columns that a text takes up as screen_word writes it. */
int screen_width(const char *text);
/* Pads to a column: writes the text and then spaces up to `width`, and two more. */
void screen_cell(const char *text, int width);

/* One object on a line of stdout; floats in nine digits, which is all a float32 has. */
void screen_json(json_t *object); /* takes the reference */
/* Bytes as a JSON string, U+FFFD for what is not UTF-8. */
json_t *screen_json_text(const char *text, size_t bytes);
json_t *screen_json_word(const char *text);
/* null where the number is not finite. */
json_t *screen_json_real(double value);
json_t *screen_json_hex(const uint8_t *bytes, size_t n);
json_t *screen_json_ids(const int32_t *ids, size_t n);
bool screen_is_utf8(const char *text, size_t bytes);

/* "38.2 MiB" into the buffer, which is returned. */
const char *screen_bytes(char *buffer, size_t size, uint64_t bytes);
