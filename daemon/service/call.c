/* SPDX-License-Identifier: MIT
 *
 * From frames to calls and back: which stream, which method, which answer. Loop thread.
 *
 * Streams are picked by the method's shape, never by flags; a method of one message takes it in the
 * REQUEST or, opened for more, in the first DATA. Any odd id that is not open may be opened: some
 * peers send theirs out of order.
 */
#include "service/call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "service/conn.h"
#include "service/method.h"
#include "ttrpc.pb-c.h"

static const struct call_hooks no_hooks;

void payload_fini(struct payload *payload)
{
    free(payload->data);
    *payload = (struct payload){0};
}
#define OWN_PAYLOAD __attribute__((cleanup(payload_fini))) struct payload

static struct call *find(struct conn *conn, uint32_t stream)
{
    struct call *call = conn->calls;
    while (call && call->stream != stream)
        call = call->next;
    return call;
}

/* ---- answers */
void call_drop(struct call *call)
{
    struct conn *conn = call->conn;
    if (call->hooks->end)
        call->hooks->end(call);
    if (call->prev)
        call->prev->next = call->next;
    else
        conn->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    conn->n_calls--;
    if (method_is_work(call->method))
        conn->peer->n_requests--;
    conn->call_bytes -= call->bytes;
    free(call);
    conn_touch(conn);
}

static void queued(struct call *call, size_t before, int error)
{
    conn_queued(call->conn, before, error);
    call->sent = call_unwritten(call) + call->conn->out.n - before;
    call->last_end = call->conn->queued;
}

static void __attribute__((format(printf, 4, 0)))
fail(struct call *call, int code, uint64_t retry_ms, const char *fmt, va_list args)
{
    struct err words = {0};
    char text[sizeof words.text];
    vsnprintf(text, sizeof text, fmt, args);
    err_set(&words, -EINVAL, "%s", text); /* control bytes of the peer stay here */
    hub_count(call->hub, COUNTER_CALLS_FAILED);
    conn_answer(call->conn, call->stream, code, words.text, retry_ms);
    call_drop(call);
}

void call_fail(struct call *call, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(call, code, 0, fmt, args);
    va_end(args);
}

void call_refuse(struct call *call, uint64_t retry_ns, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(call, TTRPC_RESOURCE_EXHAUSTED, (retry_ns + 999999) / 1000000, fmt, args);
    va_end(args);
}

void call_reply(struct call *call, const ProtobufCMessage *message)
{
    struct conn *conn = call->conn;
    size_t before = conn->out.n;
    int r = conn->doom ? 0 : ttrpc_put_response(&conn->out, call->stream, TTRPC_OK, NULL, message);
    if (r == -EMSGSIZE) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "the answer does not fit a frame of %d bytes",
                  TTRPC_MAX_DATA);
        return;
    }
    queued(call, before, r);
    call_drop(call);
}

void call_reply_bytes(struct call *call, const void *bytes, size_t n)
{
    Ttrpc__Response response = TTRPC__RESPONSE__INIT;
    struct conn *conn = call->conn;
    response.has_payload = n > 0;
    response.payload.data = (uint8_t *)bytes;
    response.payload.len = n;
    size_t before = conn->out.n;
    int r = conn->doom
                ? 0
                : ttrpc_put_message(&conn->out, call->stream, TTRPC_RESPONSE, 0, &response.base);
    if (r == -EMSGSIZE) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "an answer of %zu bytes does not fit a frame", n);
        return;
    }
    queued(call, before, r);
    call_drop(call);
}

void call_event(struct call *call, const ProtobufCMessage *message, const struct ttrpc_buf *more)
{
    struct conn *conn = call->conn;
    if (conn->doom)
        return;
    size_t n = protobuf_c_message_get_packed_size(message), n_more = more ? more->n : 0;
    size_t before = conn->out.n;
    OWN_MEM uint8_t *body = malloc(n + n_more + 1);
    int r = -ENOMEM;
    if (body) {
        protobuf_c_message_pack(message, body);
        if (n_more > 0)
            memcpy(body + n, more->data + more->start, n_more);
        r = ttrpc_put(&conn->out, call->stream, TTRPC_DATA, 0, body, n + n_more);
    }
    queued(call, before, r);
}

void call_finish(struct call *call)
{
    struct conn *conn = call->conn;
    size_t before = conn->out.n;
    int r = conn->doom ? 0
                       : ttrpc_put(&conn->out, call->stream, TTRPC_DATA,
                                   TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, NULL, 0);
    queued(call, before, r);
    call_drop(call);
}

/* ---- accounts and clocks */
uint64_t call_unwritten(struct call *call)
{
    uint64_t all = conn_unwritten(call->conn, call->last_end);
    if (all == 0)
        call->sent = 0;
    return all < call->sent ? all : call->sent;
}

bool call_charge(struct call *call, uint64_t bytes)
{
    uint64_t most = call->hub->config.request_bytes;
    call->conn->call_bytes += bytes - call->bytes;
    call->bytes = bytes;
    conn_touch(call->conn);
    if (bytes <= most)
        return true;
    call_fail(call, TTRPC_RESOURCE_EXHAUSTED,
              "the request has %" PRIu64 " bytes, at most %" PRIu64 " are taken", bytes, most);
    return false;
}

