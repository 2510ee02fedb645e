/* SPDX-License-Identifier: MIT
 *
 * Listening sockets. Loop thread.
 *
 * A listener that cannot accept is taken out of the loop, else a waiting connection would spin it:
 * for a moment when descriptors ran out, until a connection closes when all places are taken.
 */
#include "service/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "service/conn.h"
#include "service/hub.h"

enum { ACCEPT_TURN = 16, NO_FDS_PAUSE_MS = 100, MOST_GROUPS = 1024 };

struct listener {
    struct listener *next;
    struct server *server;
    uv_poll_t poll;
    int fd, lock; /* lock -1: handed over, the path is not ours */
    char *path;   /* NULL likewise */
};

struct server {
    struct hub *hub;
    struct listener *listeners;
    uv_timer_t pause; /* after running out of descriptors */
    int spare;        /* given up for a moment to turn a connection away */
    int n_handles;
    bool is_full, is_pausing, is_closing;
};

static void on_listener(uv_poll_t *poll, int status, int events);

static void set_polls(struct server *server)
{
    bool listens = !server->is_full && !server->is_pausing && !server->is_closing;
    for (struct listener *l = server->listeners; l; l = l->next) {
        int r =
            listens ? uv_poll_start(&l->poll, UV_READABLE, on_listener) : uv_poll_stop(&l->poll);
        if (r < 0)
            log_error("service", "cannot poll a listening socket: %s", strerror(-r));
    }
}

static void on_pause_over(uv_timer_t *timer)
{
    struct server *server = timer->data;
    server->is_pausing = false;
    set_polls(server);
}

void server_room(struct server *server)
{
    if (!server || !server->is_full || server->hub->n_conns >= server->hub->config.max_connections)
        return;
    server->is_full = false;
    set_polls(server);
}

/* ---- accepting */
/* The kernel's list has the groups of connect time. More than these are nobody's business. */
static void groups_of(int fd, const struct ucred *cred, uint32_t *dst, int *n)
{
    socklen_t size = (socklen_t)((MOST_GROUPS - 1) * sizeof *dst);
    *n = 1;
    dst[0] = cred->gid;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, dst + 1, &size) == 0)
        *n += (int)(size / sizeof *dst);
}

static int n_conns_of(const struct hub *hub, uint32_t uid)
{
    const struct peer *peer = hub->peers;
    while (peer && peer->uid != uid)
        peer = peer->next;
    return peer ? peer->n_conns : 0;
}

static void welcome(struct hub *hub, int fd)
{
    struct ucred cred;
    socklen_t size = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
        hub_count(hub, COUNTER_REFUSED);
        close(fd);
        return;
    }
    uint32_t gids[MOST_GROUPS];
    struct access_peer peer = {.uid = cred.uid, .gids = gids};
    groups_of(fd, &cred, gids, &peer.n_gids);
    struct access_verdict verdict = access_judge(hub->config.access, &peer);
    int most = cred.uid == 0 ? hub->config.max_connections_root : hub->config.max_connections_uid;
    if (n_conns_of(hub, cred.uid) >= most) {
        hub_complain(hub, CAUSE_UID_LIMIT, LOG_ABOUT(.peer = &cred.uid),
                     "uid %u has %d connections and gets no more", cred.uid, most);
    } else {
        if (!verdict.is_allowed)
            hub_complain(hub, CAUSE_UID_REFUSED, LOG_ABOUT(.peer = &cred.uid),
                         "uid %u is not allowed here", cred.uid);
        int r = conn_new(hub, fd, cred.uid, &verdict);
        if (r < 0)
            hub_complain(hub, CAUSE_MEMORY, LOG_ABOUT(.peer = &cred.uid),
                         "cannot take a connection: %s", strerror(-r));
        return;
    }
    hub_count(hub, COUNTER_REFUSED);
    close(fd);
}

/* Turns one connection away by the spare descriptor, then leaves the others waiting for a moment.
 */
static void run_out(struct server *server, int listening, int error)
{
    hub_complain(server->hub, CAUSE_NO_FDS, LOG_ABOUT(.event = EVENT_NONE),
                 "cannot accept a connection: %s", strerror(error));
    hub_count(server->hub, COUNTER_REFUSED);
    if (server->spare >= 0) {
        close(server->spare);
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            close(fd);
        server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    server->is_pausing = true;
    uv_timer_start(&server->pause, on_pause_over, NO_FDS_PAUSE_MS, 0);
    set_polls(server);
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    struct server *server = l->server;
    struct hub *hub = server->hub;
    (void)events;
    if (status < 0)
        return;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        if (hub->n_conns >= hub->config.max_connections) {
            hub_complain(hub, CAUSE_FULL, LOG_ABOUT(.event = EVENT_NONE),
                         "all %d connections are taken", hub->n_conns);
            server->is_full = true;
            set_polls(server);
            return;
        }
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN)
                run_out(server, l->fd, errno);
            return;
        }
        welcome(hub, fd);
    }
}

