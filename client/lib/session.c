/* SPDX-License-Identifier: MIT
 *
 * Frames to calls and back. One connection, one thread.
 */
#include "lib/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moed/v1/engine.pb-c.h"
#include "ttrpc.pb-c.h"

/* ---- frames out */
static void out_free(struct out *out)
{
    if (!out)
        return;
    ttrpc_buf_fini(&out->buf);
    free(out);
}
OWN_DEFINE(out, out_free);

void out_list_fini(struct out_list *list)
{
    while (list->first) {
        struct out *next = list->first->next;
        out_free(list->first);
        list->first = next;
    }
    list->last = NULL;
}

static void out_list_add(struct out_list *list, struct out *out)
{
    if (list->last)
        list->last->next = out;
    else
        list->first = out;
    list->last = out;
}

int session_put_request(struct out_list *list, uint32_t stream, unsigned flags, const char *method,
                        const void *payload, size_t n, int64_t timeout_nano)
{
    OWN(out) *out = calloc(1, sizeof *out);
    if (!out)
        return -ENOMEM;
    out->stream = stream;
    out->is_first = true;
    Ttrpc__Request request = TTRPC__REQUEST__INIT;
    request.service = (char *)SESSION_SERVICE;
    request.method = (char *)method;
    request.has_payload = n > 0;
    request.payload = (ProtobufCBinaryData){.len = n, .data = (uint8_t *)payload};
    request.has_timeout_nano = timeout_nano != 0;
    request.timeout_nano = timeout_nano;
    int r = ttrpc_put_message(&out->buf, stream, TTRPC_REQUEST, flags, &request.base);
    if (r < 0)
        return r;
    out_list_add(list, TAKE(out));
    return 0;
}

int session_put_data(struct out_list *list, uint32_t stream, unsigned flags,
                     const ProtobufCMessage *message)
{
    OWN(out) *out = calloc(1, sizeof *out);
    if (!out)
        return -ENOMEM;
    out->stream = stream;
    int r = message ? ttrpc_put_message(&out->buf, stream, TTRPC_DATA, flags, message)
                    : ttrpc_put(&out->buf, stream, TTRPC_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA,
                                NULL, 0);
    if (r < 0)
        return r;
    out_list_add(list, TAKE(out));
    return 0;
}

int session_output(const struct session *session, struct iovec *ret, int max)
{
    int n = 0;
    size_t skip = session->first_sent;
    for (const struct out *out = session->out.first; out && n < max; out = out->next) {
        ret[n].iov_base = out->buf.data + out->buf.start + skip;
        ret[n++].iov_len = out->buf.n - skip;
        skip = 0;
    }
    return n;
}

void session_sent(struct session *session, size_t n)
{
    session->out_bytes -= n;
    n += session->first_sent;
    while (session->out.first && n >= session->out.first->buf.n) {
        struct out *out = session->out.first;
        n -= out->buf.n;
        session->out.first = out->next;
        if (!session->out.first)
            session->out.last = NULL;
        out_free(out);
    }
    session->first_sent = n;
}

/* Drops what is queued of a stream, but for a frame whose beginning is on its way. */
static void drop_output(struct session *session, uint32_t stream)
{
    struct out_list kept = {0};
    struct out *next = NULL;
    for (struct out *out = session->out.first; out; out = next) {
        next = out->next;
        out->next = NULL;
        bool is_begun = out == session->out.first && session->first_sent > 0;
        if (out->stream == stream && !is_begun) {
            session->out_bytes -= out->buf.n;
            out_free(out);
        } else {
            out_list_add(&kept, out);
        }
    }
    session->out = kept;
}

/* Whether nothing of the call has been sent. */
static bool is_unheard(const struct session *session, uint32_t stream)
{
    for (const struct out *out = session->out.first; out; out = out->next)
        if (out->stream == stream && out->is_first)
            return out != session->out.first || session->first_sent == 0;
    return false;
}

