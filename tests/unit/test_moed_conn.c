/* SPDX-License-Identifier: MIT
 *
 * libmoed on real sockets: where it looks, how it waits, how it ends. The daemon is a thread that
 * plays a script.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "moed_peer.h"

struct daemon {
    char folder[64], path[128];
    int listener;
    pthread_t thread;
    void (*play)(struct daemon *d, int fd);
    struct ttrpc_decoder decoder;
    uint8_t in[4096];
    const uint8_t *rest;
    size_t n_rest;
    sem_t go;
    bool saw_cancel;
};

static void *run_daemon(void *arg)
{
    struct daemon *d = arg;
    int fd = accept(d->listener, NULL, NULL);
    assert_true(fd >= 0);
    d->play(d, fd);
    close(fd);
    return NULL;
}

static void daemon_open(struct daemon *d, void (*play)(struct daemon *d, int fd))
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *d = (struct daemon){.play = play};
    sem_init(&d->go, 0, 0);
    strcpy(d->folder, "/tmp/moed-test-XXXXXX");
    assert_non_null(mkdtemp(d->folder));
    snprintf(d->path, sizeof d->path, "%s/moed", d->folder);
    assert_int_equal(mkdir(d->path, 0700), 0);
    snprintf(d->path, sizeof d->path, "%s/moed/moed.sock", d->folder);
    strcpy(at.sun_path, d->path);
    d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(d->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(d->listener, 4), 0);
    assert_int_equal(pthread_create(&d->thread, NULL, run_daemon, d), 0);
}

static void daemon_close(struct daemon *d)
{
    char folder[128];
    pthread_join(d->thread, NULL);
    close(d->listener);
    unlink(d->path);
    snprintf(folder, sizeof folder, "%s/moed", d->folder);
    rmdir(folder);
    rmdir(d->folder);
    ttrpc_decoder_fini(&d->decoder);
    sem_destroy(&d->go);
}

/* The next frame of the client; false: it has gone. */
static bool next_frame(struct daemon *d, int fd, struct ttrpc_frame *ret)
{
    while (true) {
        int r = ttrpc_decode(&d->decoder, &d->rest, &d->n_rest, ret);
        assert_true(r >= 0);
        if (r == 1)
            return true;
        ssize_t n = recv(fd, d->in, sizeof d->in, 0);
        if (n <= 0)
            return false;
        d->rest = d->in;
        d->n_rest = (size_t)n;
    }
}

static void send_all(int fd, struct ttrpc_buf *buf)
{
    while (buf->n > 0) {
        ssize_t n = send(fd, buf->data + buf->start, buf->n, MSG_NOSIGNAL);
        assert_true(n > 0);
        ttrpc_buf_drop(buf, (size_t)n);
    }
}

static void send_event(int fd, uint32_t stream, uint64_t seq, const char *text, int finish)
{
    struct peer p = {0};
    put_event(&p, stream, seq, text, finish, 0);
    if (finish)
        put_end(&p, stream);
    send_all(fd, &p.in);
    ttrpc_buf_fini(&p.in);
}

/* ---- scripts */
static void play_pings(struct daemon *d, int fd)
{
    struct ttrpc_frame frame;
    struct ttrpc_buf out = {0};
    while (next_frame(d, fd, &frame)) {
        ttrpc_put_response(&out, frame.stream, 0, NULL, NULL);
        send_all(fd, &out);
    }
    ttrpc_buf_fini(&out);
}

static void play_generation(struct daemon *d, int fd)
{
    struct ttrpc_frame frame;
    assert_true(next_frame(d, fd, &frame));
    for (uint64_t i = 0; i < 100; i++)
        send_event(fd, frame.stream, i, "ab", i == 99 ? MOED_FINISH_LENGTH : 0);
    next_frame(d, fd, &frame);
}

static void play_silence(struct daemon *d, int fd)
{
    struct ttrpc_frame frame;
    while (next_frame(d, fd, &frame))
        ;
}

static void play_hang_up(struct daemon *d, int fd)
{
    struct ttrpc_frame frame;
    next_frame(d, fd, &frame);
    send_event(fd, frame.stream, 0, "half", 0);
}

/* Sends on though nobody reads, and reads nothing more itself: the Cancel must come on another
 * connection. */
