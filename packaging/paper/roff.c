/* SPDX-License-Identifier: MIT
 *
 * The macros of man(7), few of them, so that groff and mandoc agree.
 */
#include "roff.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

void roff_title(FILE *file, const char *name, const char *section, const char *book)
{
    fputs(".\\\" SPDX-License-Identifier: MIT\n.TH ", file);
    for (const char *c = name; *c; c++)
        putc(toupper((unsigned char)*c), file);
    fprintf(file, " %s %s \"moed %s\" \"%s\"\n", section, MOED_DATE, MOED_VERSION, book);
}

void roff_heading(FILE *file, const char *title)
{
    fputs(".SH \"", file);
    for (const char *c = title; *c; c++)
        putc(toupper((unsigned char)*c), file);
    fputs("\"\n", file);
}

void roff_subheading(FILE *file, const char *title)
{
    fputs(".SS \"", file);
    roff_words(file, title, strlen(title));
    fputs("\"\n", file);
}

/* A dot or a quote at the start of a line would be a command: the empty sign in front is none. */
void roff_words(FILE *file, const char *text, size_t n)
{
    if (n > 0 && strchr(".'", text[0]))
        fputs("\\&", file);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\\')
            fputs("\\e", file);
        else if (text[i] == '-')
            fputs("\\-", file);
        else if (text[i] == '"')
            fputs("\\(dq", file);
        else if (text[i] == '\'')
            fputs("\\(aq", file);
        else if (text[i] == '^')
            fputs("\\(ha", file);
        else if (text[i] == '~')
            fputs("\\(ti", file);
        else
            putc(text[i], file);
    }
}

static void in_font(FILE *file, char font, const char *text)
{
    fprintf(file, "\\f%c", font);
    roff_words(file, text, strlen(text));
    fputs("\\fR", file);
}

void roff_bold(FILE *file, const char *text)
{
    in_font(file, 'B', text);
}

void roff_italic(FILE *file, const char *text)
{
    in_font(file, 'I', text);
}

static void end_example(FILE *file, bool *inside, bool goes_on)
{
    if (*inside)
        fputs(goes_on ? ".EE\n.RE\n.PP\n" : ".EE\n.RE\n", file);
    *inside = false;
}

void roff_text(FILE *file, const char *text)
{
    bool inside = false, after_empty = false;
    size_t margin = 0; /* of the example: its first line's */
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        size_t blanks = strspn(line, " ");
        if (blanks >= n) {
            after_empty = true;
        } else if (blanks >= 2) {
            if (!inside) {
                fputs(".PP\n.RS 4\n.EX\n", file);
                margin = blanks;
            } else if (after_empty) {
                fputs("\n", file);
            }
            inside = true;
            fprintf(file, "%*s", blanks > margin ? (int)(blanks - margin) : 0, "");
            roff_words(file, line + blanks, n - blanks);
            fputs("\n", file);
            after_empty = false;
        } else {
            if (inside)
                end_example(file, &inside, true);
            else if (after_empty)
                fputs(".PP\n", file);
            roff_words(file, line + blanks, n - blanks);
            fputs("\n", file);
            after_empty = false;
        }
        line += n;
        line += *line == '\n';
    }
    end_example(file, &inside, false);
}
