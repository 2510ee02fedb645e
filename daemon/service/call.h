/* SPDX-License-Identifier: MIT
 *
 * One call: a stream of a connection and the method that serves it.
 *
 * Loop thread. call_request() and call_message() take the frames of a connection; a method answers
 * with call_reply (unary), call_event and call_finish (streams) or call_fail, and the call is gone
 * after any of them but call_event. What a method keeps hangs on call->data; its hooks hear what
 * happens next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ttrpc.h"

struct call;
struct conn;
struct hub;
struct method;

/* The bytes of one message; the owner frees data. */
struct payload {
    uint8_t *data;
    size_t n;
};
void payload_fini(struct payload *payload);

struct call_hooks {                                        /* each may be NULL */
    void (*part)(struct call *call, struct payload *part); /* PARTS methods; may TAKE part->data */
    void (*closed)(struct call *call);                     /* the client has sent everything */
    void (*pump)(struct call *call);    /* the connection settles: send what waits */
    void (*changed)(struct call *call); /* a model changed its state, or draining began */
    void (*due)(struct call *call);     /* due_ms has passed */
    void (*expired)(struct call *call); /* the deadline has; NULL: fails with DEADLINE_EXCEEDED */
    void (*drained)(struct call *call); /* draining is over; NULL: fails with UNAVAILABLE */
    void (*end)(struct call *call);     /* it goes away: free data */
};

struct call {
    struct conn *conn;
    struct hub *hub;
    struct call *prev, *next; /* conn->calls */
    const struct method *method;
    const struct call_hooks *hooks; /* never NULL */
    void *data;
    uint32_t stream;
    bool started;        /* the method has been called */
    bool half_closed;    /* the client sends no more */
    bool outlives_drain; /* draining does not wait for it */
    uint64_t received_ms;
    uint64_t deadline_ms; /* 0: none */
    uint64_t due_ms;      /* 0: none; the method sets it */
    uint64_t last_end;    /* position in the output after the last frame of this call */
    uint64_t sent;        /* bytes of its frames since nothing of it was waiting */
    uint64_t bytes;       /* charged to the connection by call_charge */
};

/* A REQUEST or DATA frame of the connection. */
void call_request(struct conn *conn, const struct ttrpc_frame *frame);
void call_message(struct conn *conn, const struct ttrpc_frame *frame);

/* Unpack a whole request; NULL: the call has been failed. Free it with
 * protobuf_c_message_free_unpacked(message, NULL). */
void *call_unpack(struct call *call, const ProtobufCMessageDescriptor *type,
                  const struct payload *payload);
void call_reply(struct call *call, const ProtobufCMessage *message);
/* The same with a packed message. */
void call_reply_bytes(struct call *call, const void *bytes, size_t n);
/* A DATA frame: the message, with more of its fields already packed behind it. */
void call_event(struct call *call, const ProtobufCMessage *message, const struct ttrpc_buf *more);
void call_finish(struct call *call); /* the stream is complete */
void call_fail(struct call *call, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* RESOURCE_EXHAUSTED, and when it is worth asking again; 0: nobody knows. */
void call_refuse(struct call *call, uint64_t retry_ns, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Forget it without an answer: the connection is gone. */
void call_drop(struct call *call);

/* Bytes of its frames that are not written; 0: the next event may go. At most an overestimate. */
uint64_t call_unwritten(struct call *call);
/* Says how many bytes the call holds for its client. False: over a limit, and the call is gone. */
bool call_charge(struct call *call, uint64_t bytes);
/* The earliest time at which something is due; 0: never. */
uint64_t call_next_ms(const struct call *call);
/* Looks at deadline and due time. */
void call_tick(struct call *call, uint64_t now_ms);
/* Ends it because the daemon goes away. */
void call_drain(struct call *call);