static void play_congestion(struct daemon *d, int fd)
{
    struct ttrpc_frame frame;
    assert_true(next_frame(d, fd, &frame));
    char *text = malloc(30001);
    memset(text, 'x', 30000);
    text[30000] = '\0';
    send_event(fd, frame.stream, 0, "first", 0);
    sem_wait(&d->go);
    for (uint64_t i = 1; i < 4; i++)
        send_event(fd, frame.stream, i, text, 0);
    free(text);
    int side = accept(d->listener, NULL, NULL);
    struct ttrpc_decoder mine = d->decoder;
    d->decoder = (struct ttrpc_decoder){0};
    d->n_rest = 0;
    assert_true(next_frame(d, side, &frame));
    Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame.n, frame.data);
    d->saw_cancel = strcmp(request->method, "Cancel") == 0;
    ttrpc__request__free_unpacked(request, NULL);
    while (next_frame(d, side, &frame))
        ;
    close(side);
    ttrpc_decoder_fini(&mine);
}

/* ---- tests */
static void test_lookup(void **state)
{
    (void)state;
    struct daemon d;
    struct moed *moed;
    struct moed_error error = MOED_ERROR_INIT;
    daemon_open(&d, play_pings);
    setenv("XDG_RUNTIME_DIR", d.folder, 1);
    setenv("MOED_SOCKET", "/nowhere/a.sock", 1);
    assert_int_equal(moed_open(NULL, &moed, &error), -ENOENT);
    assert_int_equal(error.status, MOED_UNAVAILABLE);
    assert_string_equal(error.message,
                        "no daemon answers at /nowhere/a.sock (No such file or directory)");
    assert_int_equal(moed_open("/nowhere/b.sock", &moed, &error), -ENOENT);
    assert_non_null(strstr(error.message, "b.sock"));
    setenv("MOED_SOCKET", "", 1); /* empty is not set */
    assert_int_equal(moed_open(NULL, &moed, &error), 0);
    assert_string_equal(moed_socket(moed), d.path);
    assert_true(fcntl(moed_fd(moed), F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(moed_fd(moed), F_GETFL) & O_NONBLOCK);
    moed_close(moed);
    daemon_close(&d);

    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(moed_open(longer, &moed, &error), -ENAMETOOLONG);
    unsetenv("MOED_SOCKET");
    setenv("XDG_RUNTIME_DIR", "/nowhere", 1);
    int r = moed_open(NULL, &moed, &error);
    if (r == 0)
        moed_close(moed); /* this machine runs a daemon */
    else
        assert_non_null(strstr(error.message, "/nowhere/moed/moed.sock (No such file or directory)"
                                              ", /run/moed/moed.sock ("));
    unsetenv("XDG_RUNTIME_DIR");
}

static void test_blocking(void **state)
{
    (void)state;
    struct daemon d;
    struct moed *moed;
    struct moed_call *call;
    daemon_open(&d, play_pings);
    assert_int_equal(moed_open(d.path, &moed, NULL), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(moed_ping(moed, &call, NULL), 0);
        assert_int_equal(moed_call_result(call, NULL), -EINPROGRESS);
        assert_int_equal(moed_next(call, NULL), -EINVAL);
        assert_int_equal(moed_wait(call, NULL), 0);
        moed_call_free(call);
    }
    moed_close(moed);
    daemon_close(&d);
}

static struct moed_call *generate(struct moed *moed)
{
    struct moed_call *call;
    struct moed_request *request = moed_request_new();
    assert_int_equal(moed_request_add_text(request, "x", 1), 0);
    assert_int_equal(moed_generate(moed, request, &call, NULL), 0);
    moed_request_free(request);
    return call;
}

static void test_next(void **state)
{
    (void)state;
    struct daemon d;
    struct moed *moed;
    daemon_open(&d, play_generation);
    assert_int_equal(moed_open(d.path, &moed, NULL), 0);
    struct moed_call *call = generate(moed);
    assert_int_equal(moed_wait(call, NULL), -EINVAL);
    int n = 0, r;
    while ((r = moed_next(call, NULL)) > 0)
        n += (int)moed_call_event(call)->text_bytes;
    assert_int_equal(r, 0);
    assert_int_equal(n, 200);
    assert_int_equal(moed_call_event(call)->finish, MOED_FINISH_LENGTH);
    moed_call_free(call);
    moed_close(moed);
    daemon_close(&d);
}

struct counted {
    struct moed *moed;
    int n, result;
};

static void on_event(struct moed_call *call, int result, void *arg)
{
    struct counted *c = arg;
    c->n += result == 1 ? (int)moed_call_event(call)->text_bytes : 0;
    c->result = result;
    assert_int_equal(moed_dispatch(c->moed), -EDEADLK);
}

static void test_event_loop(void **state)
{
    (void)state;
    struct daemon d;
    struct counted c = {.result = -1};
    daemon_open(&d, play_generation);
    assert_int_equal(moed_open(d.path, &c.moed, NULL), 0);
    struct moed_call *call = generate(c.moed);
    assert_int_equal(moed_call_on(call, on_event, &c), 0);
    assert_true(moed_events(c.moed) & POLLOUT);
    while (!moed_call_is_done(call)) {
        struct pollfd p = {.fd = moed_fd(c.moed), .events = moed_events(c.moed)};
        assert_true(p.events & POLLIN);
        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_true(moed_dispatch(c.moed) >= 0);
    }
    assert_int_equal(c.n, 200);
    assert_int_equal(c.result, 0);
    assert_int_equal(moed_call_on(call, on_event, &c), -EBUSY);
    moed_call_free(call);
    moed_close(c.moed);
    daemon_close(&d);
}

static void test_timeout(void **state)
{
    (void)state;
    struct daemon d;
    struct moed *moed;
    struct moed_call *call;
    struct moed_error error = MOED_ERROR_INIT;
    daemon_open(&d, play_silence);
    assert_int_equal(moed_open(d.path, &moed, NULL), 0);
    moed_set_timeout(moed, 30);
    assert_int_equal(moed_ping(moed, &call, NULL), 0);
    assert_int_equal(moed_wait(call, &error), -ETIMEDOUT);
    assert_int_equal(error.status, MOED_DEADLINE_EXCEEDED);
    moed_call_free(call);
    moed_close(moed);
    daemon_close(&d);
}

static void test_hang_up(void **state)
{
    (void)state;
    struct daemon d;
    struct moed *moed;
    struct moed_error error = MOED_ERROR_INIT;
    daemon_open(&d, play_hang_up);
    assert_int_equal(moed_open(d.path, &moed, NULL), 0);
    struct moed_call *call = generate(moed);
    assert_int_equal(moed_next(call, &error), 1);
    assert_int_equal(moed_next(call, &error), -ECONNRESET);
    assert_int_equal(error.status, MOED_UNAVAILABLE);
    daemon_close(&d);
    moed_close(moed);
    moed_call_free(call); /* after its connection */
}

/* Sending to a daemon that has gone raises no SIGPIPE: its default action would end this test. */
static void test_no_sigpipe(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    signal(SIGPIPE, SIG_DFL);
    peer_open(&p);
    close(p.fd);
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    assert_int_equal(moed_wait(call, NULL), -ECONNRESET);
    moed_call_free(call);
    p.fd = -1;
    peer_close(&p);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void test_signals_interrupt(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    struct sigaction action = {.sa_handler = on_alarm};
    struct timespec soon = {.tv_nsec = 20000000};
    struct itimerspec often = {.it_value = soon, .it_interval = soon};
    timer_t timer;
    sigaction(SIGALRM, &action, NULL);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    peer_open(&p);
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    timer_settime(timer, 0, &often, NULL);
    assert_int_equal(moed_wait(call, NULL), -EINTR);
    assert_false(moed_call_is_done(call));
    timer_delete(timer);
    moed_call_free(call);
    peer_close(&p);
}

static void test_cancel_on_a_fresh_connection(void **state)
{
    (void)state;
    struct daemon d;
    struct moed *moed;
    daemon_open(&d, play_congestion);
    assert_int_equal(moed_open(d.path, &moed, NULL), 0);
    struct moed_call *call = generate(moed);
    assert_int_equal(moed_next(call, NULL), 1);
    sem_post(&d.go);
    for (int unread = 0; unread < 80000;)
        assert_int_equal(ioctl(moed_fd(moed), FIONREAD, &unread), 0);
    moed_call_cancel(call);
    assert_int_equal(moed_call_result(call, NULL), -ECANCELED);
    moed_call_free(call);
    moed_close(moed);
    daemon_close(&d);
    assert_true(d.saw_cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_blocking),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_event_loop),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_signals_interrupt),
        cmocka_unit_test(test_cancel_on_a_fresh_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
