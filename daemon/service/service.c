/* SPDX-License-Identifier: MIT
 *
 * The life of the service: wiring, waking, draining, closing. Loop thread, but for service_wake().
 */
#include "service/service.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"
#include "engine/models.h"
#include "service/bridge.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/hub.h"
#include "service/idle.h"
#include "service/order.h"
#include "service/pressure.h"
#include "service/server.h"
#include "service/session.h"

enum {
    GRACE_MS = 2000, /* for engines to stop and last bytes to leave after the deadline */
    HASTE_MS = 200,  /* the same, when we were told twice */
    WATCH_MS = 50,   /* between looks at what a drain waits for */
};

struct service {
    struct hub hub; /* first: its callbacks find us by it */
    uv_async_t wake;
    uv_prepare_t prepare; /* settles what a turn left behind, before the loop waits */
    uv_timer_t drain;
    int n_handles;
    uint64_t drain_deadline_ms;
    uint64_t grace_ms;
    bool was_cut; /* the deadline has passed and everybody was told */
    void (*done)(void *arg);
    void *done_arg;
};

void service_config_init(struct service_config *config)
{
    *config = (struct service_config){
        .max_connections = 4096,
        .max_connections_uid = 64,
        .max_connections_root = 256,
        .max_calls = 128,
        .first_request_ms = 10 * 1000,
        .progress_ms = 10 * 1000,
        .frame_ms = 30 * 1000,
        .write_stall_ms = 30 * 1000,
        .slow_reader_ms = 30 * 1000,
        .stream_soft_bytes = 256 << 10,
        .connection_soft_bytes = 1 << 20,
        .connection_hard_bytes = 4 << 20,
        .request_bytes = 32 << 20,
        .all_bytes = 256 << 20,
        .max_sessions_uid = 256,
        .session_bytes_uid = 64 << 20,
        .session_bytes = 512 << 20,
    };
}

void service_wake(void *arg)
{
    struct service *service = arg;
    uv_async_send(&service->wake);
}

static void on_wake(uv_async_t *async)
{
    struct service *service = async->data;
    struct hub *hub = &service->hub;
    if (!hub->models)
        return;
    if (models_update(hub->models)) {
        hub_fit(hub);
        hub_change(hub);
    }
    sessions_poll(hub->sessions);
    if (bridge_poll(hub))
        uv_async_send(async); /* more is waiting: let the sockets have a turn first */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct service *service = prepare->data;
    hub_settle(&service->hub);
}

static void on_again(struct hub *hub)
{
    service_wake(hub);
}

/* Nothing is left that could call back: no handle, no connection, no job. */
static void on_gone(struct hub *hub)
{
    struct service *service = (struct service *)hub;
    bridge_forget(hub);
    sessions_free(hub->sessions);
    free(hub->uses);
    free(service);
}

/* ---- birth */
static int open_handles(struct service *service, uv_loop_t *loop, struct err *err)
{
    int r = uv_async_init(loop, &service->wake, on_wake);
    if (r < 0)
        return err_set(err, r, "cannot make the service's wake: %s", uv_strerror(r));
    uv_prepare_init(loop, &service->prepare);
    uv_timer_init(loop, &service->drain);
    service->wake.data = service->prepare.data = service->drain.data = service;
    service->n_handles = 3;
    uv_prepare_start(&service->prepare, on_prepare);
    uv_unref((uv_handle_t *)&service->prepare);
    return 0;
}

int service_new(uv_loop_t *loop, const struct service_config *config, struct service **ret,
                struct err *err)
{
    OWN_MEM struct service *service = calloc(1, sizeof *service);
    if (!service)
        return err_set(err, -ENOMEM, "no memory for the service");
    service->hub.loop = loop;
    service->hub.config = *config;
    service->hub.n_alive = 1;
    service->hub.gone = on_gone;
    service->hub.again = on_again;
    service->hub.started_ms = uv_now(loop);
    hub_random(service->hub.instance, sizeof service->hub.instance);
    struct server *server = NULL;
    int r = server_new(&service->hub, &server, err);
    if (r < 0)
        return r;
    r = open_handles(service, loop, err);
    if (r == 0)
        r = pressure_new(&service->hub, config->pressure_file, &service->hub.pressure, err);
    if (r == 0)
        r = idle_new(&service->hub, &service->hub.idle, err);
    if (r < 0) {
        server_close(server);
        return r;
    }
    service->hub.server = server;
    *ret = TAKE(service);
    return 0;
}

