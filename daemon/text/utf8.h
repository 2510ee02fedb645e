/* SPDX-License-Identifier: MIT
 *
 * UTF-8 as bytes: where a text stops being valid, and what an unfinished character may become.
 *
 * Pure; any thread. The ranges are those of table 3-7 of the Unicode standard: no overlong forms,
 * no surrogates, nothing above U+10FFFF.
 */
#pragma once

#include <stddef.h>

enum utf8_state {
    UTF8_BAD,  /* the last byte cannot stand there */
    UTF8_PART, /* the beginning of a character */
    UTF8_WHOLE /* exactly one character */
};

/* Judges n bytes (1 … 4) of which all but the last were UTF8_PART together. */
enum utf8_state utf8_state(const unsigned char *s, int n);

/* The length of the longest prefix that is valid UTF-8. */
size_t utf8_valid(const char *s, size_t bytes);

/* How much of a text an error may quote, as the precision of a %.*s: whole characters, not many. */
int utf8_quote(const char *s, size_t bytes);

extern const char utf8_replacement[4]; /* U+FFFD, three bytes */