/* ---- binding */
static int set_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof ret->sun_path)
        return err_set(err, -EINVAL, "socket path '%s' has %zu bytes, expected 1 to %zu", path, n,
                       sizeof ret->sun_path - 1);
    memcpy(ret->sun_path, path, n + 1);
    return 0;
}

static int take_lock(const char *path, struct err *err)
{
    char name[sizeof(struct sockaddr_un) + 8];
    snprintf(name, sizeof name, "%s.lock", path);
    OWN_FD fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return err_set(err, -EADDRINUSE, "another daemon holds '%s': it serves this socket",
                           name);
        return err_set(err, -errno, "cannot lock '%s': %s", name, strerror(errno));
    }
    return TAKE_FD(fd);
}

/* A socket on which nobody answers is left over from a daemon that was killed. */
static int remove_stale(const struct sockaddr_un *address, struct err *err)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : err_set(err, -errno, "cannot look at '%s': %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, -EEXIST, "'%s' exists and is not a socket", path);
    OWN_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN)
        return err_set(err, -EADDRINUSE, "another daemon answers on '%s'", path);
    if (errno != ECONNREFUSED)
        return err_set(err, -errno, "cannot tell whether '%s' is alive: %s", path, strerror(errno));
    if (unlink(path) < 0)
        return err_set(err, -errno, "cannot remove the dead socket '%s': %s", path,
                       strerror(errno));
    return 0;
}

static int bind_path(const struct sockaddr_un *address, struct err *err)
{
    OWN_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
    mode_t old = umask(0117); /* 0660 from the first moment on */
    int r = bind(fd, (const struct sockaddr *)address, sizeof *address);
    int error = errno;
    umask(old);
    if (r < 0)
        return err_set(err, -error, "cannot bind '%s': %s", address->sun_path, strerror(error));
    if (listen(fd, SOMAXCONN) < 0)
        return err_set(err, -errno, "cannot listen on '%s': %s", address->sun_path,
                       strerror(errno));
    return TAKE_FD(fd);
}

/* Takes both descriptors. */
static int add(struct server *server, int listening, int lock_fd, const char *path, struct err *err)
{
    OWN_FD fd = listening, lock = lock_fd;
    OWN_MEM struct listener *l = calloc(1, sizeof *l);
    OWN_MEM char *copy = path ? strdup(path) : NULL;
    if (!l || (path && !copy))
        return err_set(err, -ENOMEM, "no memory for a listener");
    int r = uv_poll_init(server->hub->loop, &l->poll, fd);
    if (r < 0)
        return err_set(err, r, "cannot poll the listening socket: %s", strerror(-r));
    l->server = server;
    l->poll.data = l;
    l->fd = TAKE_FD(fd);
    l->lock = TAKE_FD(lock);
    l->path = TAKE(copy);
    l->next = server->listeners;
    server->listeners = TAKE(l);
    server->n_handles++;
    set_polls(server);
    return 0;
}

int server_listen_path(struct server *server, const char *path, struct err *err)
{
    struct sockaddr_un address;
    int r = set_address(path, &address, err);
    if (r < 0)
        return r;
    OWN_FD lock = take_lock(path, err);
    if (lock < 0)
        return lock;
    r = remove_stale(&address, err);
    if (r < 0)
        return r;
    int fd = bind_path(&address, err);
    if (fd < 0)
        return fd;
    return add(server, fd, TAKE_FD(lock), path, err);
}

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

int server_listen_fd(struct server *server, int fd, struct err *err)
{
    OWN_FD own = fd;
    if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM ||
        socket_option(fd, SO_ACCEPTCONN) != 1)
        return err_set(err, -EINVAL,
                       "descriptor %d is not a listening Unix stream socket, as was expected", fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(err, -errno, "cannot set up descriptor %d: %s", fd, strerror(errno));
    return add(server, TAKE_FD(own), -1, NULL, err);
}

/* ---- birth and death */
int server_new(struct hub *hub, struct server **ret, struct err *err)
{
    OWN_MEM struct server *server = calloc(1, sizeof *server);
    if (!server)
        return err_set(err, -ENOMEM, "no memory for the server");
    server->hub = hub;
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_timer_init(hub->loop, &server->pause);
    server->pause.data = server;
    server->n_handles = 1;
    *ret = TAKE(server);
    return 0;
}

static void handle_gone(struct server *server)
{
    if (--server->n_handles == 0)
        free(server);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    struct server *server = l->server;
    close(l->fd);
    if (l->lock >= 0)
        close(l->lock);
    free(l->path);
    free(l);
    handle_gone(server);
}

static void on_pause_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

void server_close(struct server *server)
{
    if (!server)
        return;
    server->is_closing = true;
    set_polls(server);
    for (struct listener *l = server->listeners, *next; l; l = next) {
        next = l->next;
        if (l->path)
            unlink(l->path);
        uv_close((uv_handle_t *)&l->poll, on_listener_closed);
    }
    server->listeners = NULL;
    if (server->spare >= 0)
        close(server->spare);
    uv_close((uv_handle_t *)&server->pause, on_pause_closed);
}
