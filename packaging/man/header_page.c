/* SPDX-License-Identifier: MIT
 *
 * Prints libmoed(3): moed.h is the manual, this sets it as a page. Run while building.
 *
 * A comment belongs to the declarations under it, up to an empty line, and stands behind them on
 * the page; one that begins with dashes opens a section. Preprocessor lines are left out.
 *
 * usage: header_page MOED.H
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "roff.h"

enum { MOST = 16384 };
static char comment[MOST], code[MOST];
static bool had_title, after_heading;

static void die(const char *what)
{
    fprintf(stderr, "header_page: %s\n", what);
    exit(EXIT_FAILURE);
}

static void append(char *dst, const char *text, size_t n)
{
    size_t at = strlen(dst);
    if (at + n + 2 > MOST)
        die("a comment or a declaration is too long");
    memcpy(dst + at, text, n);
    memcpy(dst + at + n, "\n", 2);
}

/* The first comment of all: "libmoed: what it is for.", an empty line, how to use it. */
static void print_head(const char *text)
{
    size_t n = strcspn(text, "\n");
    const char *colon = strstr(text, ": ");
    if (!colon || (size_t)(colon - text) > n || n < 3)
        die("the header's first words are not 'name: what it is for.'");
    roff_heading(stdout, "Name");
    printf("%.*s \\- %.*s\n", (int)(colon - text), text, (int)(text + n - colon - 3), colon + 2);
    roff_heading(stdout, "Synopsis");
    puts(".nf\n.B #include <moed/moed.h>\n.PP\ncc \\&... $(pkg\\-config \\-\\-cflags "
         "\\-\\-libs moed)\n.fi");
    roff_heading(stdout, "Description");
    roff_text(stdout, text + n + strspn(text + n, "\n"));
    had_title = true;
}

static void print_code(void)
{
    puts(after_heading ? ".EX" : ".PP\n.EX");
    after_heading = false;
    for (char *line = code; *line;) {
        size_t n = strcspn(line, "\n");
        if (strncmp(line, "MOED_API ", 9) == 0)
            roff_words(stdout, line + 9, n - 9);
        else
            roff_words(stdout, line, n);
        putchar('\n');
        line += n + 1;
    }
    puts(".EE");
}

static void flush(void)
{
    const char *text = comment + strspn(comment, "\n");
    if (*code)
        print_code();
    if (!had_title && *text && !strstr(text, "SPDX")) {
        print_head(text);
    } else if (!had_title && *text) {
        text = strchr(text, '\n') + 1;
        print_head(text + strspn(text, "\n"));
    } else if (strncmp(text, "---- ", 5) == 0) {
        char title[128];
        size_t n = strcspn(text + 5, ".:\n"); /* the sentences behind it are no title */
        snprintf(title, sizeof title, "%.*s", (int)n, text + 5);
        roff_heading(stdout, title);
        text += 5 + n;
        text += strspn(text, ".: \n");
        roff_text(stdout, text);
        after_heading = *text == '\0';
    } else if (*text) {
        if (*code)
            puts(".RS 4");
        else if (!after_heading)
            puts(".PP");
        after_heading = false;
        roff_text(stdout, text);
        if (*code)
            puts(".RE");
    }
    *comment = *code = '\0';
}

/* One line of a comment, without its frame; true if the comment ends in it. */
static bool take_comment(const char *line)
{
    const char *end = strstr(line, "*/");
    if (strncmp(line, "/**", 3) == 0)
        line += 3;
    else if (strncmp(line, "/*", 2) == 0)
        line += 2;
    else if (strncmp(line, " *", 2) == 0)
        line += end == line + 1 ? 1 : 2;
    if (*line == ' ')
        line++;
    size_t n = end ? (size_t)(end - line) : strlen(line);
    while (n > 0 && line[n - 1] == ' ')
        n--;
    append(comment, line, n);
    return end != NULL;
}

int main(int argc, char **argv)
{
    char line[512];
    bool in_comment = false, in_macro = false;
    int depth = 0; /* of braces: an empty line inside them ends nothing */
    FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
    if (!file)
        die("usage: header_page MOED.H");
    roff_title(stdout, "libmoed", "3", "Library functions");
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        size_t n = strlen(line);
        if (in_comment) {
            in_comment = !take_comment(line);
        } else if (in_macro || line[0] == '#') {
            in_macro = n > 0 && line[n - 1] == '\\';
            if (had_title && !*code && strncmp(comment, "---- ", 5) != 0)
                *comment = '\0'; /* it is about a macro */
        } else if (strncmp(line, "/*", 2) == 0) {
            if (*code || (*comment && depth == 0))
                flush();
            in_comment = !take_comment(line);
        } else if (n == 0) {
            if (depth == 0)
                flush();
        } else if (strcmp(line, "extern \"C\" {") != 0 && !(depth == 0 && line[0] == '}')) {
            for (const char *c = line; *c; c++)
                depth += (*c == '{') - (*c == '}');
            append(code, line, n);
        }
    }
    flush();
    fclose(file);
    roff_heading(stdout, "See also");
    roff_text(stdout, "moectl(1), moed(8)");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
