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

#include "config.h"
#include "help.h"
#include "paper.h"

enum {
    OPTION_CONFIG = 256,
    OPTION_CHECK,
    OPTION_PLAN,
    OPTION_VAULT_SOCKET,
    OPTION_JSON,
    OPTION_SHOW_CONFIG,
    OPTION_CHECK_CONFIG,
    OPTION_GET_CONFIG,
    OPTION_SET_CONFIG,
    OPTION_RESERVE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_KEYS
};

const struct options_row options_own[] = {
    {OPTION_CONFIG, "config", "FILE", "read this file, and those in FILE.d, instead of " MOED_CONF},
    {OPTION_CHECK, "check", "FILE",
     "check a model file completely, without loading it; print what it is, or what is wrong"},
    {OPTION_VAULT_SOCKET, "vault-socket", "PATH",
     "hold weights in memory for a daemon that is started with --vault PATH, while it restarts"},
    {OPTION_PLAN, "plan", "FILE",
     "print what memory serving a model file takes and whether it is there; without loading it"},
    {OPTION_SHOW_CONFIG, "show-config", NULL,
     "print the configuration, and where each value stands"},
    {OPTION_CHECK_CONFIG, "check-config", "[FILE]",
     "look at the configuration, or at one file, and do nothing else"},
    {OPTION_GET_CONFIG, "get-config", "KEY", "print the value of a key"},
    {OPTION_SET_CONFIG, "set-config", "KEY=VALUE",
     "write a key into a file of its own beside the configuration"},
    {OPTION_RESERVE, "reserve-huge-pages", NULL,
     "as root, before moed starts: set aside what HugePages= of the configuration says"},
    {OPTION_JSON, "json", NULL, "with --plan, --show-config, --get-config: print JSON"},
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

int options_read(int argc, char **argv, struct task *task)
{
    *task = (struct task){.argc = argc, .argv = argv};
    struct option options[N_OWN + CONFIG_N_KEYS + 1];
    fill_options(options);
    struct err err = {0};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == OPTION_CONFIG)
            task->config = optarg;
        else if (c == OPTION_CHECK)
            task->check = optarg;
        else if (c == OPTION_VAULT_SOCKET)
            task->vault_socket = optarg;
        else if (c == OPTION_PLAN)
            task->plan = optarg;
        else if (c == OPTION_JSON)
            task->json = true;
        else if (c == OPTION_RESERVE)
            task->reserve = true;
        else if (c == OPTION_SHOW_CONFIG)
            task->show_config = true;
        else if (c == OPTION_GET_CONFIG)
            task->get = optarg;
        else if (c == OPTION_SET_CONFIG)
            task->set = optarg;
        else if (c == OPTION_CHECK_CONFIG) {
            task->check_config = true;
            task->checked = optarg;
        } else if (c == OPTION_HELP || c == OPTION_VERSION) {
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
    if (task->check_config && !task->checked && optind < argc)
        task->checked = argv[optind++];
    if (optind < argc) {
        err_set(&err, -EINVAL, "'%s' is not an option; try 'moed --help'", argv[optind]);
        return complain(&err, OPTIONS_USAGE);
    }
    return OPTIONS_GO_ON;
}

/* Those that set keys. */
int options_apply(const struct task *task, struct config *config, struct err *err)
{
    struct option options[N_OWN + CONFIG_N_KEYS + 1];
    fill_options(options);
    int c, r = 0;
    optind = 0; /* once more from the start */
    while (r == 0 && (c = getopt_long(task->argc, task->argv, "", options, NULL)) >= 0) {
        if (c < OPTION_KEYS)
            continue;
        const struct config_key *key = &config_keys[c - OPTION_KEYS];
        char where[64];
        snprintf(where, sizeof where, "--%s", key->option);
        r = config_set(config, key, optarg, CONFIG_OPTION, where, err);
    }
    return r;
}
