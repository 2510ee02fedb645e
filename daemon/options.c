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
#include "help.h"
#include "paper.h"

enum {
    OPTION_CONFIG = 256,
    OPTION_CHECK,
    OPTION_PLAN,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_KEYS
};

const struct options_row options_own[] = {
    {OPTION_CONFIG, "config", "FILE", "read this file instead of " MOED_CONF},
    {OPTION_CHECK, "check", "FILE",
     "check a model file completely, without loading it; print what it is, or what is wrong"},
    {OPTION_PLAN, "plan", "FILE",
     "print what memory serving a model file takes and whether it is there; without loading it"},
    {OPTION_JSON, "json", NULL, "with --plan: print one JSON object"},
    {OPTION_HELP, "help", "[FORM]", "print this; or =" PAPER_FORMS ": for these"},
    {OPTION_VERSION, "version", NULL, "print the version"},
    {0},
};
enum { N_OWN = sizeof options_own / sizeof *options_own - 1 };

static void fill_options(struct option *dst)
{
    int n = 0;
    for (int i = 0; i < N_OWN; i++) {
        const char *argument = options_own[i].argument;
        int has = !argument          ? no_argument
                  : *argument == '[' ? optional_argument
                                     : required_argument;
        dst[n++] = (struct option){options_own[i].name, has, NULL, options_own[i].value};
    }
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
            if (c == OPTION_HELP && help_print(optarg) < 0) {
                err_set(&err, -EINVAL, "--help: found '%s', expected " PAPER_FORMS, optarg);
                return complain(&err, OPTIONS_USAGE);
            }
            if (c == OPTION_VERSION)
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
