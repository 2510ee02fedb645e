/* SPDX-License-Identifier: MIT
 *
 * A helper's job: text work of one call on libuv's pool, away from the loop.
 *
 * Made, started and finished on the loop thread; `run` is on a helper and sees nothing but the job.
 * The call may go away meanwhile: then the result is thrown away, and a job that had not begun
 * never does. A job holds its model (hub_hold), so that an unload waits for it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"

struct call;
struct hub;
struct model;

struct job {
    uv_work_t work;
    struct hub *hub;
    struct call *call; /* NULL: nobody waits any more */
    int entry;         /* index of the model */
    const struct model *model;
    atomic_bool is_dropped;
    int code; /* of run: 0 or negative errno, words in err */
    struct err err;
    int (*run)(struct job *job);   /* on the helper */
    void (*done)(struct job *job); /* on the loop, if somebody waits: takes the result */
    void (*free)(struct job *job); /* on the loop, always: what the job holds, not the job */
};

/* `job` is the first member of what the caller allocated; it is freed here, also on failure. */
int job_start(struct job *job, struct call *call, int entry, const struct model *model);
/* The same with the model of that name, once it is found and open, or more (enum seek_want). The
 * call's data and hooks are the job's until `done`, which finds no data; or the call has been
 * failed, and nothing is done. `bytes` are charged to it. */
void job_seek(struct job *job, struct call *call, const char *model, unsigned want, uint64_t bytes);
/* The call is gone. */
void job_drop(struct job *job);
