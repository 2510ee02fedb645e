/* SPDX-License-Identifier: MIT
 *
 * Completion for zsh: _arguments does the work, once for the program and once for its verb.
 */
#include <ctype.h>
#include <string.h>

#include "kind.h"

/* Within '…'; brackets would end a description. */
static void print_quoted(const char *text, FILE *file)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\'')
            fputs("'\\''", file);
        else if (strchr("[]\\", *c))
            fprintf(file, "\\%c", *c);
        else
            putc(*c, file);
    }
}

static void print_function(const struct paper *paper, const char *name, FILE *file)
{
    fprintf(file, "_%s_", paper->name);
    for (const char *c = name; *c; c++)
        putc(tolower((unsigned char)*c), file);
}

/* ":NAME:_moectl_name" */
static void print_kind(const struct paper *paper, const struct kind *kind, FILE *file)
{
    fprintf(file, ":%s:", kind->name);
    switch (kind->type) {
    case KIND_ANY:
        putc(' ', file);
        break;
    case KIND_FILES:
        fputs("_files", file);
        break;
    case KIND_FOLDERS:
        fputs("_files -/", file);
        break;
    case KIND_VALUES:
        fprintf(file, "(%s)", kind->text);
        break;
    case KIND_COMMAND:
        print_function(paper, kind->name, file);
        break;
    }
}

static void print_option(const struct paper *paper, const struct paper_option *option, FILE *file)
{
    struct kind kind;
    char letter[] = {'-', option->letter, '\0'};
    for (int is_long = 0; is_long < 2; is_long++) {
        if (!is_long && !option->letter)
            continue;
        fprintf(file, "        '%s%s", is_long ? "--" : letter, is_long ? option->name : "");
        if (takes_word(option))
            putc(is_long ? '=' : '+', file);
        putc('[', file);
        print_quoted(option->words, file);
        putc(']', file);
        if (takes_word(option)) {
            kind_find(paper, option->argument, &kind);
            print_kind(paper, &kind, file);
        }
        fputs("'\n", file);
    }
}

static void print_options(const struct paper *paper, uint64_t verb, FILE *file)
{
    for (int i = 0; i < paper->n_options; i++)
        if (verb ? paper->options[i].verbs & verb : !paper->options[i].verbs)
            print_option(paper, &paper->options[i], file);
}

static void print_commands(const struct paper *paper, FILE *file)
{
    for (int i = 0; i < paper->n_kinds; i++) {
        if (!paper->kinds[i].command)
            continue;
        print_function(paper, paper->kinds[i].argument, file);
        fprintf(file,
                "()\n{\n    local -a lines\n    lines=(${(f)\"$(%s 2>/dev/null)\"})\n"
                "    compadd -a lines\n}\n\n",
                paper->kinds[i].command);
    }
}

static void print_verb(const struct paper *paper, int v, FILE *file)
{
    struct kind kind;
    fprintf(file, "    %s)\n        options+=(\n", paper->verbs[v].name);
    print_options(paper, 1ull << v, file);
    for (int i = 0; i < KIND_MOST_ARGUMENTS && kind_at(paper, &paper->verbs[v], i, &kind); i++) {
        fprintf(file, "        '%d", i + 1);
        print_kind(paper, &kind, file);
        fputs("'\n", file);
    }
    fputs("        )\n        ;;\n", file);
}

void paper_zsh(const struct paper *paper, FILE *file)
{
    fprintf(file,
            "#compdef %s\n"
            "# SPDX-License-Identifier: MIT\n"
            "# Completion of %s for zsh, printed by `%s --help=zsh`.\n\n",
            paper->name, paper->name, paper->name);
    print_commands(paper, file);
    fprintf(file,
            "_%s()\n{\n"
            "    local curcontext=$curcontext state line\n"
            "    local -A opt_args\n"
            "    local -a options verbs\n"
            "    options=(\n",
            paper->name);
    print_options(paper, 0, file);
    fputs("    )\n", file);
    if (paper->n_verbs == 0) {
        fputs("    _arguments $options\n}\n\n", file);
    } else {
        fputs("    verbs=(\n", file);
        for (int v = 0; v < paper->n_verbs; v++) {
            fprintf(file, "        '%s:", paper->verbs[v].name);
            print_quoted(paper->verbs[v].summary, file);
            fputs("'\n", file);
        }
        fputs("    )\n"
              "    _arguments -C $options '1: :->verb' '*:: :->argument' && return\n"
              "    if [[ $state == verb ]]; then\n        _describe verb verbs\n        return\n"
              "    fi\n"
              "    case $words[1] in\n",
              file);
        for (int v = 0; v < paper->n_verbs; v++)
            print_verb(paper, v, file);
        fputs("    esac\n    _arguments $options\n}\n\n", file);
    }
    fprintf(file, "_%s \"$@\"\n", paper->name);
}
