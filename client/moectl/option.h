/* SPDX-License-Identifier: MIT
 *
 * The command line: one table of verbs and one of options drive both parsing and --help.
 *
 * Global options are taken before and after the verb, a verb's own after it, in any order with its
 * arguments; `--name value` and `--name=value` are the same, `--` ends options.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "moed/moed.h"
#include "moectl/dice.h"

/* Exit codes, documented in --help: scripts rely on them. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_DAEMON = 3,
    EXIT_NOT_FOUND = 4,
    EXIT_INTERRUPTED = 130,
};

enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

struct setting { /* a field of a request, as given */
    enum moed_field field;
    bool is_real;
    double real;
    int64_t integer;
};

enum { MAX_SETTINGS = 64, MAX_TEXTS = 64, MAX_BIASES = 256, MAX_ANSWERS = 1024 };

struct texts { /* of an option that may be repeated */
    const char *at[MAX_TEXTS];
    int n;
};

struct options {
    const struct verb *verb;
    /* global */
    const char *socket;
    enum color_mode color;
    bool json, quiet, help, version;
    const char *help_form; /* NULL: text */
    /* of verbs; NULL, false or 0 where not given */
    const char *model, *system, *raw, *suffix, *tools, *save, *session, *pooling;
    const char *config, *since;
    int32_t *ids; /* heap */
    size_t n_ids;
    bool has_ids, think, add_bos, no_special, hide_special, no_wait, has_top, prompt_logprobs,
        experts, anyway, normalize, follow, explain;
    struct setting settings[MAX_SETTINGS];
    int n_settings;
    int n_answers;   /* 0: not given, that is one */
    bool is_several; /* --n or --best-of */
    struct texts stops, banned, breakers;
    struct {
        int32_t id;
        float bias;
    } biases[MAX_BIASES];
    int n_biases;
    /* of bench; what is not given has its default */
    int clients, requests, dice_seed;
    double rate, duration, shared;
    struct range prompt, answer; /* tokens */
    const char *csv;
    char **args; /* what is no option; heap, the strings are argv's */
    int n_args;
};

struct verb {
    const char *name;
    const char *args;       /* "[WORD…]", "" */
    const char *summary;    /* one line of the list */
    const char *notes;      /* more, after the usage; lines of at most 80 columns */
    unsigned groups;        /* of options it takes */
    int min_args, max_args; /* -1: any number */
    int (*run)(const struct options *o);
};
extern const struct verb verb_table[]; /* ended by an empty name */

/* Fills *ret; a usage error has been reported and is EXIT_USAGE, else 0. */
int options_parse(int argc, char **argv, struct options *ret);
void options_fini(struct options *o);

struct option_words { /* a row of the table */
    const char *name;
    char letter;     /* 0: none */
    const char *arg; /* NULL: takes none */
    unsigned groups;
    const char *help;
};
/* False: there are no more. */
bool option_words(int i, struct option_words *ret);

/* "1,2 3" and "[1, 2, 3]" alike, appended to *ids (heap). -EINVAL, -ENOMEM */
int options_ids(const char *text, int32_t **ids, size_t *n);
/* Puts the given settings, stops, biases and model into a request. EXIT_USAGE has been reported. */
int options_apply(const struct options *o, struct moed_request *request);
/* "moectl: …" on stderr, and EXIT_USAGE. */
int usage_error(const struct options *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
