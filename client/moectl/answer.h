/* SPDX-License-Identifier: MIT
 *
 * One generation from start to end: streaming to the screen or collecting, and Ctrl-C.
 */
#pragma once

#include <jansson.h>

#include "moectl/bar.h"
#include "moectl/option.h"

struct text { /* grows; zeroed is empty */
    char *data;
    size_t n, room;
};

struct call { /* of a tool */
    char *id, *name;
    struct text arguments;
};

struct told { /* one of the answers */
    struct text text, thinking;
    json_t *ids;    /* array of numbers, with keep_ids or keep_tokens */
    json_t *tokens; /* array of objects, with keep_tokens */
    uint64_t text_hash;
    json_t *receipt;    /* NULL: the daemon told none */
    struct call *calls; /* of tools */
    size_t n_calls;
    enum moed_finish finish;
    enum moed_thinking_cut thinking_cut;
    float mean_logprob; /* NAN: the daemon told none */
    char reason[512];   /* finish is error: why */
};

struct answer {       /* zeroed but for the options in front */
    bool to_screen;   /* text to stdout as it comes, thinking to stderr; several when all ended */
    bool keep_tokens; /* into `tokens` of the parts */
    bool keep_ids;    /* into `ids` */
    const struct options *o;

    struct told *parts; /* [n_parts] as many as were asked for */
    int n_parts;
    char model[256];
    json_t *prompt;            /* array of numbers, with keep_ids or keep_tokens */
    json_t *prompt_logprobs;   /* array of objects, with keep_tokens */
    uint64_t session_revision; /* 0: in no session */
    char unkept[512];          /* why it is not on the disk as it is; "": it is */
    bool is_interrupted, has_usage, has_estimate;
    struct moed_estimate estimate;
    struct moed_usage usage;
    double first_token_seconds; /* from the request to the first token, as seen here */
    int result;                 /* of the call */
    struct moed_error error;

    /* while it streams */
    struct bar bar; /* while the prompt is read */
    bool was_thinking, ends_line, on_thinking_line, is_broken;
    uint64_t start_us;
};

/**
 * Generate until the end or Ctrl-C, which cancels in the daemon.
 *
 *   returns an exit code: 0, EXIT_INTERRUPTED, or that of a failure that has been reported
 */
int answer_run(struct moed *moed, const struct moed_request *request, struct answer *a);
void answer_fini(struct answer *a);
/* The line of figures on stderr, unless --quiet. */
void answer_print_figures(const struct answer *a);
/* Tokens a second; 0: there were too few. */
double answer_prefill_rate(const struct moed_usage *usage);
double answer_decode_rate(const struct moed_usage *usage);
/* {"model", "text", "thinking", "calls", "finish_reason", "thinking_cut", "usage", "receipt"};
 * calls only if there are any. Of several answers what is each one's own is in an array "answers";
 * in a session there is "session": {"name", "revision", "unkept"}.
 */
json_t *answer_json(const struct answer *a);
/* The same of raw text, with "prompt_tokens", "prompt_logprobs" if asked for, and "tokens". */
json_t *answer_json_raw(const struct answer *a);
