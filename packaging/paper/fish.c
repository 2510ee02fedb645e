/* SPDX-License-Identifier: MIT
 *
 * Completion for fish: a line an option, with a condition on the verb that was written.
 */
#include "kind.h"

static void print_quoted(const char *text, FILE *file)
{
    putc('\'', file);
    for (const char *c = text; *c; c++) {
        if (*c == '\'' || *c == '\\')
            putc('\\', file);
        putc(*c, file);
    }
    putc('\'', file);
}

/* The verb that stands on the line, and how many arguments it has already. */
static void print_place(const struct paper *paper, FILE *file)
{
    fprintf(
        file,
        "function __%s_place\n"
        "    set -l verb ''\n    set -l n 0\n    set -l skip no\n"
        "    set -l words (commandline -opc)\n    set -e words[1]\n"
        "    for word in $words\n"
        "        if test $skip = yes\n            set skip no\n            continue\n        end\n"
        "        switch $word\n",
        paper->name);
    bool any = false;
    for (int i = 0; i < paper->n_options; i++) {
        const struct paper_option *option = &paper->options[i];
        if (!takes_word(option))
            continue;
        fprintf(file, "%s --%s", any ? "" : "            case", option->name);
        if (option->letter)
            fprintf(file, " -%c", option->letter);
        any = true;
    }
    if (any)
        fputs("\n                set skip yes\n", file);
    fprintf(file,
            "            case '-*'\n"
            "            case '*'\n"
            "                if test -z \"$verb\"\n                    set verb $word\n"
            "                else\n                    set n (math $n + 1)\n                end\n"
            "        end\n    end\n"
            "    echo $verb\n    echo $n\nend\n\n"
            "function __%s_in\n    set -l place (__%s_place)\n"
            "    contains -- \"$place[1]\" $argv\nend\n\n"
            "function __%s_at\n    set -l place (__%s_place)\n"
            "    test \"$place[1]\" = \"$argv[1]\" -a \"$place[2]\" -eq $argv[2]\nend\n\n",
            paper->name, paper->name, paper->name, paper->name);
}

static void print_kind(const struct kind *kind, FILE *file)
{
    switch (kind->type) {
    case KIND_ANY:
        fputs(" -x", file);
        break;
    case KIND_FILES:
        fputs(" -r -F", file);
        break;
    case KIND_FOLDERS:
        fputs(" -x -a '(__fish_complete_directories)'", file);
        break;
    case KIND_VALUES:
        fprintf(file, " -x -a '%s'", kind->text);
        break;
    case KIND_COMMAND:
        fprintf(file, " -x -a '(%s 2>/dev/null)'", kind->text);
        break;
    }
}

static void print_option(const struct paper *paper, const struct paper_option *option, FILE *file)
{
    struct kind kind;
    fprintf(file, "complete -c %s", paper->name);
    if (option->verbs) {
        fprintf(file, " -n '__%s_in", paper->name);
        for (int v = 0; v < paper->n_verbs; v++)
            if (option->verbs >> v & 1)
                fprintf(file, " %s", paper->verbs[v].name);
        putc('\'', file);
    }
    fprintf(file, " -l %s", option->name);
    if (option->letter)
        fprintf(file, " -s %c", option->letter);
    if (takes_word(option)) {
        kind_find(paper, option->argument, &kind);
        print_kind(&kind, file);
    }
    fputs(" -d ", file);
    print_quoted(option->words, file);
    putc('\n', file);
}

static void print_verb(const struct paper *paper, const struct paper_verb *verb, FILE *file)
{
    struct kind kind;
    fprintf(file, "complete -c %s -n \"__%s_in ''\" -a %s -d ", paper->name, paper->name,
            verb->name);
    print_quoted(verb->summary, file);
    putc('\n', file);
    for (int i = 0; i < KIND_MOST_ARGUMENTS && kind_at(paper, verb, i, &kind); i++) {
        if (kind.type == KIND_ANY)
            continue;
        fprintf(file, "complete -c %s -n '__%s_at %s %d'", paper->name, paper->name, verb->name, i);
        print_kind(&kind, file);
        putc('\n', file);
    }
}

void paper_fish(const struct paper *paper, FILE *file)
{
    fprintf(file,
            "# SPDX-License-Identifier: MIT\n"
            "# Completion of %s for fish, printed by `%s --help=fish`.\n",
            paper->name, paper->name);
    if (paper->n_verbs > 0)
        print_place(paper, file);
    fprintf(file, "complete -c %s -f\n", paper->name);
    for (int v = 0; v < paper->n_verbs; v++)
        print_verb(paper, &paper->verbs[v], file);
    for (int i = 0; i < paper->n_options; i++)
        print_option(paper, &paper->options[i], file);
}
