/* SPDX-License-Identifier: MIT
 *
 * The client's side of the protocol as a state machine: bytes in, calls answered, bytes out.
 *
 * No socket and no clock, so a test feeds it frames split at any byte. Frames of unknown streams
 * are counted and ignored; nothing is sent on a stream after its last frame has arrived. Callbacks
 * run inside session_feed, session_fail and session_expire, one at a time; they may start, cancel
 * and free calls.
 */
#pragma once

#include <sys/uio.h>

#include "lib/call.h"
#include "ttrpc.h"

#define SESSION_SERVICE "moed.v1.Engine"

struct out { /* one frame to be sent */
    struct out *next;
    uint32_t stream;
    bool is_first; /* the REQUEST: while it is unsent, the daemon knows nothing of the call */
    struct ttrpc_buf buf;
};
struct out_list {
    struct out *first, *last;
};
void out_list_fini(struct out_list *list);

struct session { /* zeroed is ready */
    struct ttrpc_decoder decoder;
    struct out_list out;
    size_t out_bytes;        /* not yet sent */
    size_t first_sent;       /* of out.first: a frame that was begun must be ended */
    struct moed_call *calls; /* open ones */
    uint32_t n_calls;
    uint32_t last_stream; /* 0: none yet */
    uint64_t n_strays;    /* frames that belonged to no open call */
    bool in_callback;
    bool dead;
    struct moed_error why; /* dead */
};

void session_fini(struct session *session); /* open calls end as -ECANCELED, silently */

/* ---- starting calls: build the frames in a list of your own, then begin. */
/* The stream id the next call will have; 0: all are used up. */
uint32_t session_next_stream(const struct session *session);
/* Fails as ttrpc_put_request; `payload` as bytes. */
int session_put_request(struct out_list *list, uint32_t stream, unsigned flags, const char *method,
                        const void *payload, size_t n, int64_t timeout_nano);
int session_put_data(struct out_list *list, uint32_t stream, unsigned flags,
                     const ProtobufCMessage *message); /* NULL: the end, 0x05 */
/* Adopts the frames and lists the call under the next stream id. */
void session_begin(struct session *session, struct moed_call *call, struct out_list *frames);

/* ---- bytes */
/* -EPROTO, -ENOMEM: the session is dead, all calls have failed. */
int session_feed(struct session *session, const uint8_t *bytes, size_t n);
/* The connection has ended: open calls fail with UNAVAILABLE. */
void session_fail(struct session *session, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Up to `max` runs of bytes to send; how many there are. */
int session_output(const struct session *session, struct iovec *ret, int max);
void session_sent(struct session *session, size_t n);
/* Whether reading should wait: the only open call has too much unread. */
bool session_is_full(const struct session *session);

/* ---- time, in µs of the caller's clock */
uint64_t session_deadline(const struct session *session); /* UINT64_MAX: none */
void session_expire(struct session *session, uint64_t now);

/**
 * Forget a call: it is done, -ECANCELED, and nothing more is called back.
 *
 *   returns 1  the daemon still generates for it: a Cancel with call->id must be sent
 *           0  there is nothing to cancel, or it will be as soon as the id is known
 */
int session_cancel(struct session *session, struct moed_call *call);
/* Starts a Cancel whose answer nobody waits for. -ENOMEM. */
int session_send_cancel(struct session *session, const uint8_t id[16]);
