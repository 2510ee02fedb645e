/* SPDX-License-Identifier: MIT
 *
 * Writing the source of a manual page: escapes, paragraphs, examples. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* The head of a page. */
void roff_title(FILE *file, const char *name, const char *section, const char *book);
void roff_heading(FILE *file, const char *title);    /* in capitals, .SH */
void roff_subheading(FILE *file, const char *title); /* .SS */

/* Text inside of a line; `n` bytes. Signs are literal, dashes are those of options. */
void roff_words(FILE *file, const char *text, size_t n);
/* The same, bold or italic. */
void roff_bold(FILE *file, const char *text);
void roff_italic(FILE *file, const char *text);
/* Lines that are filled; an empty one begins a paragraph. Lines that begin with two blanks or more
 * stay as they are. Ends the line. */
void roff_text(FILE *file, const char *text);
