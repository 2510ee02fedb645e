/* SPDX-License-Identifier: MIT
 *
 * What the objects of the service share: the loop, the models, who is connected, what is counted.
 *
 * Loop thread. struct service owns one; everything in the room borrows it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "service/counter.h"
#include "service/ration.h"
#include "service/service.h"

struct care;
struct voice;
struct conn;
struct embedding;
struct generation;
struct idle;
struct log_facts;
struct models;
struct models_entry;
struct order;
struct pressure;
struct server;
struct sessions;

enum {
    HUB_SCRATCH_BYTES = 64 << 10, /* what one read takes, shared by all connections */
    HUB_CALL_BUCKETS = 256,
    HUB_IDLE_MODELS = 4, /* of folders, open and not used: a vocabulary each */
};

/* Causes of log lines that clients can trigger. */
enum hub_cause {
    CAUSE_UID_LIMIT,
    CAUSE_UID_REFUSED,
    CAUSE_FULL,
    CAUSE_NO_FDS,
    CAUSE_NOT_TTRPC,
    CAUSE_TIMEOUT,
    CAUSE_SLOW,
    CAUSE_MEMORY,
    CAUSE_ENGINE,
    CAUSE_SESSION,
    N_CAUSES
};

struct peer { /* one for each uid that has connections */
    struct peer *next;
    uint32_t uid;
    int n_conns;
    int n_requests; /* calls that engines work for, open */
};

struct use {             /* of one model of struct models, by its index */
    int users;           /* jobs and generations that need it to stay as it is */
    bool unloading;      /* new users are refused; it goes when the last is gone */
    uint64_t last;       /* when somebody last sought it, by hub->n_sought */
    uint64_t worked_ms;  /* when an engine's work for it last ended, or it became what it is, ... */
    uint32_t generation; /* ... which is this of the entry: idle.h */
};

struct hub {
    uv_loop_t *loop;
    struct service_config config;
    struct models *models;
    struct server *server;
    struct sessions *sessions; /* NULL: before the start */
    struct pressure *pressure;
    struct idle *idle;
    int n_alive; /* the service itself, pressure, idle, connections, jobs: the last one frees */
    void (*gone)(struct hub *hub);
    void (*again)(struct hub *hub); /* something is left for the next loop turn */

    struct conn *conns;   /* all that are not closing */
    struct conn *touched; /* to be settled before the loop waits */
    int n_conns;          /* with those that are closing: descriptors in use */
    struct peer *peers;
    struct use *uses;
    int n_uses;
    uint64_t n_sought;
    struct generation *generations;          /* running ones */
    struct embedding *embeddings;            /* likewise */
    struct care *cares;                      /* likewise */
    int n_running;                           /* of all three */
    struct voice *by_call[HUB_CALL_BUCKETS]; /* by the engine's number */
    struct order *orders;                    /* that are not done */

    uint64_t held_bytes; /* what clients make us hold: input, requests, unsent output */
    uint64_t started_ms;
    bool draining;
    bool is_dirty; /* hub_settle has something to do */
    uint8_t instance[16];
    uint64_t counters[N_COUNTERS];
    struct ration rations[N_CAUSES];
    uint8_t scratch[HUB_SCRATCH_BYTES];
};

static inline void hub_count(struct hub *hub, enum counter_id id)
{
    hub->counters[id]++;
}

/* One line of warning, unless this cause has had its lines of this minute; the event is the
 * cause's. */
void hub_complain(struct hub *hub, enum hub_cause cause, const struct log_facts *about,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* One of n_alive is gone; nothing of the hub may be used after. */
void hub_leave(struct hub *hub);

/* Counts a connection of a uid in; NULL: no memory. */
struct peer *hub_peer(struct hub *hub, uint32_t uid);
void hub_peer_drop(struct hub *hub, struct peer *peer);

/* The index of an entry of the models. */
int hub_index(struct hub *hub, const struct models_entry *entry);
/* Room for all models there are by now. */
void hub_fit(struct hub *hub);
/* Somebody asked for it just now. */
void hub_touch_model(struct hub *hub, int entry);
/* A user holds an entry; after the last one let go of an unloading one, hub_settle unloads it. */
void hub_hold(struct hub *hub, int entry);
void hub_release(struct hub *hub, int entry);
/* The same of one whose engine worked until now. */
void hub_release_worked(struct hub *hub, int entry);
/* Unload as soon as nobody uses it; generations that run are stopped by the caller. */
void hub_unload(struct hub *hub, int entry);
/* It is on its way out, or will be when nobody uses it any more. */
bool hub_is_unloading(const struct hub *hub, int entry);
/* A model changed, or draining began: hub_settle will tell every call. */
void hub_change(struct hub *hub);
/* Before the loop waits: unloads, shuts, tells, settles connections, evicts. */
void hub_settle(struct hub *hub);

/* Random bytes from the kernel. */
void hub_random(void *dst, size_t bytes);