uint64_t call_next_ms(const struct call *call)
{
    if (call->deadline_ms == 0 || (call->due_ms != 0 && call->due_ms < call->deadline_ms))
        return call->due_ms;
    return call->deadline_ms;
}

void call_tick(struct call *call, uint64_t now_ms)
{
    if (call->deadline_ms != 0 && now_ms >= call->deadline_ms) {
        call->deadline_ms = 0;
        if (call->hooks->expired)
            call->hooks->expired(call);
        else
            call_fail(call, TTRPC_DEADLINE_EXCEEDED, "the deadline has passed");
        return;
    }
    if (call->due_ms != 0 && now_ms >= call->due_ms && call->hooks->due)
        call->hooks->due(call);
}

void call_drain(struct call *call)
{
    if (call->hooks->drained)
        call->hooks->drained(call);
    else
        call_fail(call, TTRPC_UNAVAILABLE, "draining: the daemon is going away");
}

void *call_unpack(struct call *call, const ProtobufCMessageDescriptor *type,
                  const struct payload *payload)
{
    char words[TTRPC_WORDS];
    ProtobufCMessage *message = ttrpc_unpack(type, payload->data, payload->n, words);
    if (!message)
        call_fail(call, TTRPC_INVALID_ARGUMENT, "%s", words);
    return message;
}

/* ---- requests */
static void __attribute__((format(printf, 4, 5)))
refuse(struct conn *conn, uint32_t stream, int code, const char *fmt, ...)
{
    struct err words = {0};
    char text[sizeof words.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(&words, -EINVAL, "%s", text);
    hub_count(conn->hub, COUNTER_FRAMES_BAD);
    conn_answer(conn, stream, code, words.text, 0);
}

/* Whether this service has the method and this peer may call it now; else it has been answered. */
static const struct method *admit(struct conn *conn, uint32_t stream, const Ttrpc__Request *request)
{
    const char *service = request->service ? request->service : "";
    const char *name = request->method ? request->method : "";
    if (strcmp(service, METHOD_SERVICE) != 0) {
        refuse(conn, stream, TTRPC_UNIMPLEMENTED, "service '%.64s' is not here, only %s", service,
               METHOD_SERVICE);
        return NULL;
    }
    const struct method *method = method_find(name);
    if (!method) {
        refuse(conn, stream, TTRPC_UNIMPLEMENTED, "%s has no method '%.64s'", METHOD_SERVICE, name);
        return NULL;
    }
    if (!conn->verdict.is_allowed) {
        refuse(conn, stream, TTRPC_PERMISSION_DENIED,
               "uid %u may not ask here: see Allow= and Deny= in moed.conf", conn->uid);
        return NULL;
    }
    if (!method_may(method, conn)) {
        refuse(conn, stream, TTRPC_PERMISSION_DENIED,
               "%s is for root, the daemon's own uid and operators, you are uid %u", name,
               conn->uid);
        return NULL;
    }
    int most = conn->verdict.max_requests;
    if (method_is_work(method) && most > 0 && conn->peer->n_requests >= most) {
        refuse(conn, stream, TTRPC_RESOURCE_EXHAUSTED,
               "uid %u has %d answers being written or waiting, which is its quota: try again "
               "when one is done",
               conn->uid, conn->peer->n_requests);
        return NULL;
    }
    if (conn->hub->draining && !method->while_draining) {
        refuse(conn, stream, TTRPC_UNAVAILABLE, "draining: the daemon is going away");
        return NULL;
    }
    if (request->payload.len > method->most_bytes) {
        refuse(conn, stream, TTRPC_RESOURCE_EXHAUSTED, "%s takes at most %zu bytes, not %zu", name,
               method->most_bytes, request->payload.len);
        return NULL;
    }
    if (request->timeout_nano < 0) {
        refuse(conn, stream, TTRPC_DEADLINE_EXCEEDED, "the deadline passed before the call");
        return NULL;
    }
    return method;
}

static struct call *open_call(struct conn *conn, const struct ttrpc_frame *frame,
                              const struct method *method, int64_t timeout_nano)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->conn = conn;
    call->hub = conn->hub;
    call->stream = frame->stream;
    call->method = method;
    call->hooks = &no_hooks;
    call->half_closed = (frame->flags & TTRPC_REMOTE_CLOSED) || !(frame->flags & TTRPC_REMOTE_OPEN);
    call->received_ms = uv_now(conn->hub->loop);
    if (timeout_nano > 0) /* up to the next millisecond, which cannot overflow */
        call->deadline_ms = call->received_ms + (uint64_t)(timeout_nano - 1) / 1000000 + 1;
    call->next = conn->calls;
    if (conn->calls)
        conn->calls->prev = call;
    conn->calls = call;
    conn->n_calls++;
    if (method_is_work(method))
        conn->peer->n_requests++;
    hub_count(conn->hub, COUNTER_CALLS);
    conn_touch(conn);
    return call;
}

