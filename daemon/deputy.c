/* SPDX-License-Identifier: MIT */
#include "deputy.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "bus/bus.h"
#include "engine/models.h"
#include "model/model.h"
#include "service/access.h"
#include "service/service.h"

enum { FLUSH_MS = 20 }; /* between looks whether all is written */

/* ---- how things are */

static void on_state(void *arg, struct bus_state *ret)
{
    const struct deputy *d = arg;
    uint64_t done = 0, all = 0;
    bool loads = false, is_ready = false;
    *ret = (struct bus_state){.pressure = service_pressure(d->service)};
    for (int i = 0; i < models_count(d->models); i++) {
        const struct models_entry *entry = models_at(d->models, i);
        if (entry->state == MODELS_LOADING) {
            loads = true;
            done += entry->bytes_done;
            all += entry->bytes_all;
        }
        if (!entry->engine)
            continue;
        struct engine_stat stat;
        engine_stat(entry->engine, &stat);
        is_ready = true;
        ret->memory_bytes += model_info(entry->model)->weight_bytes + stat.cache_bytes;
        ret->running += stat.sequences;
        ret->waiting += stat.queued;
    }
    ret->loading_percent = !loads    ? 100
                           : all > 0 ? (uint32_t)(100.0 * (double)done / (double)all)
                                     : 0;
    ret->state = *d->draining ? "draining" : loads ? "loading" : is_ready ? "ready" : "idle";
}

static void on_models(void *arg, void (*each)(void *to, const struct bus_model *model), void *to)
{
    const struct deputy *d = arg;
    for (int i = 0; i < models_count(d->models); i++) {
        const struct models_entry *entry = models_at(d->models, i);
        bool loads = entry->state == MODELS_LOADING;
        if (entry->gone)
            continue;
        each(to, &(struct bus_model){
                     .name = entry->name,
                     .state = models_state_name(entry->state),
                     .error = entry->state == MODELS_FAILED ? entry->error.text : NULL,
                     .file_bytes = entry->file_bytes,
                     .bytes_done = loads ? entry->bytes_done : 0,
                     .bytes_all = loads ? entry->bytes_all : 0,
                     .is_active = !entry->in_folder || models_is_in_memory(entry->state),
                 });
    }
}

/* ---- what is to be done */

static void on_order(void *arg, enum service_order what, const char *model,
                     void (*done)(void *to, const struct err *err), void *to)
{
    const struct deputy *d = arg;
    service_order(d->service, what, model, done, to);
}

static int on_reload(void *arg, struct service_reloaded *ret, struct err *err)
{
    const struct deputy *d = arg;
    if (*d->draining)
        return err_set(err, -ESHUTDOWN, "draining: the daemon is going away");
    return d->reload(d->arg, ret, err);
}

/* ---- a machine that sleeps */

static void on_flush(uv_timer_t *timer)
{
    struct deputy *d = timer->data;
    uint64_t now = uv_hrtime();
    bool is_done = !models_is_flushing(d->models) && service_is_written(d->service);
    if (!is_done && now < d->flush_end_ns)
        return;
    double seconds = (double)(now - d->flush_began_ns) * 1e-9;
    uv_timer_stop(timer);
    if (is_done)
        log_about(LOG_LEVEL_INFO, "main", LOG_ABOUT(.event = EVENT_SLEEP),
                  "nothing is left to be written after %.2f s: the machine may sleep", seconds);
    else
        log_about(LOG_LEVEL_WARNING, "main", LOG_ABOUT(.event = EVENT_SLEEP),
                  "not all is written after %.2f s, and the machine waits no longer", seconds);
    bus_ready(d->bus);
}

static void on_sleep(void *arg, uint64_t within_ms)
{
    struct deputy *d = arg;
    d->flush_began_ns = uv_hrtime();
    d->flush_end_ns = d->flush_began_ns + within_ms * 1000000;
    models_flush(d->models, d->flush_end_ns);
    uv_timer_start(&d->flush, on_flush, FLUSH_MS, FLUSH_MS);
}

static void on_wake(void *arg)
{
    struct deputy *d = arg;
    int n = models_verify(d->models);
    log_about(LOG_LEVEL_INFO, "main", LOG_ABOUT(.event = EVENT_AWAKE),
              "the machine is awake again: kept weights of %d models are compared with their "
              "checksums",
              n);
}

/* ---- who may */

static enum bus_verdict on_judge(void *arg, uint32_t uid, const uint32_t *gids, int n_gids)
{
    const struct deputy *d = arg;
    const struct access_peer peer = {.uid = uid, .gids = gids, .n_gids = n_gids};
    struct access_verdict v = access_judge(*d->access, &peer);
    return !v.is_allowed ? BUS_DENIED : v.is_operator ? BUS_MAY : BUS_ASK;
}

/* ---- birth and death */

/* The unit of a system's systemd: it says whom it has started; a user's units know their folder. */
static bool is_unit(void)
{
    const char *pid = getenv("SYSTEMD_EXEC_PID");
    return pid && strtol(pid, NULL, 10) == (long)getpid() && !getenv("XDG_RUNTIME_DIR");
}

int deputy_open(struct deputy *d, const char *which, uv_loop_t *loop, struct err *err)
{
    const struct bus_hooks hooks = {.state = on_state,
                                    .models = on_models,
                                    .order = on_order,
                                    .reload = on_reload,
                                    .sleep = on_sleep,
                                    .wake = on_wake,
                                    .judge = on_judge,
                                    .arg = d};
    bool is_auto = strcmp(which, "auto") == 0, is_no = strcmp(which, "no") == 0;
    if (!is_auto && !is_no && strcmp(which, "system") != 0)
        return err_set(err, -EINVAL, "Bus=%s: expected auto, system or no", which);
    if (is_no || (is_auto && !is_unit()))
        return 0;
    int r = bus_open(loop, &hooks, &d->bus, err);
    if (r < 0)
        return r;
    uv_timer_init(loop, &d->flush);
    d->flush.data = d;
    return 0;
}

void deputy_touch(struct deputy *d)
{
    if (d->bus)
        bus_touch(d->bus);
}

const char *deputy_trouble(const struct deputy *d)
{
    return d->bus ? bus_trouble(d->bus) : "";
}

void deputy_close(struct deputy *d)
{
    if (!d->bus)
        return;
    uv_close((uv_handle_t *)&d->flush, NULL);
    bus_close(TAKE(d->bus));
}
