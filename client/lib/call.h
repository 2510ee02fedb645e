/* SPDX-License-Identifier: MIT
 *
 * One call: what has been received for it, how far a generation has come, and its end.
 *
 * Knows nothing of sockets and frames; session.c feeds it messages and conn.c hands them on. Owned
 * by its handle; while it is open the session's list points at it too. A *ghost* has no handle:
 * the library waits for its answer alone (a Cancel under way; a generation that was cancelled
 * before its id was known) and frees it.
 */
#pragma once

#include "lib/error.h"
#include "lib/view.h"
#include "moed/moed.h"
#include "own.h"

enum {
    CALL_SOFT_BYTES = 1 << 20,  /* unread messages: beyond, the socket may be left unread */
    CALL_HARD_BYTES = 16 << 20, /* beyond, the stream is given up */
};

struct message; /* one that waits to be read */
struct told;    /* of one answer, and the hash of its text, as its last event must state it */

struct moed_call {
    struct moed_call *next; /* in the session's list, while open */
    struct moed *moed;      /* NULL: the connection is closed */
    uint32_t stream;
    bool is_stream;     /* answers with any number of messages */
    bool is_generation; /* of struct moed_event, which are checked */
    bool is_ghost;
    const ProtobufCMessageDescriptor *answer; /* NULL: raw bytes */
    uint64_t deadline;                        /* µs, UINT64_MAX: none */

    bool done;
    struct moed_error error; /* code 0: ended well */
    moed_callback callback;
    void *arg;

    struct message *first, *last, *current;
    size_t queued_bytes;
    struct view view; /* of current */

    /* generations */
    uint64_t next_seq;
    bool has_id;
    uint8_t id[16];
    int n_answers, n_finished;
    struct told *told; /* [n_answers], from the first event on */
};

struct moed_call *call_new(void); /* NULL: no memory */
void call_free(struct moed_call *call);
OWN_DEFINE(moed_call, call_free);

/**
 * Take a message: decode, check its place in a generation, and queue it.
 *
 *   fails   -EBADMSG it is no such message, or one before it is missing; the words are in *error,
 *           status INTERNAL or DATA_LOSS. -ENOMEM
 */
int call_take(struct moed_call *call, const uint8_t *bytes, size_t n, struct moed_error *error);
/* Makes the next queued message the current one; 0: there is none. -ENOMEM: it is lost. */
int call_show_next(struct moed_call *call);
/* Whether a generation has told the end of all its answers. */
bool call_is_finished(const struct moed_call *call);
/* Whether a stream that ends now has said all it must; fails as call_take. */
int call_check_end(const struct moed_call *call, struct moed_error *error);
