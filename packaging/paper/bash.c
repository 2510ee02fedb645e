/* SPDX-License-Identifier: MIT
 *
 * Completion for bash: one function, which needs nothing of the package bash-completion.
 *
 * What a command prints is compared and quoted by hand: `compgen -W` would run what stands between
 * backquotes in the name of a file.
 */
#include <string.h>

#include "kind.h"

static void print_names(const struct paper_option *option, const char *between, FILE *file)
{
    fprintf(file, "--%s", option->name);
    if (option->letter)
        fprintf(file, "%s-%c", between, option->letter);
}

/* Every option that is followed by a word, for a case. */
static void print_takers(const struct paper *paper, FILE *file)
{
    bool any = false;
    for (int i = 0; i < paper->n_options; i++) {
        if (!takes_word(&paper->options[i]))
            continue;
        fputs(any ? " | " : "        ", file);
        print_names(&paper->options[i], " | ", file);
        any = true;
    }
    if (any)
        fputs(")\n            ((i++))\n"
              "            [[ ${COMP_WORDS[i]} != = ]] || ((i++))\n            ;;\n",
              file);
}

static void print_reply(const struct kind *kind, FILE *file)
{
    switch (kind->type) {
    case KIND_ANY:
        break;
    case KIND_FILES:
    case KIND_FOLDERS:
        fprintf(file,
                "        compopt -o filenames\n"
                "        mapfile -t COMPREPLY < <(compgen -%c -- \"$cur\")\n",
                kind->type == KIND_FILES ? 'f' : 'd');
        break;
    case KIND_VALUES:
        fprintf(file, "        mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\")\n",
                kind->text);
        break;
    case KIND_COMMAND:
        fprintf(file,
                "        while read -r line; do\n"
                "            [[ $line != \"$cur\"* ]] || COMPREPLY+=(\"$(printf %%q \"$line\")\")\n"
                "        done < <(%s 2>/dev/null)\n",
                kind->text);
        break;
    }
}

static void print_values(const struct paper *paper, FILE *file)
{
    struct kind kind;
    fputs("    case $prev in\n", file);
    for (int i = 0; i < paper->n_options; i++) {
        if (!takes_word(&paper->options[i]))
            continue;
        kind_find(paper, paper->options[i].argument, &kind);
        fputs("    ", file);
        print_names(&paper->options[i], " | ", file);
        fputs(")\n", file);
        print_reply(&kind, file);
        fputs("        return\n        ;;\n", file);
    }
    fputs("    esac\n", file);
}

static void print_options(const struct paper *paper, FILE *file)
{
    fputs("    if [[ $cur == -* ]]; then\n        case $verb in\n", file);
    for (int v = 0; v < paper->n_verbs; v++) {
        fprintf(file, "        %s) words='", paper->verbs[v].name);
        for (int i = 0; i < paper->n_options; i++) {
            if (!(paper->options[i].verbs >> v & 1))
                continue;
            print_names(&paper->options[i], " ", file);
            putc(' ', file);
        }
        fputs("' ;;\n", file);
    }
    fputs("        esac\n        words+='", file);
    for (int i = 0; i < paper->n_options; i++) {
        if (paper->options[i].verbs)
            continue;
        print_names(&paper->options[i], " ", file);
        putc(' ', file);
    }
    fputs("'\n        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
          "        return\n    fi\n",
          file);
}

static void print_arguments(const struct paper *paper, FILE *file)
{
    struct kind kind;
    fputs("    case $verb:$n in\n    :0)\n"
          "        mapfile -t COMPREPLY < <(compgen -W '",
          file);
    for (int v = 0; v < paper->n_verbs; v++)
        fprintf(file, "%s%s", v > 0 ? " " : "", paper->verbs[v].name);
    fputs("' -- \"$cur\")\n        ;;\n", file);
    for (int v = 0; v < paper->n_verbs; v++) {
        for (int i = 0; i < KIND_MOST_ARGUMENTS && kind_at(paper, &paper->verbs[v], i, &kind);
             i++) {
            if (kind.type == KIND_ANY)
                continue;
            fprintf(file, "    %s:%d)\n", paper->verbs[v].name, i);
            print_reply(&kind, file);
            fputs("        ;;\n", file);
        }
    }
    fputs("    esac\n", file);
}

void paper_bash(const struct paper *paper, FILE *file)
{
    fprintf(file,
            "# SPDX-License-Identifier: MIT\n"
            "# Completion of %s for bash, printed by `%s --help=bash`.\n"
            "_%s()\n{\n"
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
            "    local verb='' words='' n=0 i line\n"
            "    COMPREPLY=()\n"
            "    # \"--name=value\" comes as three words.\n"
            "    if [[ $cur == = ]]; then\n        cur=''\n"
            "    elif [[ $prev == = ]]; then\n        prev=${COMP_WORDS[COMP_CWORD - 2]}\n    fi\n"
            "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
            "        case ${COMP_WORDS[i]} in\n",
            paper->name, paper->name, paper->name);
    print_takers(paper, file);
    fputs("        =) ((i++)) ;;\n"
          "        -*) ;;\n"
          "        *)\n"
          "            if [[ $verb ]]; then ((n++)); else verb=${COMP_WORDS[i]}; fi\n"
          "            ;;\n"
          "        esac\n"
          "    done\n",
          file);
    print_values(paper, file);
    print_options(paper, file);
    if (paper->n_verbs > 0)
        print_arguments(paper, file);
    fprintf(file, "}\ncomplete -F _%s %s\n", paper->name, paper->name);
}