/* ---- calls */
uint32_t session_next_stream(const struct session *session)
{
    if (session->last_stream == 0)
        return 1;
    return session->last_stream == UINT32_MAX ? 0 : session->last_stream + 2;
}

void session_begin(struct session *session, struct moed_call *call, struct out_list *frames)
{
    call->stream = session->last_stream = session_next_stream(session);
    call->next = session->calls;
    session->calls = call;
    session->n_calls++;
    for (const struct out *out = frames->first; out; out = out->next)
        session->out_bytes += out->buf.n;
    if (session->out.last)
        session->out.last->next = frames->first;
    else
        session->out.first = frames->first;
    session->out.last = frames->last;
    *frames = (struct out_list){0};
}

static struct moed_call *find(const struct session *session, uint32_t stream)
{
    struct moed_call *call = session->calls;
    while (call && call->stream != stream)
        call = call->next;
    return call;
}

static void unlist(struct session *session, struct moed_call *call)
{
    struct moed_call **at = &session->calls;
    while (*at && *at != call)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = call->next;
    call->next = NULL;
    session->n_calls--;
}

/* The callback may free the call: nothing looks at it afterwards. */
static void call_back(struct session *session, struct moed_call *call, int result)
{
    if (!call->callback)
        return;
    session->in_callback = true;
    call->callback(call, result, call->arg);
    session->in_callback = false;
}

/* The end of a call; `error` NULL: it ended well. */
static void end(struct session *session, struct moed_call *call, const struct moed_error *error)
{
    unlist(session, call);
    drop_output(session, call->stream);
    if (call->is_ghost) {
        call_free(call);
        return;
    }
    call->done = true;
    if (error)
        error_give(error, &call->error);
    call_back(session, call, call->error.code);
}

/* Ends a call for a reason of our own; a generation is stopped in the daemon too. */
static void give_up(struct session *session, struct moed_call *call, const struct moed_error *error)
{
    if (call->is_generation && call->has_id && !call_is_finished(call))
        session_send_cancel(session, call->id); /* without memory the daemon finds out later */
    end(session, call, error);
}

/* A ghost generation is cancelled as soon as its first event names it. */
static void take_ghost_message(struct session *session, struct moed_call *call,
                               const uint8_t *bytes, size_t n)
{
    if (!call->is_generation)
        return;
    struct moed_error error = MOED_ERROR_INIT;
    if (call_take(call, bytes, n, &error) == 0 && call->has_id && !call_is_finished(call))
        session_send_cancel(session, call->id);
    end(session, call, NULL);
}

/* Hands a message to its call; the call may be gone afterwards. */
static void take_message(struct session *session, struct moed_call *call, const uint8_t *bytes,
                         size_t n)
{
    if (call->is_ghost) {
        take_ghost_message(session, call, bytes, n);
        return;
    }
    struct moed_error error = MOED_ERROR_INIT;
    int r = call_take(call, bytes, n, &error);
    if (r == 0 && call->queued_bytes > CALL_HARD_BYTES && session->n_calls > 1)
        r = error_set(&error, -EBUSY, MOED_RESOURCE_EXHAUSTED,
                      "the stream was not read: %zu bytes wait", call->queued_bytes);
    if (r == 0 && (call->callback || !call->is_stream)) {
        r = call_show_next(call);
        if (r < 0)
            error_set(&error, r, MOED_RESOURCE_EXHAUSTED, "no memory for a message");
    }
    if (r < 0)
        give_up(session, call, &error);
    else if (call->is_stream)
        call_back(session, call, 1);
}

static void end_stream(struct session *session, struct moed_call *call)
{
    struct moed_error error = MOED_ERROR_INIT;
    int r = call->is_ghost ? 0 : call_check_end(call, &error);
    end(session, call, r < 0 ? &error : NULL);
}

