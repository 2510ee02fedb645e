/* SPDX-License-Identifier: MIT
 *
 * Reading, writing, waiting and closing of one connection. Loop thread.
 *
 * Why not uv_pipe: it says nothing when a peer leaves while reading is stopped, and both not
 * reading (backpressure) and hearing of a disconnect at once are needed.
 */
#include "service/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "moed/v1/generate.pb-c.h"
#include "service/call.h"
#include "service/server.h"
#include "service/status.h"

enum { TURN_BYTES = 64 << 10 }; /* written to one connection in one loop turn */

static uint64_t now_ms(const struct conn *conn)
{
    return uv_now(conn->hub->loop);
}

void conn_touch(struct conn *conn)
{
    if (conn->is_touched || conn->is_closing)
        return;
    conn->is_touched = true;
    conn->next_touched = conn->hub->touched;
    conn->hub->touched = conn;
}

void conn_doom(struct conn *conn, enum hub_cause cause, const char *why)
{
    if (conn->doom || conn->is_closing)
        return;
    conn->doom = why;
    hub_count(conn->hub, COUNTER_BROKEN);
    hub_complain(conn->hub, cause, LOG_ABOUT(.peer = &conn->uid),
                 "a connection of uid %u ends: %s (%zu bytes unsent, %d calls)", conn->uid, why,
                 conn->out.n, conn->n_calls);
    conn_touch(conn);
}

void conn_changed(struct conn *conn)
{
    for (struct call *call = conn->calls, *next; call; call = next) {
        next = call->next;
        if (call->hooks->changed)
            call->hooks->changed(call);
    }
}

/* ---- output */
void conn_queued(struct conn *conn, size_t before, int error)
{
    if (error < 0) {
        conn_doom(conn, CAUSE_MEMORY, "no memory for what it should be sent");
        return;
    }
    if (before == 0)
        conn->write_ms = now_ms(conn);
    conn->queued += conn->out.n - before;
    if (before > conn->hub->config.connection_hard_bytes)
        conn_doom(conn, CAUSE_SLOW, "it does not read what it is sent");
    conn_touch(conn);
}

void conn_answer(struct conn *conn, uint32_t stream, int code, const char *words, uint64_t retry_ms)
{
    if (conn->doom || conn->is_closing)
        return;
    Moed__V1__RetryAfter retry = MOED__V1__RETRY_AFTER__INIT;
    retry.has_retry_after_ms = true;
    retry.retry_after_ms = (int64_t)retry_ms;
    size_t before = conn->out.n;
    conn_queued(conn, before,
                ttrpc_put_failure(&conn->out, stream, code, words, retry_ms ? &retry.base : NULL));
}

uint64_t conn_unwritten(const struct conn *conn, uint64_t position)
{
    uint64_t written = conn->queued - conn->out.n;
    return position > written ? position - written : 0;
}

/* Bytes the socket took, at most `most`; 0 when it takes no more. */
static size_t write_some(struct conn *conn, size_t most)
{
    size_t n = conn->out.n < most ? conn->out.n : most;
    if (n == 0)
        return 0;
    struct iovec part = {conn->out.data + conn->out.start, n};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;
    do
        sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent <= 0)
        return 0; /* a broken pipe is seen by the poll as well */
    ttrpc_buf_drop(&conn->out, (size_t)sent);
    conn->hub->counters[COUNTER_BYTES_OUT] += (uint64_t)sent;
    conn->write_ms = now_ms(conn);
    return (size_t)sent;
}

static void pump_calls(struct conn *conn)
{
    for (struct call *call = conn->calls, *next; call; call = next) {
        next = call->next;
        if (call->hooks->pump)
            call->hooks->pump(call);
    }
}

/* Events that waited for their predecessor may follow as soon as it is written. */
static void write_turn(struct conn *conn)
{
    size_t turn = 0;
    pump_calls(conn);
    while (turn < TURN_BYTES && !conn->doom) {
        size_t sent = write_some(conn, TURN_BYTES - turn);
        turn += sent;
        if (sent == 0)
            return;
        if (conn->out.n == 0)
            pump_calls(conn);
    }
}

/* ---- input */
static bool is_full(const struct conn *conn)
{
    const struct service_config *config = &conn->hub->config;
    if (conn->is_paused)
        return conn->n_calls > config->max_calls / 2 ||
               conn->out.n > config->connection_soft_bytes / 2;
    return conn->n_calls >= config->max_calls || conn->out.n > config->connection_soft_bytes;
}

