/* SPDX-License-Identifier: MIT
 *
 * What a program says of its options, and on what paper: a manual page, or completions for a shell.
 *
 * The program fills these structs from the tables it parses its command line by, and says
 * `--help=man` and the like with them: there is no second text that could differ. All strings are
 * borrowed. One thread.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

struct paper_option {
    const char *name;     /* without dashes */
    char letter;          /* 0: none */
    const char *argument; /* NULL: takes none; "[FORM]": may, after "=" */
    const char *words;
    const char *standard; /* what counts without it; NULL or "": not told */
    const char *title;    /* of the options from here on in the manual; NULL: as before */
    uint64_t verbs;       /* bit i: verb i takes it; 0: it belongs to the program */
};

struct paper_verb {
    const char *name, *arguments; /* "[NAME]"; "cat|check" is a choice of words */
    const char *summary;          /* without a full stop */
    const char *notes;            /* NULL: none */
};
enum { PAPER_MOST_VERBS = 64 };

/* What an argument's word means: its values, with blanks between, or a shell command that prints
 * them line by line. FILE, PATH and DIR are known. */
struct paper_kind {
    const char *argument, *values, *command;
};

struct paper_row {
    const char *term, *words;
};
struct paper_part { /* a section of the manual: text, then a list; either may be missing */
    const char *title, *text;
    const struct paper_row *rows;
    int n_rows;
};

struct paper {
    const char *name, *section, *book; /* "moectl", "1", "User commands" */
    const char *summary;               /* behind the name: "talk to moed" */
    const char *usage;                 /* behind the name: "[OPTION]..." */
    const char *text;                  /* see roff_text */
    const struct paper_option *options;
    int n_options;
    const struct paper_verb *verbs;
    int n_verbs;
    const struct paper_kind *kinds;
    int n_kinds;
    const struct paper_part *parts;
    int n_parts;
};

#define PAPER_FORMS "man, bash, zsh or fish"

/* Prints the program in one of PAPER_FORMS; -EINVAL: there is no such form. */
int paper_print(const struct paper *paper, const char *form, FILE *file);

/* The forms. */
void paper_man(const struct paper *paper, FILE *file);
void paper_bash(const struct paper *paper, FILE *file);
void paper_zsh(const struct paper *paper, FILE *file);
void paper_fish(const struct paper *paper, FILE *file);