/* What a status says of it; 0: nothing. */
static uint64_t retry_after_ms(const Ttrpc__Status *status)
{
    const ProtobufCMessageDescriptor *type = &moed__v1__retry_after__descriptor;
    uint64_t ms = 0;
    for (size_t i = 0; i < status->n_details; i++) {
        const Ttrpc__Any *any = status->details[i];
        const char *name = any->type_url ? strrchr(any->type_url, '/') : NULL;
        if (!name || strcmp(name + 1, type->name) != 0)
            continue;
        Moed__V1__RetryAfter *retry =
            (void *)ttrpc_unpack(type, any->value.data, any->value.len, NULL);
        if (retry && retry->retry_after_ms > 0)
            ms = (uint64_t)retry->retry_after_ms;
        if (retry)
            protobuf_c_message_free_unpacked(&retry->base, NULL);
    }
    return ms;
}

static void take_response(struct session *session, struct moed_call *call,
                          const struct ttrpc_frame *frame)
{
    struct moed_error error = MOED_ERROR_INIT;
    char words[TTRPC_WORDS] = "";
    Ttrpc__Response *response =
        (void *)ttrpc_unpack(&ttrpc__response__descriptor, frame->data, frame->n, words);
    if (!response) {
        error_set(&error, -EBADMSG, MOED_INTERNAL, "the daemon sent a broken response: %s", words);
        give_up(session, call, &error);
        return;
    }
    int code = response->status ? response->status->code : TTRPC_OK;
    if (code != TTRPC_OK) {
        const char *text = response->status->message;
        error_set(&error, error_of_status(code), code, "%s",
                  text && *text ? text : moed_status_name(code));
        error.retry_after_ms = retry_after_ms(response->status);
        end(session, call, &error);
    } else if (call->is_stream) {
        end_stream(session, call); /* not how streams end, but some peers do it */
    } else {
        uint32_t stream = call->stream;
        take_message(session, call, response->payload.data, response->payload.len);
        call = find(session, stream);
        if (call)
            end(session, call, NULL);
    }
    protobuf_c_message_free_unpacked(&response->base, NULL);
}

static void take_data(struct session *session, struct moed_call *call,
                      const struct ttrpc_frame *frame)
{
    struct moed_error error = MOED_ERROR_INIT;
    if (!call->is_stream) {
        error_set(&error, -EBADMSG, MOED_INTERNAL,
                  "the daemon answered a call that has one answer with a stream");
        give_up(session, call, &error);
        return;
    }
    uint32_t stream = call->stream;
    if (!(frame->flags & TTRPC_NO_DATA))
        take_message(session, call, frame->data, frame->n);
    if (!(frame->flags & TTRPC_REMOTE_CLOSED))
        return;
    call = find(session, stream); /* it may have been cancelled and freed meanwhile */
    if (call)
        end_stream(session, call);
}

static void take_frame(struct session *session, const struct ttrpc_frame *frame)
{
    struct moed_call *call = find(session, frame->stream);
    bool is_ours = frame->type == TTRPC_RESPONSE || frame->type == TTRPC_DATA;
    if (!call || !is_ours) {
        session->n_strays++;
        return;
    }
    if (frame->oversize) {
        struct moed_error error = MOED_ERROR_INIT;
        error_set(&error, -EMSGSIZE, MOED_RESOURCE_EXHAUSTED,
                  "the daemon sent a frame of %u bytes, the most is %u", frame->n,
                  (unsigned)TTRPC_MAX_DATA);
        give_up(session, call, &error);
    } else if (frame->type == TTRPC_RESPONSE) {
        take_response(session, call, frame);
    } else {
        take_data(session, call, frame);
    }
}

int session_feed(struct session *session, const uint8_t *bytes, size_t n)
{
    if (session->dead)
        return session->why.code;
    while (true) {
        struct ttrpc_frame frame;
        int r = ttrpc_decode(&session->decoder, &bytes, &n, &frame);
        if (r == 0)
            return 0;
        if (r < 0) {
            session_fail(session, r,
                         r == -EPROTO ? "the peer does not speak ttrpc" : "no memory for a frame");
            return r;
        }
        take_frame(session, &frame);
    }
}

