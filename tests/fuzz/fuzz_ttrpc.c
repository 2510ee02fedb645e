/* SPDX-License-Identifier: MIT
 *
 * ttrpc: any bytes, in any pieces, on a connection of the real service with scripted models.
 *
 * An input is chunks: a length byte (from 250 on: that many less 249, times 256) and the bytes.
 * Promised: the same bytes give the same frames however they are split; what comes back is ttrpc;
 * after the peer has left no connection, call, generation or byte is held.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

#include "base/log.h"
#include "base/own.h"
#include "engine/models.h"
#include "fake_models.h"
#include "service/bridge.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/pressure.h"
#include "service/session.h"
#include "target.h"
#include "ttrpc.h"
#include "ttrpc.pb-c.h"

static uv_loop_t loop;
static uv_async_t woken; /* keeps a turn from waiting for ever, and brings the engines' news */
static struct hub hub;
static int n_idle; /* who lives when nobody has connected */

static void on_woken(uv_async_t *async)
{
    (void)async;
    if (models_update(hub.models))
        hub_change(&hub);
    if (bridge_poll(&hub))
        uv_async_send(&woken);
}

static void on_changed(void *arg)
{
    (void)arg;
    uv_async_send(&woken);
}

static void on_again(struct hub *h)
{
    (void)h;
    uv_async_send(&woken);
}

static void turn(uv_run_mode mode)
{
    hub_settle(&hub);
    uv_run(&loop, mode);
    hub_settle(&hub);
}

static void begin(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    setenv("UV_THREADPOOL_SIZE", "1", 1);
    uv_loop_init(&loop);
    uv_async_init(&loop, &woken, on_woken);
    service_config_init(&hub.config);
    hub.loop = &loop;
    hub.n_alive = 1;
    hub.again = on_again;
    PROMISE(pressure_new(&hub, "off", &hub.pressure, NULL) == 0);
    n_idle = hub.n_alive;
    PROMISE(models_new(NULL, on_changed, NULL, &hub.models, NULL) == 0);
    hub.n_uses = models_count(hub.models);
    hub.uses = calloc((size_t)hub.n_uses, sizeof *hub.uses);
    models_load(hub.models, models_at(hub.models, 0), NULL);
    while (models_at(hub.models, 0)->state != MODELS_READY)
        turn(UV_RUN_ONCE);
}

/* ---- the pieces */
static size_t chunk_bytes(const uint8_t **data, size_t *left)
{
    size_t n = **data < 250 ? **data : (size_t)(**data - 249) * 256;
    (*data)++;
    (*left)--;
    return n < *left ? n : *left;
}

struct digest { /* of the frames of an input */
    uint64_t sum;
    int n, r;
};

static void decode(struct ttrpc_decoder *decoder, const uint8_t *bytes, size_t n,
                   struct digest *digest)
{
    struct ttrpc_frame f;
    while (digest->r >= 0 && (digest->r = ttrpc_decode(decoder, &bytes, &n, &f)) == 1) {
        digest->n++;
        digest->sum = digest->sum * 31 + f.stream + f.type * 7u + f.flags + f.n;
        for (size_t i = 0; f.data && i < f.n; i++)
            digest->sum = digest->sum * 31 + f.data[i];
    }
}

static void check_splits(const uint8_t *data, size_t left)
{
    struct ttrpc_decoder split = {0}, bytewise = {0};
    struct digest a = {0}, b = {0};
    while (left > 0) {
        size_t n = chunk_bytes(&data, &left);
        decode(&split, data, n, &a);
        for (size_t i = 0; i < n; i++)
            decode(&bytewise, data + i, 1, &b);
        data += n;
        left -= n;
    }
    PROMISE(a.sum == b.sum && a.n == b.n && (a.r < 0) == (b.r < 0));
    ttrpc_decoder_fini(&split);
    ttrpc_decoder_fini(&bytewise);
}

/* ---- what comes back */
static void check_frame(const struct ttrpc_frame *f)
{
    PROMISE(!f->oversize);
    if (f->type == TTRPC_DATA) {
        PROMISE(f->flags == 0 || (f->flags == (TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA) && f->n == 0));
        PROMISE(f->stream % 2 == 1);
        return;
    }
    PROMISE(f->type == TTRPC_RESPONSE && f->flags == 0);
    PROMISE(ttrpc_check(&ttrpc__response__descriptor, f->data, f->n, NULL) == 0);
}

/* False: the service has closed. */
static bool read_back(int fd, struct ttrpc_decoder *decoder)
{
    static uint8_t buf[65536];
    ssize_t n;
    while ((n = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
        const uint8_t *at = buf;
        size_t left = (size_t)n;
        struct ttrpc_frame f;
        int r;
        while ((r = ttrpc_decode(decoder, &at, &left, &f)) == 1)
            check_frame(&f);
        PROMISE(r == 0);
    }
    return n < 0;
}

static void converse(int fd, const uint8_t *data, size_t left)
{
    struct ttrpc_decoder decoder = {0};
    bool open = true;
    while (left > 0 && open) {
        size_t n = chunk_bytes(&data, &left);
        open = n == 0 || send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
        data += n;
        left -= n;
        turn(UV_RUN_NOWAIT);
        open = read_back(fd, &decoder) && open;
    }
    for (int i = 0; i < 3 && open; i++) { /* helpers and the engine answer a little later */
        turn(UV_RUN_NOWAIT);
        open = read_back(fd, &decoder);
    }
    ttrpc_decoder_fini(&decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!hub.models)
        begin();
    check_splits(data, bytes);
    PROMISE(sessions_open(&hub, NULL, &hub.sessions, NULL) == 0);
    int pair[2];
    PROMISE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    PROMISE(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
    const struct access_verdict nobody_special = {.is_allowed = true}; /* may not load or unload */
    PROMISE(conn_new(&hub, pair[0], 12345, &nobody_special) == 0);
    turn(UV_RUN_NOWAIT);
    converse(pair[1], data, bytes);
    close(pair[1]);
    while (hub.n_conns > 0 || hub.n_running > 0 || hub.n_alive > n_idle)
        turn(UV_RUN_ONCE);
    PROMISE(!hub.conns && !hub.touched && !hub.peers);
    PROMISE(hub.held_bytes == 0);
    PROMISE(fake_n_requests() == 0);
    for (int i = 0; i < hub.n_uses; i++)
        PROMISE(hub.uses[i].users == 0);
    sessions_free(TAKE(hub.sessions));
    return 0;
}
