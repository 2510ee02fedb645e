/* SPDX-License-Identifier: MIT
 *
 * Two tables: the options below, and those rows of config.def that have one.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "config.h"

enum {
    OPTION_CONFIG = 256,
    OPTION_CHECK,
    OPTION_PLAN,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_KEYS
};

static const struct {
    int value;
    const char *name, *argument, *words;
} own_options[] = {
    {OPTION_CONFIG, "config", "FILE", "read this file instead of " MOED_CONF},
    {OPTION_CHECK, "check", "FILE",
     "check a model file completely, without loading it; print what it is, or what is wrong"},
    {OPTION_PLAN, "plan", "FILE",
     "print what memory serving a model file takes and whether it is there; without loading it"},
    {OPTION_JSON, "json", NULL, "with --plan: print one JSON object"},
    {OPTION_HELP, "help", NULL, "print this"},
    {OPTION_VERSION, "version", NULL, "print the version"},
};
enum { N_OWN = sizeof own_options / sizeof *own_options };

/* Two columns, 80 wide; the words of the second are filled line by line. */
static void print_option(const char *name, const char *argument, const char *words)
{
    enum { COLUMN = 23, WIDTH = 79 };
    int at = printf("  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
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

static void print_help(void)
{
    printf("Usage: moed [OPTION]...\n"
           "Keep DeepSeek models in memory and answer for them over a Unix socket.\n\n");
    for (int i = 0; i < N_OWN; i++)
        print_option(own_options[i].name, own_options[i].argument, own_options[i].words);
    printf("\nThese overrule the configuration:\n");
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        char words[512];
        const char *standard = config_keys[i].standard;
        if (!config_keys[i].option)
            continue;
        snprintf(words, sizeof words, *standard ? "%s (%s)" : "%s", config_keys[i].words, standard);
        print_option(config_keys[i].option, config_keys[i].argument, words);
    }
    printf("\nSIGTERM lets running answers finish, a second one ends at once. Exit status:\n"
           "0 at the end asked for, 1 for a failure, 2 for a bad command line, 78 for a\n"
           "bad configuration.\n");
}

static void fill_options(struct option *dst)
{
    int n = 0;
    for (int i = 0; i < N_OWN; i++)
        dst[n++] = (struct option){own_options[i].name,
                                   own_options[i].argument ? required_argument : no_argument, NULL,
                                   own_options[i].value};
    for (int i = 0; i < CONFIG_N_KEYS; i++)
        if (config_keys[i].option)
            dst[n++] =
                (struct option){config_keys[i].option, required_argument, NULL, OPTION_KEYS + i};
    dst[n] = (struct option){0};
}

static int complain(const struct err *err, int status)
{
    fprintf(stderr, "moed: %s\n", err->text);
    return status;
}

/* The options that set keys wait until the file is read: they come after it. */
int options_read(int argc, char **argv, struct config *config, struct task *task)
{
    struct option options[N_OWN + CONFIG_N_KEYS + 1];
    fill_options(options);
    const char *path = NULL;
    struct err err = {0};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == OPTION_CONFIG)
            path = optarg;
        else if (c == OPTION_CHECK)
            task->check = optarg;
        else if (c == OPTION_PLAN)
            task->plan = optarg;
        else if (c == OPTION_JSON)
            task->json = true;
        else if (c == OPTION_HELP || c == OPTION_VERSION) {
            if (c == OPTION_HELP)
                print_help();
            else
                printf("moed %s\n", MOED_VERSION);
            return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        } else if (c == '?') {
            fprintf(stderr, "Try 'moed --help'.\n");
            return OPTIONS_USAGE;
        }
    }
    if (optind < argc) {
        err_set(&err, -EINVAL, "'%s' is not an option; try 'moed --help'", argv[optind]);
        return complain(&err, OPTIONS_USAGE);
    }
    if (task->check)
        return OPTIONS_GO_ON; /* what a file says of itself does not hang on our configuration */
    if (path || access(MOED_CONF, F_OK) == 0)
        if (config_read(config, path ? path : MOED_CONF, &err) < 0)
            return complain(&err, EX_CONFIG);

    optind = 0; /* once more from the start */
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c < OPTION_KEYS)
            continue;
        const struct config_key *key = &config_keys[c - OPTION_KEYS];
        char where[64];
        snprintf(where, sizeof where, "--%s", key->option);
        if (config_set(config, key, optarg, CONFIG_OPTION, where, &err) < 0)
            return complain(&err, OPTIONS_USAGE);
    }
    return OPTIONS_GO_ON;
}
