/* SPDX-License-Identifier: MIT
 *
 * The manual page of a program. Options that the same verbs take stand together.
 */
#include "paper.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "roff.h"

static void print_usage(const struct paper *paper, FILE *file)
{
    roff_heading(file, "Synopsis");
    roff_bold(file, paper->name);
    putc(' ', file);
    roff_words(file, paper->usage, strlen(paper->usage));
    putc('\n', file);
}

static void print_verbs(const struct paper *paper, FILE *file)
{
    roff_heading(file, "Verbs");
    for (int i = 0; i < paper->n_verbs; i++) {
        const struct paper_verb *verb = &paper->verbs[i];
        fputs(".TP\n", file);
        roff_bold(file, verb->name);
        if (*verb->arguments) {
            putc(' ', file);
            roff_italic(file, verb->arguments);
        }
        putc('\n', file);
        roff_words(file, verb->summary, strlen(verb->summary));
        fputs(".\n", file);
        if (verb->notes) {
            /* not .IP, whose indentation the next paragraph would lose */
            fputs(*verb->notes == ' ' ? ".RS\n" : ".RS\n.PP\n", file);
            roff_text(file, verb->notes);
            fputs(".RE\n", file);
        }
    }
}

static void print_option(const struct paper_option *option, FILE *file)
{
    const char letter[] = {'-', option->letter, '\0'};
    fputs(".TP\n", file);
    if (option->letter) {
        roff_bold(file, letter);
        fputs(", ", file);
    }
    fputs("\\fB\\-\\-", file);
    roff_words(file, option->name, strlen(option->name));
    fputs("\\fR", file);
    if (option->argument && *option->argument == '[') { /* "[FORM]": only behind "=" */
        fputs("[=", file);
        roff_italic(file, option->argument + 1);
    } else if (option->argument) {
        putc(' ', file);
        roff_italic(file, option->argument);
    }
    putc('\n', file);
    roff_words(file, option->words, strlen(option->words));
    if (option->standard && *option->standard) {
        fputs(" (", file);
        roff_words(file, option->standard, strlen(option->standard));
        putc(')', file);
    }
    putc('\n', file);
}

/* "Of ask, chat and render" */
static void print_takers(const struct paper *paper, uint64_t verbs, FILE *file)
{
    char title[512] = "Of";
    bool any = false;
    for (int i = 0; i < paper->n_verbs; i++) {
        if (!(verbs >> i & 1))
            continue;
        size_t n = strlen(title);
        const char *between = !any ? " " : verbs >> i >> 1 ? ", " : " and ";
        snprintf(title + n, sizeof title - n, "%s%s", between, paper->verbs[i].name);
        any = true;
    }
    roff_subheading(file, title);
}

static void print_options(const struct paper *paper, FILE *file)
{
    roff_heading(file, "Options");
    for (int i = 0; i < paper->n_options; i++) {
        const struct paper_option *option = &paper->options[i];
        bool is_told = false; /* with the first of those that the same verbs take */
        for (int j = 0; j < i; j++)
            is_told = is_told || paper->options[j].verbs == option->verbs;
        if (is_told)
            continue;
        if (option->verbs)
            print_takers(paper, option->verbs, file);
        for (int j = i; j < paper->n_options; j++) {
            if (paper->options[j].verbs != option->verbs)
                continue;
            if (paper->options[j].title)
                roff_subheading(file, paper->options[j].title);
            print_option(&paper->options[j], file);
        }
    }
}

static void print_part(const struct paper_part *part, FILE *file)
{
    roff_heading(file, part->title);
    if (part->text)
        roff_text(file, part->text);
    for (int i = 0; i < part->n_rows; i++) {
        fputs(".TP\n", file);
        roff_bold(file, part->rows[i].term);
        putc('\n', file);
        roff_text(file, part->rows[i].words);
    }
}

void paper_man(const struct paper *paper, FILE *file)
{
    roff_title(file, paper->name, paper->section, paper->book);
    roff_heading(file, "Name");
    fprintf(file, "%s \\- %c", paper->name, tolower((unsigned char)*paper->summary));
    roff_words(file, paper->summary + 1, strlen(paper->summary + 1));
    putc('\n', file);
    print_usage(paper, file);
    roff_heading(file, "Description");
    roff_text(file, paper->text);
    if (paper->n_verbs > 0)
        print_verbs(paper, file);
    print_options(paper, file);
    for (int i = 0; i < paper->n_parts; i++)
        print_part(&paper->parts[i], file);
}

int paper_print(const struct paper *paper, const char *form, FILE *file)
{
    static const struct {
        const char *name;
        void (*print)(const struct paper *paper, FILE *file);
    } forms[] = {
        {"man", paper_man}, {"bash", paper_bash}, {"zsh", paper_zsh}, {"fish", paper_fish}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(forms[i].name, form) != 0)
            continue;
        forms[i].print(paper, file);
        return 0;
    }
    return -EINVAL;
}
