/* SPDX-License-Identifier: MIT
 *
 * Jobs on libuv's pool.
 */
#include "service/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/models.h"
#include "service/call.h"
#include "service/hub.h"
#include "service/seek.h"
#include "service/status.h"

static void on_work(uv_work_t *work)
{
    struct job *job = work->data;
    if (atomic_load(&job->is_dropped))
        job->code = -ECANCELED;
    else
        job->code = job->run(job);
}

static void after_work(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct hub *hub = job->hub;
    if (status < 0)
        job->code = -ECANCELED;
    if (job->call) {
        if (job->call->data == job)
            job->call->data = NULL;
        job->done(job);
    }
    hub_release(hub, job->entry);
    job->free(job);
    free(job);
    hub_leave(hub);
}

int job_start(struct job *job, struct call *call, int entry, const struct model *model)
{
    job->hub = call->hub;
    job->call = call;
    job->entry = entry;
    job->model = model;
    job->work.data = job;
    atomic_init(&job->is_dropped, false);
    int r = uv_queue_work(job->hub->loop, &job->work, on_work, after_work);
    if (r < 0) {
        job->free(job);
        free(job);
        return r;
    }
    job->hub->n_alive++;
    hub_hold(job->hub, entry);
    return 0;
}

void job_drop(struct job *job)
{
    job->call = NULL;
    atomic_store(&job->is_dropped, true);
    uv_cancel((uv_req_t *)&job->work); /* only if it has not begun; after_work comes either way */
}

/* ---- with the model that a request names */
static void on_end(struct call *call)
{
    if (call->data)
        job_drop(call->data);
}

static const struct call_hooks hooks = {.end = on_end};

/* While the model is sought, the job is not one of the pool's. */
static void on_end_before(struct call *call)
{
    struct job *job = call->data;
    if (job)
        job->free(job);
    free(job);
}

static const struct call_hooks hooks_before = {.end = on_end_before};

static void begin(struct call *call, struct models_entry *entry)
{
    struct job *job = TAKE(call->data);
    int r = job_start(job, call, hub_index(call->hub, entry), entry->model);
    if (r < 0) {
        call_fail(call, status_of(r), "cannot start work on the request: %s", strerror(-r));
        return;
    }
    call->data = job;
    call->hooks = &hooks;
}

void job_seek(struct job *job, struct call *call, const char *model, unsigned want, uint64_t bytes)
{
    call->data = job;
    call->hooks = &hooks_before;
    if (call_charge(call, bytes))
        seek(call, model, SEEK_OPEN | want, begin);
}
