/* SPDX-License-Identifier: MIT
 *
 * Sockets: connecting, moving bytes, waiting. All that blocks is poll() in moed_wait and moed_next.
 */
#include "lib/conn.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum {
    IN_BYTES = 64 << 10,
    READS = 8, /* a dispatch, so that a busy daemon can't hold the caller's loop */
    IOVECS = 16,
    CONGESTED = 64 << 10, /* unread bytes: the daemon may have stopped reading from us */
};
#define LONGEST_MS (UINT64_C(1) << 42) /* a deadline in a century is none */

static const char system_socket[] = "/run/moed/moed.sock";

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

const char *moed_version(void)
{
    return MOED_VERSION;
}

/* ---- connecting */
static int connect_to(const char *path, int flags)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path)
        return -ENAMETOOLONG;
    memcpy(to.sun_path, path, strlen(path) + 1);
    OWN_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int make_async(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

/* The connection owns fd once this succeeds. */
static int moed_new(int fd, const char *path, struct moed **ret)
{
    int r = make_async(fd);
    if (r < 0)
        return r;
    OWN(moed) *moed = calloc(1, sizeof *moed);
    if (!moed)
        return -ENOMEM;
    moed->fd = -1;
    moed->path = strdup(path);
    moed->in = malloc(IN_BYTES);
    if (!moed->path || !moed->in)
        return -ENOMEM;
    moed->fd = fd;
    *ret = TAKE(moed);
    return 0;
}

static int fail_to_open(int r, const char *what, struct moed_error *error)
{
    return error_set(error, r, MOED_UNAVAILABLE, "%s: %s", what, strerror(-r));
}

int moed_adopt_fd(int fd, struct moed **ret, struct moed_error *error)
{
    int r = moed_new(fd, "", ret);
    return r < 0 ? fail_to_open(r, "cannot use the descriptor", error) : 0;
}

struct lookup { /* the sockets to try, and what was tried */
    const char *paths[2];
    int n;
    char *made; /* the one that was put together */
};

static int look_up(const char *socket, struct lookup *ret)
{
    const char *named = socket ? socket : secure_getenv("MOED_SOCKET");
    if (socket || (named && *named)) {
        ret->paths[ret->n++] = named;
        return 0;
    }
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    if (runtime && *runtime) {
        if (asprintf(&ret->made, "%s/moed/moed.sock", runtime) < 0) {
            ret->made = NULL;
            return -ENOMEM;
        }
        ret->paths[ret->n++] = ret->made;
    }
    ret->paths[ret->n++] = system_socket;
    return 0;
}

static int open_first(const struct lookup *lookup, struct moed **ret, struct moed_error *error)
{
    char tried[900] = "";
    int r = -ENOENT;
    for (int i = 0; i < lookup->n; i++) {
        OWN_FD fd = r = connect_to(lookup->paths[i], 0);
        if (r >= 0) {
            r = moed_new(fd, lookup->paths[i], ret);
            if (r < 0)
                return fail_to_open(r, "cannot connect", error);
            (void)TAKE_FD(fd);
            return 0;
        }
        size_t n = strlen(tried);
        snprintf(tried + n, sizeof tried - n, "%s%s (%s)", i > 0 ? ", " : "", lookup->paths[i],
                 strerror(-r));
    }
    return error_set(error, r, MOED_UNAVAILABLE, "no daemon answers at %s", tried);
}

int moed_open(const char *socket, struct moed **ret, struct moed_error *error)
{
    struct lookup lookup = {0};
    int r = look_up(socket, &lookup);
    if (r < 0)
        return fail_to_open(r, "cannot connect", error);
    r = open_first(&lookup, ret, error);
    free(lookup.made);
    return r;
}

void moed_close(struct moed *moed)
{
    if (!moed)
        return;
    session_fini(&moed->session);
    moed_close(moed->side);
    if (moed->fd >= 0)
        close(moed->fd);
    free(moed->path);
    free(moed->in);
    free(moed);
}

const char *moed_socket(const struct moed *moed)
{
    return moed->path;
}

bool moed_is_open(const struct moed *moed)
{
    return !moed->session.dead;
}

void moed_set_timeout(struct moed *moed, uint32_t milliseconds)
{
    moed->timeout_ms = milliseconds;
}

/* ---- starting */
int conn_check(struct moed *moed, uint32_t *stream, struct moed_error *error)
{
    if (moed->session.dead)
        return error_set(error, -ENOTCONN, MOED_UNAVAILABLE, "the connection has ended: %s",
                         moed->session.why.message);
    *stream = session_next_stream(&moed->session);
    if (*stream == 0)
        return error_set(error, -EOVERFLOW, MOED_RESOURCE_EXHAUSTED,
                         "the connection has no call left: open a new one");
    return 0;
}

void conn_begin(struct moed *moed, struct moed_call *call, struct out_list *frames,
                uint64_t timeout_ms)
{
    call->moed = moed;
    if (timeout_ms > 0 && timeout_ms < LONGEST_MS)
        call->deadline = now_us() + timeout_ms * 1000;
    session_begin(&moed->session, call, frames);
}

/* ---- moving bytes */
static int send_some(struct moed *moed)
{
    struct iovec iov[IOVECS];
    int n = session_output(&moed->session, iov, IOVECS);
    if (n == 0 || moed->cannot_send)
        return 0;
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t sent = sendmsg(moed->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
        session_sent(&moed->session, (size_t)sent);
        return 1;
    }
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    moed->cannot_send = true; /* reading on brings what was said before, then the end */
    return 1;
}

static void hang_up(struct moed *moed, int code)
{
    const char *how =
        ttrpc_decoder_is_inside(&moed->session.decoder) ? " in the middle of a frame" : "";
    session_fail(&moed->session, code, "the daemon went away%s", how);
}

static int receive_some(struct moed *moed)
{
    if (session_is_full(&moed->session))
        return 0;
    ssize_t n = recv(moed->fd, moed->in, IN_BYTES, MSG_DONTWAIT);
    if (n > 0) {
        session_feed(&moed->session, moed->in, (size_t)n);
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    hang_up(moed, n < 0 ? -errno : -ECONNRESET);
    return 1;
}

static void tend_side(struct moed *moed)
{
    if (!moed->side)
        return;
    int r = moed_dispatch(moed->side);
    if (r < 0 || !moed->side->session.calls)
        moed_close(TAKE(moed->side));
}

int moed_dispatch(struct moed *moed)
{
    struct session *session = &moed->session;
    if (session->in_callback)
        return -EDEADLK;
    int moved = 0;
    tend_side(moed);
    for (int i = 0; i < READS && !session->dead; i++) {
        int some = send_some(moed) | receive_some(moed);
        moved |= some;
        if (!some)
            break;
    }
    if (!session->dead && session_deadline(session) != UINT64_MAX)
        session_expire(session, now_us());
    return session->dead ? session->why.code : moved;
}

/* ---- event loops */
int moed_fd(const struct moed *moed)
{
    return moed->fd;
}

short moed_events(const struct moed *moed)
{
    const struct session *session = &moed->session;
    if (session->dead)
        return 0;
    short events = session_is_full(session) ? 0 : POLLIN;
    if (session->out.first && !moed->cannot_send)
        events |= POLLOUT;
    return events;
}

uint64_t moed_timeout(const struct moed *moed)
{
    return session_deadline(&moed->session);
}

/* ---- blocking */
static int poll_once(struct moed *moed)
{
    struct pollfd p = {.fd = moed->fd, .events = moed_events(moed)};
    uint64_t until = moed_timeout(moed);
    int ms = -1;
    if (until != UINT64_MAX) {
        uint64_t now = now_us();
        uint64_t left = until > now ? (until - now + 999) / 1000 : 0;
        ms = left > 60000 ? 60000 : (int)left;
    }
    return poll(&p, 1, ms) < 0 ? -errno : 0;
}

/* One round of sending, receiving and sleeping. The end of the connection is no failure here: the
 * call has then been told. */
static int turn(struct moed_call *call)
{
    struct moed *moed = call->moed;
    int r = moed_dispatch(moed);
    if (r == -EDEADLK)
        return r;
    if (r != 0 || call->done || call->first)
        return 0;
    return poll_once(moed);
}

static int refuse(struct moed_error *error, int code, const char *why)
{
    return error_set(error, code, MOED_UNKNOWN, "%s", why);
}

int moed_wait(struct moed_call *call, struct moed_error *error)
{
    if (call->is_stream && !call->callback)
        return refuse(error, -EINVAL, "a stream is read with moed_next");
    while (!call->done) {
        int r = turn(call);
        if (r < 0)
            return refuse(error, r, strerror(-r));
    }
    return moed_call_result(call, error);
}

int moed_next(struct moed_call *call, struct moed_error *error)
{
    if (!call->is_stream || call->callback)
        return refuse(error, -EINVAL, "only a stream without a callback is read so");
    while (!call->first && !call->done) {
        int r = turn(call);
        if (r < 0)
            return refuse(error, r, strerror(-r));
    }
    int r = call_show_next(call);
    if (r < 0) {
        moed_call_cancel(call); /* an answer with a hole is none */
        return error_set(error, r, MOED_RESOURCE_EXHAUSTED, "no memory for a message");
    }
    return r > 0 ? 1 : moed_call_result(call, error);
}

/* ---- calls */
int moed_call_on(struct moed_call *call, moed_callback callback, void *arg)
{
    if (call->first || call->current || call->done)
        return -EBUSY;
    call->callback = callback;
    call->arg = arg;
    return 0;
}

bool moed_call_is_done(const struct moed_call *call)
{
    return call->done;
}

int moed_call_result(const struct moed_call *call, struct moed_error *error)
{
    if (!call->done)
        return -EINPROGRESS;
    return call->error.code < 0 ? error_give(&call->error, error) : 0;
}

/* Whether a Cancel might wait here: we are slow to read, so the daemon may not be reading us. */
static bool is_congested(const struct moed *moed)
{
    int unread = 0;
    if (ioctl(moed->fd, FIONREAD, &unread) < 0)
        unread = 0;
    return moed->session.out_bytes > 0 || unread > CONGESTED;
}

/* The daemon takes a Cancel from any connection of the same user. */
static int cancel_aside(struct moed *moed, const uint8_t id[16])
{
    if (!*moed->path)
        return -EOPNOTSUPP;
    if (!moed->side) {
        OWN_FD fd = connect_to(moed->path, SOCK_NONBLOCK);
        if (fd < 0)
            return fd;
        int r = moed_new(fd, moed->path, &moed->side);
        if (r < 0)
            return r;
        (void)TAKE_FD(fd);
    }
    int r = session_send_cancel(&moed->side->session, id);
    if (r == 0)
        send_some(moed->side);
    return r;
}

void moed_call_cancel(struct moed_call *call)
{
    struct moed *moed = call->moed;
    if (call->done || !moed)
        return;
    int must = session_cancel(&moed->session, call);
    if (moed->session.in_callback) { /* dispatch is at work and will send it */
        if (must)
            session_send_cancel(&moed->session, call->id);
        return;
    }
    send_some(moed);
    if (!must)
        return;
    if (is_congested(moed) && cancel_aside(moed, call->id) == 0)
        return;
    session_send_cancel(&moed->session, call->id);
    send_some(moed);
}

void moed_call_free(struct moed_call *call)
{
    if (!call)
        return;
    moed_call_cancel(call);
    call_free(call);
}
