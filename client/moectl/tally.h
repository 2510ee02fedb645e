/* SPDX-License-Identifier: MIT
 *
 * What many requests measured: percentiles, sums, and failures by kind.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "moed/moed.h"

enum { TALLY_MOST = 1000000, TALLY_KINDS = 24 };

struct sample { /* one request; times in seconds */
    int client;
    int prompt, cached, answer; /* tokens */
    double start;               /* when it was due, from the beginning of all */
    double late;                /* until a client was free to send it */
    double queue;               /* in the daemon, before its first step */
    double first;               /* from when it was due to the first token */
    double token;               /* from one token to the next, on average; NAN for a single one */
    double gap;                 /* the longest time without a token; NAN for a single one */
    double whole;               /* from when it was due to the end */
};

struct failure {
    int status; /* enum moed_status */
    uint64_t count;
    char message[sizeof((struct moed_error *)0)->message]; /* of the first */
};

struct tally { /* zeroed is empty */
    struct sample *samples;
    size_t n, room;
    uint64_t n_failed, n_cancelled;
    struct failure failures[TALLY_KINDS];
    int n_failures;
};

void tally_fini(struct tally *tally);
/* False: TALLY_MOST are in it. */
bool tally_add(struct tally *tally, const struct sample *sample);
void tally_fail(struct tally *tally, const struct moed_error *error);

/* A table on stdout; `seconds` is how long it all took. */
void tally_print(const struct tally *tally, double seconds);
/* Its figures into the object. */
void tally_json(const struct tally *tally, double seconds, json_t *object);

/* A file with a line a request; `status` is "" for one that was answered. */
void tally_csv_head(FILE *to);
void tally_csv_line(FILE *to, const struct sample *sample, const char *status);
