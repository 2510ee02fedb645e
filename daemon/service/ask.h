/* SPDX-License-Identifier: MIT
 *
 * A Generate request as it is understood: parts merged, fields checked, prompt rendered to ids.
 *
 * Made on a helper from the bytes of the parts; pure, but for memory and the random seed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "moed/v1/generate.pb-c.h"
#include "service/saying.h"
#include "text/chat.h"
#include "text/token.h"

struct engine_request;
struct model;

struct ask {
    struct engine_request *request; /* for engine_submit; uid is left to the caller */
    struct engine_request **more;   /* [n_more] the same for further answers, with further seeds */
    int n_more;
    int n_told;                     /* the best of all; are they as many, nothing is chosen */
    const struct chat_family *chat; /* NULL: raw text or ids */
    struct chat_options options;    /* as this conversation takes them, for the reply */
    Moed__V1__Receipt *receipt;     /* which the answer must have; NULL: any */
    bool logprobs;
    bool return_prompt;
    int64_t timeout_ms;       /* 0: none */
    int64_t finish_within_ms; /* of receipt; 0: whenever */
    struct ids open;          /* of an answer that goes on: the prompt ends in them */
    bool in_session;
    struct saying saying; /* what that gets */
};

struct ask_part {
    const uint8_t *data;
    size_t n;
    enum {
        ASK_SENT,     /* by the client */
        ASK_SETTINGS, /* a session's, in front of all; may be empty */
        ASK_LINE,     /* then what was said in it, a message or some ids each */
    } from;
};

/**
 * Understand a request.
 *
 *   fails   -EBADMSG a part is not the message; -EINVAL a field, named; -ENOTSUP the model has no
 *           chat family; -ENOMEM
 */
int ask_new(const struct model *model, const struct ask_part *parts, int n_parts, struct ask **ret,
            struct err *err);
void ask_free(struct ask *ask);
OWN_DEFINE(ask, ask_free);

/* The family a chat is rendered by: the one named, else the model's. -EINVAL: no such family;
 * -ENOTSUP: the model has none. */
int ask_family(const struct model *model, const char *name, const struct chat_family **ret,
               struct err *err);
/* Appends the ids of a chat; `role` is the fields.def row that names a bad one. The options become
 * what this conversation makes of them. An answer that goes on from its ids is opened as it was,
 * and they follow. */
int ask_render(const struct model *model, const struct chat_family *family,
               Moed__V1__Message *const *messages, size_t n_messages, struct chat_options *options,
               int role, struct ids *ret, struct err *err);
