/* SPDX-License-Identifier: MIT
 *
 * Jobs on libuv's pool.
 */
#include "service/job.h"

#include <errno.h>
#include <stdlib.h>

#include "service/call.h"
#include "service/hub.h"

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
    if (job->call)
        job->done(job);
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
