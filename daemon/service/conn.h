/* SPDX-License-Identifier: MIT
 *
 * One connection: its socket, its frames in and out, its calls.
 *
 * Loop thread. Input is decoded as it comes; output gathers in one buffer and leaves once a loop
 * turn, when conn_settle() runs: that is the only place that writes, computes the poll mask and
 * sets the timer. Everything else just queues and touches. A connection that ends is flagged and
 * freed by its last handle, so callers up the stack may still hold it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "service/access.h"
#include "service/hub.h"
#include "ttrpc.h"

struct call;
struct peer;

enum { CONN_SCOLDED = 8 };

struct conn {
    struct hub *hub;
    struct conn *prev, *next;  /* hub->conns */
    struct conn *next_touched; /* hub->touched */
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
    int n_handles; /* still to be closed */
    struct peer *peer;
    uint32_t uid;                  /* of connect time, from the kernel */
    struct access_verdict verdict; /* likewise */

    struct ttrpc_decoder decoder;
    struct ttrpc_buf held; /* read but not decoded: too many calls were open */
    struct ttrpc_buf out;
    uint64_t queued; /* bytes ever put into out; those before queued - out.n are written */

    struct call *calls; /* open ones */
    int n_calls;
    uint32_t highest;               /* stream id seen */
    uint32_t scolded[CONN_SCOLDED]; /* ids that have been told they are not open */
    uint8_t n_scolded;

    uint64_t connected_ms;
    uint64_t frame_ms;    /* when the frame that is arriving began; 0: none is */
    uint64_t progress_ms; /* its last byte */
    uint64_t write_ms;    /* when the peer last took something, or output began to wait */
    uint64_t due_ms;      /* what the timer is set to; 0: nothing */
    uint64_t charged;     /* bytes counted in hub->held_bytes */
    uint64_t call_bytes;  /* of requests held by its calls */
    int mask;             /* what is polled for */
    const char *doom;     /* why settling will close it; NULL: it lives */
    bool is_touched, is_paused, is_closing, had_frame;
};

/* Takes the descriptor, also on failure. */
int conn_new(struct hub *hub, int fd, uint32_t uid, const struct access_verdict *verdict);
/* Cancels its calls and closes it; what is queued gets one last try. Not from within a call. */
void conn_close(struct conn *conn);
/* Our doing: counted, and a line in the log. Takes effect when it settles; the first words stay. */
void conn_doom(struct conn *conn, enum hub_cause cause, const char *why);
/* It has something to settle in this loop turn. */
void conn_touch(struct conn *conn);
void conn_settle(struct conn *conn);
/* Calls the `changed` hooks of its calls. */
void conn_changed(struct conn *conn);

/* ---- for calls: queue frames. A failure dooms the connection and nothing more: it is closed when
 * it settles, so a call never goes away under the one who sends. */
/* A RESPONSE without a call: protocol errors. */
void conn_answer(struct conn *conn, uint32_t stream, int code, const char *words,
                 uint64_t retry_ms);
/* After frames were appended to conn->out. `error` is what appending said. */
void conn_queued(struct conn *conn, size_t before, int error);
/* Bytes of the output up to a position that are not written yet. */
uint64_t conn_unwritten(const struct conn *conn, uint64_t position);
