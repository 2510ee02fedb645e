/* SPDX-License-Identifier: MIT
 *
 * The tables of verbs and options, told.
 */
#include "moectl/help.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "moectl/verb.h"
#include "moed/v1/engine.pb-c.h"
#include "paper.h"

#define SUMMARY "Talk to moed, the daemon that keeps DeepSeek models in memory"
#define USAGE   "[OPTION]... VERB [ARGUMENT]... [OPTION]..."
static const char sockets[] = "Sockets, in this order: --socket, $MOED_SOCKET,\n"
                              "$XDG_RUNTIME_DIR/moed/moed.sock, /run/moed/moed.sock.\n"
                              "Colours follow $NO_COLOR, $CLICOLOR_FORCE and $TERM.\n";
static const struct paper_row exits[] = {
    {"0", "done"},
    {"1", "the request failed"},
    {"2", "the command line is wrong"},
    {"3", "no daemon answers"},
    {"4", "there is no such model or generation"},
    {"130", "interrupted by Ctrl-C"},
};
enum { N_EXITS = sizeof exits / sizeof *exits, MOST_OPTIONS = 160 };

/* ---- on a terminal */
static void print_option(const struct option_words *o)
{
    char left[64];
    char letter[8] = "    ";
    const char *between = !o->arg ? "" : o->arg[0] == '[' ? "[=" : " ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, between,
             o->arg ? o->arg + (o->arg[0] == '[') : "");
    printf("  %-28s  %s\n", left, o->help);
}

static void print_options(const char *title, unsigned groups)
{
    struct option_words o;
    bool any = false;
    for (int i = 0; option_words(i, &o); i++) {
        if (!(o.groups & groups))
            continue;
        if (!any)
            printf("\n%s:\n", title);
        any = true;
        print_option(&o);
    }
}

static void print_program(void)
{
    fputs("Usage: moectl " USAGE "\n" SUMMARY ".\n\nVerbs:\n", stdout);
    for (const struct verb *v = verb_table; v->name; v++)
        printf("  %-12s  %s\n", v->name, v->summary);
    print_options("Options, before or after the verb", GROUP_GLOBAL);
    printf("\n%s\nExit codes:\n", sockets);
    for (int i = 0; i < N_EXITS; i++)
        printf("  %3s  %s\n", exits[i].term, exits[i].words);
    puts("\n'moectl VERB --help' tells more of a verb.");
}

static void print_verb(const struct verb *verb)
{
    printf("Usage: moectl %s [OPTION]...%s%s\n%s.\n", verb->name, *verb->args ? " " : "",
           verb->args, verb->summary);
    if (verb->notes)
        printf("\n%s", verb->notes);
    print_options("Options", verb->groups);
    print_options("Everywhere", GROUP_GLOBAL);
}

/* ---- on paper */
static const struct paper_part parts[] = {
    {"Environment", sockets, NULL, 0},
    {"Exit status", NULL, exits, N_EXITS},
    {"Files", NULL,
     (const struct paper_row[]){{"$XDG_STATE_HOME/moed/history", "what was said in chat\n"}}, 1},
    {"Examples",
     "A question, and one about a file:\n\n"
     "  moectl ask \"Tell me a story about a fox\"\n"
     "  moectl ask \"What does this do?\" <main.c\n\n"
     "The most probable continuation, with the alternatives of each token, for a program:\n\n"
     "  moectl generate --raw \"Once upon a time\" --tokens 40 --temperature 0 \\\n"
     "      --top-logprobs 5 --json\n\n"
     "A method of the protocol that no verb stands for:\n\n"
     "  moectl rpc Cancel '{\"generation_id\": \"00112233445566778899aabbccddeeff\"}'\n",
     NULL, 0},
    {"See also", "moed(8), moed.conf(5), libmoed(3)", NULL, 0},
};

static int fill_options(struct paper_option *dst, const struct verb *verbs)
{
    struct option_words o;
    int n = 0;
    for (; option_words(n, &o); n++) {
        assert(n < MOST_OPTIONS);
        dst[n] = (struct paper_option){
            .name = o.name, .letter = o.letter, .argument = o.arg, .words = o.help};
        for (int v = 0; verbs[v].name; v++)
            if (!(o.groups & GROUP_GLOBAL) && verbs[v].groups & o.groups)
                dst[n].verbs |= 1ull << v;
        if (o.groups & GROUP_GLOBAL)
            dst[n].title = n > 0 && dst[n - 1].verbs ? "Of every verb" : NULL;
    }
    return n;
}

static int fill_verbs(struct paper_verb *dst, const struct verb *verbs)
{
    int n = 0;
    for (; verbs[n].name; n++) {
        assert(n < PAPER_MOST_VERBS);
        dst[n] =
            (struct paper_verb){verbs[n].name, verbs[n].args, verbs[n].summary, verbs[n].notes};
    }
    return n;
}

static int print_paper(const struct options *o)
{
    static struct paper_option options[MOST_OPTIONS];
    static struct paper_verb verbs[PAPER_MOST_VERBS];
    char methods[512] = "";
    const ProtobufCServiceDescriptor *service = &moed__v1__engine__descriptor;
    for (unsigned i = 0; i < service->n_methods; i++) {
        size_t n = strlen(methods);
        snprintf(methods + n, sizeof methods - n, "%s%s", i > 0 ? " " : "",
                 service->methods[i].name);
    }
    const struct paper_kind kinds[] = {{"NAME", NULL, "moectl --quiet list"},
                                       {"WHEN", "auto always never", NULL},
                                       {"METHOD", methods, NULL}};
    const struct paper paper = {
        .name = "moectl",
        .section = "1",
        .book = "User commands",
        .summary = SUMMARY,
        .usage = USAGE,
        .text = "moectl asks the daemon that listens on a Unix socket of this machine. Answers go "
                "to\nstandard output, everything else to standard error. With --json an answer is "
                "an object,\nor one a line, whose keys stay what they are.\n",
        .options = options,
        .n_options = fill_options(options, verb_table),
        .verbs = verbs,
        .n_verbs = fill_verbs(verbs, verb_table),
        .kinds = kinds,
        .n_kinds = sizeof kinds / sizeof *kinds,
        .parts = parts,
        .n_parts = sizeof parts / sizeof *parts,
    };
    if (paper_print(&paper, o->help_form, stdout) < 0)
        return usage_error(o, "--help: found '%s', expected " PAPER_FORMS, o->help_form);
    return EXIT_DONE;
}

int help_print(const struct options *o)
{
    if (o->help_form)
        return print_paper(o);
    if (o->verb)
        print_verb(o->verb);
    else
        print_program();
    return EXIT_DONE;
}
