/* SPDX-License-Identifier: MIT
 *
 * The service: sockets, peers, streams and the methods of moed.v1.Engine, on one uv loop.
 *
 * Loop thread, but for service_wake(). It owns neither the models nor the loop. Order of birth:
 * service_new, models_new with a `changed` that leads to service_wake, service_start, listeners.
 * Order of death: service_drain, service_close, run the loop until it is empty, models_free.
 * Engines may call `changed` up to the end, service_wake() is not to be called after service_close.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"

struct access;
struct models;
struct service;

enum { SERVICE_MOST_NAMES = 64 };

/* Names of settings that changed; static strings. */
struct service_reloaded {
    const char *now[SERVICE_MOST_NAMES];     /* that count from now on */
    const char *later[SERVICE_MOST_NAMES];   /* for models that are loaded from now on */
    const char *restart[SERVICE_MOST_NAMES]; /* that need another start */
    int n_now, n_later, n_restart;
};

/* Every number has a default (service_config_init); the published ones appear in Hello. */
struct service_config {
    int max_connections;            /* 4096 */
    int max_connections_uid;        /* 64 */
    int max_connections_root;       /* 256 */
    int max_calls;                  /* 128: open calls of a connection at which reading stops */
    int64_t first_request_ms;       /* 10 s from connect to the first whole frame */
    int64_t progress_ms;            /* 10 s without a byte inside a frame ends the connection */
    int64_t frame_ms;               /* 30 s for a whole frame */
    int64_t write_stall_ms;         /* 30 s without a byte taken by the peer */
    int64_t slow_reader_ms;         /* 30 s above a soft limit end a stream */
    uint64_t stream_soft_bytes;     /* 256 KiB unsent: the stream's sequence is paused */
    uint64_t connection_soft_bytes; /* 1 MiB unsent: all its sequences are */
    uint64_t connection_hard_bytes; /* 4 MiB unsent: the connection ends */
    uint64_t request_bytes;         /* 32 MiB: the parts of one request */
    uint64_t all_bytes;             /* 256 MiB: what all clients make us hold */
    int max_sessions_uid;        /* 256: conversations of a user; a list of them is one message */
    uint64_t session_bytes_uid;  /* 64 MiB: in them */
    uint64_t session_bytes;      /* 512 MiB: in those of all users */
    const char *keep_folder;     /* borrowed; sessions are kept there; NULL: as long as we are */
    const char *pressure_file;   /* borrowed for service_new; how long tasks wait for memory; NULL,
                                    "": the group's and the machine's; "off": nobody looks */
    const struct access *access; /* borrowed; NULL: whoever can open the socket */
    /* What Reload does, and what came of it; NULL: there is nothing to reload. */
    int (*reload)(void *arg, struct service_reloaded *ret, struct err *err);
    /* What is not as usual, for who asks; "": nothing. NULL: the same. */
    const char *(*notice)(void *arg);
    /* A model changed, memory got short or less so, draining began; in the loop. NULL: nobody. */
    void (*changed)(void *arg);
    void *arg; /* of these */
};
void service_config_init(struct service_config *config);

/* Other rules, for those who connect from now on; the old ones may go then. */
void service_set_access(struct service *service, const struct access *access);

int service_new(uv_loop_t *loop, const struct service_config *config, struct service **ret,
                struct err *err);
/* Gives it the models it serves: once, before the first listener. Borrowed until closed. -ENOMEM,
 * -EAGAIN: no thread for its sessions. */
int service_start(struct service *service, struct models *models, struct err *err);
/**
 * Something happened in an engine or the loader.
 *
 *   thread  any
 */
void service_wake(void *service);

/**
 * Listen on a path. A socket that nobody answers on is replaced; a living one is not.
 *
 *   path    also takes "path.lock", held as long as the listener lives
 *   fails   -EADDRINUSE another daemon answers there; else what bind, chmod or listen said
 */
int service_listen_path(struct service *service, const char *path, struct err *err);
/* Listen on a socket handed over by the supervisor, which keeps the path. Takes the descriptor. */
int service_listen_fd(struct service *service, int fd, struct err *err);

/**
 * Refuse new calls with UNAVAILABLE "draining", tell the watchers, let what runs finish; what is
 * left at the deadline ends with FINISH_DRAINING and UNAVAILABLE. Then `done` is called, once, from
 * the loop. A second call only shortens the deadline (0: at once).
 */
void service_drain(struct service *service, int64_t deadline_ms, void (*done)(void *arg),
                   void *arg);
enum service_order {
    SERVICE_LIST,  /* list the folders once more */
    SERVICE_LOAD,  /* begin to load, unless it is loading or ready */
    SERVICE_UNLOAD /* end what runs on it, until it is gone */
};
/**
 * Do for somebody in this process what a call on the socket may ask for; who may is his business.
 *
 *   model   its name; "" is the first one; SERVICE_LIST wants none
 *   done    is called once, from the loop, perhaps before this returns: a code of 0, or why not
 */
void service_order(struct service *service, enum service_order what, const char *model,
                   void (*done)(void *arg, const struct err *err), void *arg);
/* Whether all changes of sessions are on the disk, where they are kept there. */
bool service_is_written(const struct service *service);
/* How short memory is: "calm", ... */
const char *service_pressure(const struct service *service);
/* How many calls run now, for status lines. */
int service_running(const struct service *service);

/* Ends every connection at once and closes the handles; the memory goes with the last handle, so
 * the loop must run once more. NULL is taken. */
void service_close(struct service *service);
