/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "service/ration.h"

enum { WAIT_S = 5, MESSAGE_BYTES = 1 + VAULT_NAME_BYTES };

/* ------------------------------------------------------------------ messages */

static int send_message(int sock, char what, const char *name, int fd)
{
    char text[MESSAGE_BYTES];
    int n = snprintf(text, sizeof text, "%c%s", what, name);
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct iovec part = {text, (size_t)n};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.space;
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    }
    return sendmsg(sock, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* 0 at the end of the connection, else the letter; a descriptor that came along, or -1. */
static int receive_message(int sock, char name[MESSAGE_BYTES], int *fd)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {name, MESSAGE_BYTES - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    *fd = -1;
    ssize_t n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(head), sizeof *fd);
    char what = name[0];
    memmove(name, name + 1, (size_t)n - 1);
    name[n - 1] = '\0';
    return what;
}

static int make_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret->sun_path)
        return err_set(err, -ENAMETOOLONG, "'%s' has more than %zu bytes", path,
                       sizeof ret->sun_path - 1);
    strcpy(ret->sun_path, path);
    return 0;
}

/* ------------------------------------------------------------------ the helper */

struct holding {
    char name[MESSAGE_BYTES];
    int fd;
};

struct helper {
    struct holding held[VAULT_MOST];
    int n;
    int client; /* -1: nobody */
    struct ration ration;
};

static void drop(struct helper *h, const char *name)
{
    for (int i = h->n - 1; i >= 0; i--)
        if (!strcmp(h->held[i].name, name)) {
            close(h->held[i].fd);
            h->held[i] = h->held[--h->n];
        }
}

/* False: the client is not worth listening to any more. */
static bool answer(struct helper *h)
{
    char name[MESSAGE_BYTES];
    OWN_FD fd = -1;
    int what = receive_message(h->client, name, &fd), r = 0;
    switch (what) {
    case 'K':
        if (fd < 0 || h->n == VAULT_MOST)
            return false;
        strcpy(h->held[h->n].name, name);
        h->held[h->n++].fd = TAKE_FD(fd);
        return true;
    case 'D':
        drop(h, name);
        return true;
    case 'T':
        for (int i = 0; i < h->n && r == 0; i++)
            r = send_message(h->client, 'F', h->held[i].name, h->held[i].fd);
        return r == 0 && send_message(h->client, 'E', "", -1) == 0;
    case 'S':
        return send_message(h->client, 'E', "", -1) == 0;
    default:
        return false;
    }
}

static void serve(struct helper *h)
{
    if (answer(h))
        return;
    close(h->client);
    h->client = -1;
}

static void set_patience(int sock)
{
    const struct timeval wait = {.tv_sec = WAIT_S};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

/* Whoever can open the socket can try as often as he likes. */
static void say_turned_away(struct helper *h, uid_t uid)
{
    struct timespec now;
    uint32_t kept_back;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!ration_take(&h->ration, 1000 * (uint64_t)now.tv_sec, &kept_back))
        return;
    if (kept_back > 0)
        log_warning("keeper", "uid %u was turned away (and %u lines like it were kept back)",
                    (unsigned)uid, kept_back);
    else
        log_warning("keeper", "uid %u was turned away", (unsigned)uid);
}

static void welcome(struct helper *h, int listener)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    OWN_FD fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return;
    if (peer.uid != geteuid()) {
        say_turned_away(h, peer.uid);
        return;
    }
    if (h->client >= 0)
        return; /* it sees the end of its connection */
    set_patience(fd);
    h->client = TAKE_FD(fd);
}

static int listen_at(const char *path, struct err *err)
{
    struct sockaddr_un address;
    int r = make_address(path, &address, err);
    if (r < 0)
        return r;
    OWN_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    OWN_FD probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || probe < 0)
        return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
    if (connect(probe, (const struct sockaddr *)&address, sizeof address) == 0)
        return err_set(err, -EADDRINUSE, "another helper serves '%s'", path);
    if (errno == ECONNREFUSED)
        unlink(path);
    mode_t mask = umask(0077);
    r = bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0
            ? -errno
            : 0;
    umask(mask);
    return r < 0 ? err_set(err, r, "cannot listen at '%s': %s", path, strerror(-r)) : TAKE_FD(fd);
}