int service_start(struct service *service, struct models *models, struct err *err)
{
    struct hub *hub = &service->hub;
    assert(!hub->models);
    int r = sessions_open(hub, hub->config.keep_folder, &hub->sessions, err);
    if (r < 0)
        return r;
    hub->models = models;
    hub_fit(hub);
    service_wake(service); /* the loader may have been quicker */
    return 0;
}

void service_set_access(struct service *service, const struct access *access)
{
    service->hub.config.access = access;
}

void service_order(struct service *service, enum service_order what, const char *model,
                   void (*done)(void *arg, const struct err *err), void *arg)
{
    order_give(&service->hub, what, model, done, arg);
}

int service_listen_path(struct service *service, const char *path, struct err *err)
{
    return server_listen_path(service->hub.server, path, err);
}

int service_listen_fd(struct service *service, int fd, struct err *err)
{
    return server_listen_fd(service->hub.server, fd, err);
}

bool service_is_written(const struct service *service)
{
    return sessions_are_written(service->hub.sessions);
}

const char *service_pressure(const struct service *service)
{
    return rung_name(pressure_rung(service->hub.pressure));
}

/* ---- draining */
int service_running(const struct service *service)
{
    int n = 0;
    for (const struct conn *conn = service->hub.conns; conn; conn = conn->next)
        for (const struct call *call = conn->calls; call; call = call->next)
            n += !call->outlives_drain;
    return n;
}

static bool has_output(const struct hub *hub)
{
    for (const struct conn *conn = hub->conns; conn; conn = conn->next)
        if (conn->out.n > 0)
            return true;
    return false;
}

static void cut_calls(struct hub *hub)
{
    for (struct conn *conn = hub->conns; conn; conn = conn->next)
        for (struct call *call = conn->calls, *next; call; call = next) {
            next = call->next;
            call_drain(call);
        }
}

static void finish_drain(struct service *service)
{
    uv_timer_stop(&service->drain);
    void (*done)(void *) = TAKE(service->done);
    if (done)
        done(service->done_arg);
}

/* First wait for the calls, then cut what is left, then wait for the last bytes to leave. */
static void on_drain(uv_timer_t *timer)
{
    struct service *service = timer->data;
    struct hub *hub = &service->hub;
    uint64_t now = uv_now(hub->loop);
    bool is_late = now >= service->drain_deadline_ms;
    if (!service->was_cut && (is_late || service_running(service) == 0)) {
        service->was_cut = true;
        service->drain_deadline_ms = now + service->grace_ms;
        cut_calls(hub);
        return;
    }
    bool is_quiet = service_running(service) == 0 && hub->n_running == 0 && !has_output(hub);
    if (service->was_cut && (is_late || is_quiet))
        finish_drain(service);
}

void service_drain(struct service *service, int64_t deadline_ms, void (*done)(void *arg), void *arg)
{
    struct hub *hub = &service->hub;
    uint64_t deadline = uv_now(hub->loop) + (uint64_t)(deadline_ms > 0 ? deadline_ms : 0);
    if (hub->draining) {
        if (deadline < service->drain_deadline_ms)
            service->drain_deadline_ms = deadline;
        service->grace_ms = deadline_ms > 0 ? GRACE_MS : HASTE_MS;
        uv_timer_start(&service->drain, on_drain, 0, WATCH_MS);
        return;
    }
    hub->draining = true;
    hub_change(hub);
    service->done = done;
    service->done_arg = arg;
    service->drain_deadline_ms = deadline;
    service->grace_ms = GRACE_MS;
    log_info("service", "draining: %d calls are running", service_running(service));
    uv_timer_start(&service->drain, on_drain, 0, WATCH_MS);
}

/* ---- death */
static void on_closed(uv_handle_t *handle)
{
    struct service *service = handle->data;
    if (--service->n_handles == 0)
        hub_leave(&service->hub);
}

void service_close(struct service *service)
{
    if (!service)
        return;
    struct hub *hub = &service->hub;
    struct server *server = TAKE(hub->server);
    orders_close(hub);
    server_close(server);
    pressure_close(TAKE(hub->pressure));
    idle_close(TAKE(hub->idle));
    while (hub->conns)
        conn_close(hub->conns);
    sessions_stop(hub->sessions); /* what was told is on the disk; he wakes us until then */
    uv_prepare_stop(&service->prepare);
    uv_timer_stop(&service->drain);
    uv_close((uv_handle_t *)&service->wake, on_closed);
    uv_close((uv_handle_t *)&service->prepare, on_closed);
    uv_close((uv_handle_t *)&service->drain, on_closed);
}
