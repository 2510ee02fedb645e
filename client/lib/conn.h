/* SPDX-License-Identifier: MIT
 *
 * A connection: the session and the socket under it. One thread at a time.
 */
#pragma once

#include "lib/session.h"
#include "moed/moed.h"

struct moed {
    struct session session;
    int fd;
    char *path;          /* "": adopted */
    uint32_t timeout_ms; /* of calls with one answer; 0: none */
    bool cannot_send;    /* the peer reads no more; it may still have something to say */
    struct moed *side;   /* carries a Cancel that this connection could not take; NULL mostly */
    uint8_t *in;         /* what one recv fills */
};

OWN_DEFINE(moed, moed_close);

/* Refuses to start calls on a dead connection; gives the stream id of the next one. */
int conn_check(struct moed *moed, uint32_t *stream, struct moed_error *error);
/* Lists the call, adopting both; `timeout_ms` 0: no deadline. */
void conn_begin(struct moed *moed, struct moed_call *call, struct out_list *frames,
                uint64_t timeout_ms);