static int watch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

int keeper_serve(const char *path)
{
    static struct helper helper = {.client = -1};
    struct helper *h = &helper;
    struct err err;
    OWN_FD signals = watch_signals();
    OWN_FD listener = listen_at(path, &err);
    if (listener < 0) {
        fprintf(stderr, "moed: %s\n", err.text);
        return EXIT_FAILURE;
    }
    log_info("keeper", "holding memory for moed --vault %s", path);
    for (;;) {
        struct pollfd at[] = {{signals, POLLIN, 0}, {h->client, POLLIN, 0}, {listener, POLLIN, 0}};
        if (poll(at, 3, -1) < 0 && errno != EINTR)
            break;
        if (at[0].revents)
            break;
        if (at[1].revents)
            serve(h);
        if (!at[2].revents)
            continue;
        while (h->client >= 0 && poll(&at[1], 1, 0) > 0) /* who died makes room for who comes */
            serve(h);
        welcome(h, listener);
    }
    unlink(path);
    log_info("keeper", "ended, and %d descriptors with it", h->n);
    return EXIT_SUCCESS;
}

/* ------------------------------------------------------------------ the daemon's end */

struct link {
    int sock;
    pthread_mutex_t lock; /* of a question and its answer */
    char words[160];
};

static int link_keep(void *arg, const char *name, int fd)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->lock);
    int r = send_message(link->sock, 'K', name, fd);
    pthread_mutex_unlock(&link->lock);
    return r;
}

static void link_drop(void *arg, const char *name)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->lock);
    send_message(link->sock, 'D', name, -1);
    pthread_mutex_unlock(&link->lock);
}

static void link_settle(void *arg)
{
    struct link *link = arg;
    char name[MESSAGE_BYTES];
    int fd;
    pthread_mutex_lock(&link->lock);
    if (send_message(link->sock, 'S', "", -1) == 0)
        receive_message(link->sock, name, &fd);
    pthread_mutex_unlock(&link->lock);
}

int keeper_connect(const char *path, const struct vault_keeper **ret, struct err *err)
{
    static struct link link = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct vault_keeper keeper = {
        .words = link.words,
        .arg = &link,
        .keep = link_keep,
        .drop = link_drop,
        .settle = link_settle,
    };
    struct sockaddr_un address;
    int r = make_address(path, &address, err);
    if (r < 0)
        return r;
    OWN_FD sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (const struct sockaddr *)&address, sizeof address) < 0)
        return err_set(err, -errno, "no helper answers at '%s' (%s): start moed --vault-socket %s",
                       path, strerror(errno), path);
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid())
        return err_set(err, -EPERM, "the helper at '%s' is somebody else's", path);
    set_patience(sock);
    link.sock = TAKE_FD(sock);
    snprintf(link.words, sizeof link.words, "the helper at %s", path);
    *ret = &keeper;
    return 0;
}

int keeper_take(const struct vault_keeper *keeper,
                void (*kept)(void *arg, const char *name, int fd), void *arg, struct err *err)
{
    struct link *link = keeper->arg;
    char name[MESSAGE_BYTES];
    int what, fd, r = send_message(link->sock, 'T', "", -1);
    while (r == 0 && (what = receive_message(link->sock, name, &fd)) != 'E') {
        if (what == 'F' && fd >= 0) {
            kept(arg, name, fd);
            continue;
        }
        if (fd >= 0)
            close(fd);
        r = what < 0 ? what : -EBUSY;
    }
    if (r == -EBUSY || r == -EPIPE || r == -ECONNRESET)
        return err_set(err, -EBUSY, "%s serves another daemon", link->words);
    return r < 0 ? err_set(err, r, "%s does not answer: %s", link->words, strerror(-r)) : 0;
}