static void take_frame(struct conn *conn, const struct ttrpc_frame *frame)
{
    conn->had_frame = true;
    hub_count(conn->hub, COUNTER_FRAMES_IN);
    if (frame->type == TTRPC_REQUEST)
        call_request(conn, frame);
    else if (frame->type == TTRPC_DATA)
        call_message(conn, frame);
    else
        hub_count(conn->hub, COUNTER_FRAMES_BAD); /* ignored, as the peers' servers do */
}

/* Decodes until the bytes are used up or calls or output are full; the rest is held. The last turn
 * is without bytes: it lets the decoder give back the frame before. */
static void take_bytes(struct conn *conn, const uint8_t *bytes, size_t n)
{
    while (!conn->doom) {
        if (n > 0 && is_full(conn)) {
            conn->is_paused = true;
            if (ttrpc_buf_put(&conn->held, bytes, n) < 0)
                conn_doom(conn, CAUSE_MEMORY, "no memory for what it sends");
            return;
        }
        struct ttrpc_frame frame;
        int r = ttrpc_decode(&conn->decoder, &bytes, &n, &frame);
        if (r == -EPROTO)
            conn_doom(conn, CAUSE_NOT_TTRPC, "a length of 16 MiB or more is not ttrpc");
        else if (r < 0)
            conn_doom(conn, CAUSE_MEMORY, "no memory for what it sends");
        if (r <= 0)
            return;
        conn->frame_ms = 0;
        take_frame(conn, &frame);
    }
}

static void note_progress(struct conn *conn)
{
    bool inside = ttrpc_decoder_is_inside(&conn->decoder);
    conn->progress_ms = now_ms(conn);
    if (!inside)
        conn->frame_ms = 0;
    else if (conn->frame_ms == 0)
        conn->frame_ms = conn->progress_ms;
}

/* Descriptors are never asked for: without room for them the kernel drops them, so a peer cannot
 * use up ours even for a moment. */
static void read_some(struct conn *conn)
{
    struct hub *hub = conn->hub;
    struct iovec part = {hub->scratch, sizeof hub->scratch};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = recvmsg(conn->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(conn); /* the peer has left, or half of it: both cancel everything */
        return;
    }
    if (message.msg_flags & MSG_CTRUNC)
        hub_count(hub, COUNTER_FDS_DROPPED);
    hub->counters[COUNTER_BYTES_IN] += (uint64_t)n;
    take_bytes(conn, hub->scratch, (size_t)n);
    note_progress(conn);
    conn_touch(conn);
}

static void take_held(struct conn *conn)
{
    if (conn->is_paused && !is_full(conn)) {
        conn->is_paused = false;
        conn->frame_ms = 0; /* the peer could not go on while we did not read */
        struct ttrpc_buf held = conn->held;
        conn->held = (struct ttrpc_buf){0};
        take_bytes(conn, held.data ? held.data + held.start : NULL, held.n);
        ttrpc_buf_fini(&held);
        note_progress(conn);
    }
}

/* ---- waiting */
static void earlier(uint64_t *due, uint64_t at)
{
    if (at != 0 && (*due == 0 || at < *due))
        *due = at;
}

static uint64_t due_of_input(const struct conn *conn)
{
    const struct service_config *config = &conn->hub->config;
    uint64_t due = 0;
    if (!conn->had_frame)
        earlier(&due, conn->connected_ms + (uint64_t)config->first_request_ms);
    if (conn->frame_ms != 0 && !conn->is_paused) {
        earlier(&due, conn->progress_ms + (uint64_t)config->progress_ms);
        earlier(&due, conn->frame_ms + (uint64_t)config->frame_ms);
    }
    return due;
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    uint64_t now = now_ms(conn);
    conn->due_ms = 0;
    conn_touch(conn);
    uint64_t input = due_of_input(conn);
    if (input != 0 && now >= input)
        conn_doom(conn, CAUSE_TIMEOUT,
                  conn->had_frame ? "a frame did not come to its end" : "no request came");
    else if (conn->out.n > 0 && now >= conn->write_ms + (uint64_t)conn->hub->config.write_stall_ms)
        conn_doom(conn, CAUSE_SLOW, "it takes nothing of what it is sent");
    for (struct call *call = conn->calls, *next; call; call = next) {
        next = call->next;
        call_tick(call, now);
    }
}

