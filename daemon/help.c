/* SPDX-License-Identifier: MIT
 *
 * The tables of options.c and config.def, told.
 */
#include "help.h"

#include <stdio.h>
#include <string.h>

#include "config.h"
#include "options.h"
#include "paper.h"

#define SUMMARY "Keep DeepSeek models in memory and answer for them over a Unix socket"
#define OVER    "These overrule the configuration"
static const char signals[] = "SIGTERM lets running answers finish, a second one ends at once.\n"
                              "SIGHUP reads the configuration again: all of it, or nothing where\n"
                              "it has a fault.\n";
static const struct paper_row exits[] = {
    {"0", "at the end asked for"},
    {"1", "for a failure"},
    {"2", "for a bad command line"},
    {"78", "for a bad configuration"},
};
enum { N_EXITS = sizeof exits / sizeof *exits, MOST_OPTIONS = CONFIG_N_KEYS + 32 };

/* Those of our own first, then those that set keys. */
static int fill_options(struct paper_option *dst)
{
    int n = 0;
    for (const struct options_row *own = options_own; own->name; own++)
        dst[n++] = (struct paper_option){
            .name = own->name, .argument = own->argument, .words = own->words};
    const char *title = OVER;
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (!key->option)
            continue;
        dst[n++] = (struct paper_option){.name = key->option,
                                         .argument = key->argument,
                                         .words = key->words,
                                         .standard = key->standard,
                                         .title = title};
        title = NULL;
    }
    return n;
}

/* ---- on a terminal */
/* Two columns, 80 wide; the words of the second are filled line by line. */
static void print_option(const struct paper_option *option)
{
    enum { COLUMN = 23, WIDTH = 79 };
    char text[512];
    const char *words = text, *argument = option->argument ? option->argument : "";
    bool is_told = option->standard && *option->standard;
    snprintf(text, sizeof text, is_told ? "%s (%s)" : "%s", option->words, option->standard);
    const char *between = !*argument ? "" : *argument == '[' ? "[=" : " ";
    int at = printf("  --%s%s%s", option->name, between, argument + (*argument == '['));
    if (at > COLUMN - 2)
        at = printf("\n") - 1;
    while (*words) {
        int length = (int)strcspn(words, " ");
        if (at + 1 + length > WIDTH)
            at = printf("\n") - 1;
        if (at < COLUMN)
            at += printf("%*s", COLUMN - at, "");
        else
            at += printf(" ");
        at += printf("%.*s", length, words);
        words += length;
        words += strspn(words, " ");
    }
    printf("\n");
}

static void print_text(const struct paper_option *options, int n)
{
    printf("Usage: moed [OPTION]...\n" SUMMARY ".\n\n");
    for (int i = 0; i < n; i++) {
        if (options[i].title)
            printf("\n%s:\n", options[i].title);
        print_option(&options[i]);
    }
    printf("\n%s\nExit status:\n", signals);
    for (int i = 0; i < N_EXITS; i++)
        printf("  %2s  %s\n", exits[i].term, exits[i].words);
}

/* ---- on paper */
static const struct paper_part parts[] = {
    {"Signals", signals, NULL, 0},
    {"Exit status", NULL, exits, N_EXITS},
    {"Files", NULL,
     (const struct paper_row[]){
         {MOED_CONF, "the configuration: see moed.conf(5)\n"},
         {"/run/moed/moed.sock", "where the daemon of the machine listens; members of the group\n"
                                 "moed may ask\n"},
         {"/var/lib/moed/models", "models that are found by name\n"},
         {MOED_DATADIR "/models", "the small model that comes along, and its card\n"}},
     4},
    {"Environment", NULL,
     (const struct paper_row[]){{"NOTIFY_SOCKET, LISTEN_FDS",
                                 "set by systemd, which hands over the socket and is told\n"
                                 "when it is served and how far models are loaded\n"}},
     1},
    {"D-Bus",
     "Where the system's systemd has started it, or Bus=system is set, the daemon is "
     "org.moed.Moed1\n"
     "on the system's bus, for root and members of the group moed. The object /org/moed/Moed1 "
     "tells\n"
     "State, Models, LoadingPercent, MemoryBytes, MemoryPressure, RunningRequests and\n"
     "WaitingRequests, and when they change; never what is asked or answered. LoadModel, "
     "UnloadModel\n"
     "and Reload are for root, for who is an Operator in moed.conf(5), and for whom polkit allows\n"
     "org.moed.load, org.moed.unload or org.moed.manage:\n\n"
     "  busctl introspect org.moed.Moed1 /org/moed/Moed1\n"
     "  busctl call org.moed.Moed1 /org/moed/Moed1 org.moed.Manager1 LoadModel s NAME\n\n"
     "Requests are served without a bus as well; moectl status says if there should be one.\n\n"
     "Before the machine sleeps it waits until what is kept of talks is on the disk; when it is "
     "awake\n"
     "again, weights that are kept in memory are compared with their checksums.\n",
     NULL, 0},
    {"Examples",
     "Look at a model file, count what serving it would take, and serve it:\n\n"
     "  moed --check DeepSeek-V2-Lite.Q4_K_M.gguf\n"
     "  moed --plan DeepSeek-V2-Lite.Q4_K_M.gguf\n"
     "  moed --model DeepSeek-V2-Lite.Q4_K_M.gguf\n\n"
     "As a service that starts with its first client:\n\n"
     "  systemctl enable --now moed.socket\n"
     "  adduser \"$USER\" moed\n",
     NULL, 0},
    {"See also", "moectl(1), moed.conf(5), libmoed(3)", NULL, 0},
};

/* As they are written in config.def's words. */
static const struct paper_kind kinds[] = {
    {"LEVEL", "error warning info debug", NULL},
    {"KIND", "cpu ref", NULL},
    {"ISA", "c avx2 avx512 amx", NULL},
    {"WHICH", "auto performance all", NULL},
    {"FORMAT", "float int8", NULL},
    {"BUS", "auto system no", NULL},
};

int help_print(const char *form)
{
    struct paper_option options[MOST_OPTIONS];
    struct paper paper = {
        .name = "moed",
        .section = "8",
        .book = "System administration",
        .summary = SUMMARY,
        .usage = "[OPTION]...",
        .text =
            "moed loads models of the DeepSeek family, GGUF files or checkpoints as published, "
            "and\n"
            "lets every program of the machine talk to them through one Unix socket, for instance\n"
            "through moectl(1). It opens no network port. Usually systemd starts it when the "
            "first\n"
            "client connects.\n\n"
            "Without a model named, in the configuration or here, it serves the small one that "
            "comes\nalong; those in the folders of models are loaded when somebody asks.\n",
        .options = options,
        .n_options = fill_options(options),
        .kinds = kinds,
        .n_kinds = sizeof kinds / sizeof *kinds,
        .parts = parts,
        .n_parts = sizeof parts / sizeof *parts,
    };
    if (form)
        return paper_print(&paper, form, stdout);
    print_text(options, paper.n_options);
    return 0;
}
