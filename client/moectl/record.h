/* SPDX-License-Identifier: MIT
 *
 * Answers in a file, a line of JSON each, with all that is needed to have them computed again:
 *
 *     {"request": …, "receipt": …, "answer": …}
 *
 * The request is GenerateRequest by its field names, the receipt that of the answer.
 */
#pragma once

#include <stdio.h>

#include "moectl/answer.h"
#include "moectl/held.h"

struct record {
    const struct options *o;
    FILE *file; /* NULL: nothing is kept */
    struct held held;
};

/* Opens the file of --save, if there is one. An exit code; a failure has been reported. */
int record_open(const struct options *o, struct record *ret);
/* Says whether all could be written. */
int record_close(struct record *record);
/* Before the request is sent: the answer must tell more if it is kept, and what its session holds
 * is part of the request. An exit code; a failure has been reported. */
int record_prepare(struct record *record, struct moed *moed, struct moed_request *request,
                   struct answer *a);
/* Keeps the answers of a request that has ended well, each as if it had been asked for alone. */
int record_write(struct record *record, const struct moed_request *request, const struct answer *a);

/* What is compared of the i-th answer: {"prompt_tokens", "tokens", "thinking", "text", "calls",
 * "finish_reason", "text_hash"}. */
json_t *record_answer(const struct answer *a, int i);