static void set_timer(struct conn *conn)
{
    uint64_t due = due_of_input(conn), now = now_ms(conn);
    if (conn->out.n > 0)
        earlier(&due, conn->write_ms + (uint64_t)conn->hub->config.write_stall_ms);
    for (const struct call *call = conn->calls; call; call = call->next)
        earlier(&due, call_next_ms(call));
    if (due == conn->due_ms)
        return;
    conn->due_ms = due;
    if (due == 0)
        uv_timer_stop(&conn->timer);
    else
        uv_timer_start(&conn->timer, on_timer, due > now ? due - now : 0, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    if (conn->is_closing)
        return;
    if (status < 0) {
        conn_close(conn);
        return;
    }
    if (events & UV_WRITABLE)
        conn_touch(conn);
    if (events & UV_READABLE)
        read_some(conn);
    else if (events & UV_DISCONNECT)
        conn_close(conn);
}

static void set_poll(struct conn *conn)
{
    int mask = UV_DISCONNECT;
    if (!conn->is_paused)
        mask |= UV_READABLE;
    if (conn->out.n > 0)
        mask |= UV_WRITABLE;
    if (mask == conn->mask)
        return;
    conn->mask = mask;
    if (uv_poll_start(&conn->poll, mask, on_poll) < 0)
        conn_doom(conn, CAUSE_NO_FDS, "its socket cannot be polled");
}

static void set_charge(struct conn *conn, uint64_t bytes)
{
    conn->hub->held_bytes += bytes - conn->charged;
    conn->charged = bytes;
}

void conn_settle(struct conn *conn)
{
    if (conn->is_closing)
        return;
    write_turn(conn);
    if (!conn->is_paused && is_full(conn))
        conn->is_paused = true;
    take_held(conn);
    set_poll(conn);
    set_charge(conn, conn->decoder.body.room + conn->held.room + conn->out.room + conn->call_bytes);
    if (conn->doom)
        conn_close(conn);
    else
        set_timer(conn);
}

/* ---- birth and death */
static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    if (--conn->n_handles > 0)
        return;
    struct hub *hub = conn->hub;
    close(conn->fd);
    hub_peer_drop(hub, conn->peer);
    ttrpc_decoder_fini(&conn->decoder);
    ttrpc_buf_fini(&conn->held);
    ttrpc_buf_fini(&conn->out);
    free(conn);
    hub->n_conns--;
    server_room(hub->server);
    hub_leave(hub);
}

static void untouch(struct conn *conn)
{
    if (!conn->is_touched)
        return;
    struct conn **at = &conn->hub->touched;
    while (*at && *at != conn)
        at = &(*at)->next_touched;
    if (*at)
        *at = conn->next_touched;
    conn->is_touched = false;
}

void conn_close(struct conn *conn)
{
    if (conn->is_closing)
        return;
    write_some(conn, SIZE_MAX);
    conn->is_closing = true;
    untouch(conn);
    while (conn->calls)
        call_drop(conn->calls);
    set_charge(conn, 0);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        conn->hub->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    uv_poll_stop(&conn->poll);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    uv_close((uv_handle_t *)&conn->timer, on_closed);
}

int conn_new(struct hub *hub, int fd, uint32_t uid, const struct access_verdict *verdict)
{
    struct conn *conn = calloc(1, sizeof *conn);
    struct peer *peer = conn ? hub_peer(hub, uid) : NULL;
    if (!peer) {
        free(conn);
        close(fd);
        return -ENOMEM;
    }
    conn->hub = hub;
    conn->fd = fd;
    conn->uid = uid;
    conn->verdict = *verdict;
    conn->peer = peer;
    conn->connected_ms = uv_now(hub->loop);
    int r = uv_poll_init(hub->loop, &conn->poll, fd);
    if (r < 0) {
        hub_peer_drop(hub, peer);
        free(conn);
        close(fd);
        return r;
    }
    uv_timer_init(hub->loop, &conn->timer);
    conn->poll.data = conn->timer.data = conn;
    conn->n_handles = 2;
    conn->next = hub->conns;
    if (hub->conns)
        hub->conns->prev = conn;
    hub->conns = conn;
    hub->n_conns++;
    hub->n_alive++;
    hub_count(hub, COUNTER_ACCEPTED);
    conn_touch(conn);
    return 0;
}
