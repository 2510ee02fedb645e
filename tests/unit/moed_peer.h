/* SPDX-License-Identifier: MIT
 *
 * The daemon's side for tests of libmoed: frames put together by hand, and what the library sent
 * taken apart again. No socket is used but to have a connection at all.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/conn.h"
#include "moed/v1/engine.pb-c.h"
#include "ttrpc.h"
#include "ttrpc.pb-c.h"

struct peer {
    struct moed *moed;
    int fd;               /* the far end, never read */
    struct ttrpc_buf in;  /* frames for the library */
    struct ttrpc_buf out; /* all it has sent */
};

static inline void peer_open(struct peer *p)
{
    int fds[2];
    *p = (struct peer){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(moed_adopt_fd(fds[0], &p->moed, NULL), 0);
    p->fd = fds[1];
}

static inline void peer_close(struct peer *p)
{
    moed_close(p->moed);
    close(p->fd);
    ttrpc_buf_fini(&p->in);
    ttrpc_buf_fini(&p->out);
}

static inline void put_hex(struct peer *p, const char *hex)
{
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        uint8_t b = (uint8_t)byte;
        assert_int_equal(ttrpc_buf_put(&p->in, &b, 1), 0);
        hex++;
    }
}

static inline void put_response(struct peer *p, uint32_t stream, int code, const char *words)
{
    assert_int_equal(ttrpc_put_response(&p->in, stream, code, words, NULL), 0);
}

static inline void put_data(struct peer *p, uint32_t stream, unsigned flags, const void *data,
                            size_t n)
{
    assert_int_equal(ttrpc_put(&p->in, stream, TTRPC_DATA, flags, data, n), 0);
}

static inline void put_end(struct peer *p, uint32_t stream)
{
    put_data(p, stream, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, NULL, 0);
}

/* An event of a generation; the first one has the id, every byte of it `stream`. */
static inline void put_event(struct peer *p, uint32_t stream, uint64_t seq, const char *text,
                             int finish, unsigned flags)
{
    Moed__V1__GenerateEvent event = MOED__V1__GENERATE_EVENT__INIT;
    uint8_t id[16];
    memset(id, (int)stream, sizeof id);
    event.has_seq = true;
    event.seq = seq;
    event.text = (char *)text;
    event.has_generation_id = seq == 0;
    event.generation_id = (ProtobufCBinaryData){.len = sizeof id, .data = id};
    event.has_finish = finish != 0;
    event.finish = (Moed__V1__Finish)finish;
    assert_int_equal(ttrpc_put_message(&p->in, stream, TTRPC_DATA, flags, &event.base), 0);
}

/* Hands over what was put, at once. */
static inline int peer_feed(struct peer *p)
{
    int r = session_feed(&p->moed->session, p->in.data + p->in.start, p->in.n);
    ttrpc_buf_drop(&p->in, p->in.n);
    return r;
}

/* Takes at most n bytes of what the library wants to send. */
static inline size_t peer_take(struct peer *p, size_t n)
{
    size_t all = 0;
    struct iovec iov[4];
    while (n > 0) {
        int count = session_output(&p->moed->session, iov, 4);
        if (count == 0)
            break;
        size_t now = iov[0].iov_len < n ? iov[0].iov_len : n;
        assert_int_equal(ttrpc_buf_put(&p->out, iov[0].iov_base, now), 0);
        session_sent(&p->moed->session, now);
        all += now;
        n -= now;
    }
    return all;
}

/* The next whole frame of what was taken; false: there is none. Its data lives until the next call
 * that changes p->out. */
static inline bool peer_frame(struct peer *p, struct ttrpc_frame *ret)
{
    struct ttrpc_decoder decoder = {0};
    const uint8_t *bytes = p->out.data ? p->out.data + p->out.start : NULL;
    size_t n = p->out.n;
    if (n < TTRPC_HEADER_BYTES || ttrpc_decode(&decoder, &bytes, &n, ret) != 1) {
        ttrpc_decoder_fini(&decoder);
        return false;
    }
    size_t used = p->out.n - n;
    p->out.start += used; /* the bytes stay, so that ret->data does */
    p->out.n = n;
    ttrpc_decoder_fini(&decoder);
    return true;
}

/* The next frame must be a REQUEST of this method; its payload is freed by the caller. */
static inline Ttrpc__Request *peer_request(struct peer *p, const char *method, uint32_t *stream,
                                           unsigned *flags)
{
    struct ttrpc_frame frame;
    assert_true(peer_frame(p, &frame));
    assert_int_equal(frame.type, TTRPC_REQUEST);
    Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame.n, frame.data);
    assert_non_null(request);
    assert_string_equal(request->service, "moed.v1.Engine");
    assert_string_equal(request->method, method);
    if (stream)
        *stream = frame.stream;
    if (flags)
        *flags = frame.flags;
    return request;
}

/* Everything that is queued is taken and forgotten. */
static inline void peer_swallow(struct peer *p)
{
    peer_take(p, SIZE_MAX);
    ttrpc_buf_drop(&p->out, p->out.n);
}

/* The next frame is a Cancel of the generation that put_event named on this stream. */
static inline void expect_cancel(struct peer *p, uint32_t stream)
{
    uint8_t id[16];
    memset(id, (int)stream, sizeof id);
    peer_take(p, SIZE_MAX);
    Ttrpc__Request *request = peer_request(p, "Cancel", NULL, NULL);
    Moed__V1__CancelRequest *cancel =
        moed__v1__cancel_request__unpack(NULL, request->payload.len, request->payload.data);
    assert_non_null(cancel);
    assert_int_equal(cancel->generation_id.len, 16);
    assert_memory_equal(cancel->generation_id.data, id, 16);
    moed__v1__cancel_request__free_unpacked(cancel, NULL);
    ttrpc__request__free_unpacked(request, NULL);
}

static inline void expect_silence(struct peer *p)
{
    struct ttrpc_frame frame;
    peer_take(p, SIZE_MAX);
    assert_false(peer_frame(p, &frame));
}

/* A generation with a short prompt, its request already sent. */
static inline struct moed_call *start_generation(struct peer *p)
{
    struct moed_request *request = moed_request_new();
    struct moed_call *call = NULL;
    assert_int_equal(moed_request_add_text(request, "once", 4), 0);
    assert_int_equal(moed_generate(p->moed, request, &call, NULL), 0);
    moed_request_free(request);
    peer_swallow(p);
    return call;
}
