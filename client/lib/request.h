/* SPDX-License-Identifier: MIT
 *
 * A generation's request as it is built up by the setters of moed.h, and the frames it becomes.
 */
#pragma once

#include "lib/session.h"
#include "moed/moed.h"
#include "moed/v1/generate.pb-c.h"

enum prompt_kind { PROMPT_NONE, PROMPT_TEXT, PROMPT_IDS, PROMPT_CHAT };

struct moed_request {                 /* all memory is malloc's, as protobuf-c's own is */
    Moed__V1__GenerateRequest fields; /* but for the prompt and sampling; the strings are ours */
    Moed__V1__Sampling sampling;
    Moed__V1__Chat chat; /* scalars */
    bool has_sampling;
    enum prompt_kind kind;
    char *text, *suffix;
    size_t n_text, text_room, n_suffix, suffix_room;
    int32_t *ids;
    size_t n_ids, ids_room;
    Moed__V1__Message **messages;
    size_t n_messages, messages_room;
    char *tools; /* JSON; NULL: none */
};

enum { REQUEST_MAX_ANSWERS = 1024 }; /* the daemon takes fewer */

/**
 * The frames of a Generate call: one REQUEST where everything fits a part, else a REQUEST and DATA
 * of at most a MiB of prompt each, then the end. Text is cut between characters.
 *
 *   fails   -EMSGSIZE a message that exceeds a frame; -ENOMEM. *ret is then to be dropped.
 */
int request_frames(const struct moed_request *request, uint32_t stream, struct out_list *ret);
struct request_part { /* all of it in one piece, which need not fit a frame */
    Moed__V1__GenerateRequest part;
    Moed__V1__Sampling sampling;
    Moed__V1__Chat chat;
    Moed__V1__Tokens tokens;
};
/* What is in it lives as long as the request; *ret stays where it is. */
void request_borrow(const struct moed_request *request, struct request_part *ret);
/* The bytes of a RenderRequest, on the heap. -ENOMEM */
int request_pack_render(const struct moed_request *request, uint8_t **ret, size_t *n);
/* How many answers are asked for, 1 to REQUEST_MAX_ANSWERS. */
int request_answers(const struct moed_request *request);
/* Milliseconds the whole generation may take, 0: any. */
int64_t request_timeout_ms(const struct moed_request *request);