static void start(struct call *call, struct payload *payload)
{
    call->started = true;
    call->method->handle(call, payload);
}

/* The envelope is small beside its payload, which is handed on without another copy. */
static void open_request(struct conn *conn, const struct ttrpc_frame *frame,
                         Ttrpc__Request *request)
{
    char words[TTRPC_WORDS];
    if (ttrpc_check_metadata(request, words) < 0) {
        refuse(conn, frame->stream, TTRPC_RESOURCE_EXHAUSTED, "%s", words);
        return;
    }
    const struct method *method = admit(conn, frame->stream, request);
    if (!method)
        return;
    struct call *call = open_call(conn, frame, method, request->timeout_nano);
    if (!call) {
        refuse(conn, frame->stream, TTRPC_RESOURCE_EXHAUSTED, "no memory for another call");
        return;
    }
    OWN_PAYLOAD payload = {request->payload.data, request->payload.len};
    request->payload = (ProtobufCBinaryData){0};
    request->has_payload = false;
    bool has_message = payload.n > 0 || call->half_closed;
    if (method->shape == METHOD_PARTS || has_message)
        start(call, &payload);
}

void call_request(struct conn *conn, const struct ttrpc_frame *frame)
{
    struct call *same = find(conn, frame->stream);
    if (same) { /* whose answer would an answer be? */
        hub_count(conn->hub, COUNTER_FRAMES_BAD);
        call_fail(same, TTRPC_INVALID_ARGUMENT, "stream id %u is in use already", frame->stream);
        return;
    }
    if (frame->stream % 2 == 0) {
        refuse(conn, frame->stream, TTRPC_INVALID_ARGUMENT,
               "stream id %u is even, a client's are odd", frame->stream);
        return;
    }
    if (frame->stream > conn->highest)
        conn->highest = frame->stream;
    if (frame->oversize) {
        refuse(conn, frame->stream, TTRPC_RESOURCE_EXHAUSTED,
               "a frame of %u bytes, at most %d are taken", frame->n, TTRPC_MAX_DATA);
        return;
    }
    char words[TTRPC_WORDS];
    Ttrpc__Request *request =
        (Ttrpc__Request *)ttrpc_unpack(&ttrpc__request__descriptor, frame->data, frame->n, words);
    if (!request) {
        refuse(conn, frame->stream, TTRPC_INVALID_ARGUMENT, "cannot read the request: %s", words);
        return;
    }
    open_request(conn, frame, request);
    ttrpc__request__free_unpacked(request, NULL);
}

/* ---- messages */
static void scold(struct conn *conn, uint32_t stream)
{
    for (int i = 0; i < conn->n_scolded; i++)
        if (conn->scolded[i] == stream) {
            hub_count(conn->hub, COUNTER_FRAMES_BAD);
            return;
        }
    if (conn->n_scolded == CONN_SCOLDED) {
        memmove(conn->scolded, conn->scolded + 1, sizeof conn->scolded - sizeof conn->scolded[0]);
        conn->n_scolded--;
    }
    conn->scolded[conn->n_scolded++] = stream;
    refuse(conn, stream, TTRPC_INVALID_ARGUMENT, "stream %u is not open", stream);
}

static void give_part(struct call *call, struct payload *payload, bool has_message, bool closes)
{
    struct conn *conn = call->conn;
    uint32_t stream = call->stream;
    if (has_message && call->hooks->part)
        call->hooks->part(call, payload);
    call = find(conn, stream); /* the part may have ended it */
    if (!call || !closes)
        return;
    call->half_closed = true;
    if (call->hooks->closed)
        call->hooks->closed(call);
}

static void give_single(struct call *call, struct payload *payload, bool has_message, bool closes)
{
    call->half_closed |= closes;
    if (!call->started && (has_message || closes))
        start(call, payload);
    else if (has_message)
        call_fail(call, TTRPC_INVALID_ARGUMENT, "%s takes one message", call->method->name);
}

void call_message(struct conn *conn, const struct ttrpc_frame *frame)
{
    struct call *call = find(conn, frame->stream);
    if (!call) {
        scold(conn, frame->stream);
        return;
    }
    if (call->half_closed) {
        call_fail(call, TTRPC_INVALID_ARGUMENT, "DATA on stream %u after its end", frame->stream);
        return;
    }
    if (frame->oversize || frame->n > call->method->most_bytes) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "a message of %u bytes, %s takes at most %zu",
                  frame->n, call->method->name, call->method->most_bytes);
        return;
    }
    OWN_PAYLOAD payload = {0};
    bool has_message = !(frame->flags & TTRPC_NO_DATA);
    if (has_message && frame->n > 0) {
        payload.data = malloc(frame->n);
        if (!payload.data) {
            call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the message");
            return;
        }
        memcpy(payload.data, frame->data, frame->n);
        payload.n = frame->n;
    }
    bool closes = frame->flags & TTRPC_REMOTE_CLOSED;
    if (call->method->shape == METHOD_PARTS)
        give_part(call, &payload, has_message, closes);
    else
        give_single(call, &payload, has_message, closes);
}