void session_fail(struct session *session, int code, const char *fmt, ...)
{
    if (session->dead)
        return;
    char words[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    session->dead = true;
    session->why = (struct moed_error)MOED_ERROR_INIT;
    error_set(&session->why, code, MOED_UNAVAILABLE, "%s", words);
    out_list_fini(&session->out);
    session->out_bytes = session->first_sent = 0;
    while (session->calls)
        end(session, session->calls, &session->why);
}

void session_fini(struct session *session)
{
    while (session->calls) {
        struct moed_call *call = session->calls;
        unlist(session, call);
        call->done = true;
        call->moed = NULL;
        error_set(&call->error, -ECANCELED, MOED_CANCELLED, "the connection was closed");
        if (call->is_ghost)
            call_free(call);
    }
    out_list_fini(&session->out);
    ttrpc_decoder_fini(&session->decoder);
    *session = (struct session){0};
}

bool session_is_full(const struct session *session)
{
    return session->n_calls == 1 && session->calls->queued_bytes > CALL_SOFT_BYTES;
}

/* ---- time */
uint64_t session_deadline(const struct session *session)
{
    uint64_t first = UINT64_MAX;
    for (const struct moed_call *call = session->calls; call; call = call->next)
        if (call->deadline < first)
            first = call->deadline;
    return first;
}

static struct moed_call *find_expired(const struct session *session, uint64_t now)
{
    struct moed_call *call = session->calls;
    while (call && call->deadline > now)
        call = call->next;
    return call;
}

void session_expire(struct session *session, uint64_t now)
{
    struct moed_call *call;
    while ((call = find_expired(session, now))) {
        struct moed_error error = MOED_ERROR_INIT;
        error_set(&error, -ETIMEDOUT, MOED_DEADLINE_EXCEEDED, "the daemon did not answer in time");
        give_up(session, call, &error);
    }
}

/* ---- cancelling */
int session_send_cancel(struct session *session, const uint8_t id[16])
{
    uint32_t stream = session_next_stream(session);
    if (session->dead || stream == 0)
        return -ENOTCONN;
    Moed__V1__CancelRequest request = MOED__V1__CANCEL_REQUEST__INIT;
    request.has_generation_id = true;
    request.generation_id = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)id};
    uint8_t payload[32];
    size_t n = moed__v1__cancel_request__pack(&request, payload);

    OWN(moed_call) *ghost = call_new();
    if (!ghost)
        return -ENOMEM;
    ghost->is_ghost = true;
    struct out_list frames = {0};
    int r = session_put_request(&frames, stream, 0, "Cancel", payload, n, 0);
    if (r < 0)
        return r;
    session_begin(session, TAKE(ghost), &frames);
    return 0;
}

/* Takes the call's place until the daemon has named the generation. */
static void leave_ghost(struct session *session, const struct moed_call *call)
{
    struct moed_call *ghost = call_new();
    if (!ghost)
        return; /* the generation runs on until its end or the connection's */
    ghost->is_ghost = ghost->is_stream = ghost->is_generation = true;
    ghost->answer = call->answer;
    ghost->n_answers = call->n_answers;
    ghost->moed = call->moed;
    ghost->stream = call->stream;
    ghost->next = session->calls;
    session->calls = ghost;
    session->n_calls++;
}

int session_cancel(struct session *session, struct moed_call *call)
{
    if (call->done)
        return 0;
    call->done = true;
    error_set(&call->error, -ECANCELED, MOED_CANCELLED, "cancelled");
    unlist(session, call);
    if (call->is_generation && !call->has_id && !is_unheard(session, call->stream)) {
        leave_ghost(session, call); /* the rest of its request goes out, so that it gets an id */
        return 0;
    }
    drop_output(session, call->stream);
    return call->is_generation && call->has_id && !call_is_finished(call);
}
