/* SPDX-License-Identifier: MIT
 *
 * Two lists under a lock, which nobody holds while anything is done.
 */
#include "service/clerk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

struct jobs {
    struct clerk_job *first, **end;
};

struct clerk {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct jobs given, done;
    bool is_ending;
    int n; /* given and not told; the loop's */
    void (*wake)(void *arg);
    void *arg;
};

static void add(struct jobs *jobs, struct clerk_job *job)
{
    job->next = NULL;
    *jobs->end = job;
    jobs->end = &job->next;
}

static struct clerk_job *take(struct jobs *jobs)
{
    struct clerk_job *job = jobs->first;
    if (job && !(jobs->first = job->next))
        jobs->end = &jobs->first;
    return job;
}

static void *clerk_main(void *arg)
{
    struct clerk *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct clerk_job *job = take(&c->given);
        if (!job && c->is_ending)
            break;
        if (!job) {
            pthread_cond_wait(&c->work, &c->lock);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        job->run(job);
        pthread_mutex_lock(&c->lock);
        add(&c->done, job);
        c->wake(c->arg);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int clerk_open(void (*wake)(void *arg), void *arg, struct clerk **ret, struct err *err)
{
    struct clerk *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, -ENOMEM, "no memory for a clerk");
    c->wake = wake;
    c->arg = arg;
    c->given.end = &c->given.first;
    c->done.end = &c->done.first;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    int r = thread_start(&c->thread, "moed-clerk", clerk_main, c);
    if (r < 0) {
        free(c);
        return err_set(err, r, "cannot start the clerk's thread: %s", strerror(-r));
    }
    *ret = c;
    return 0;
}

void clerk_give(struct clerk *c, struct clerk_job *job)
{
    c->n++;
    pthread_mutex_lock(&c->lock);
    add(&c->given, job);
    pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
}

bool clerk_is_idle(const struct clerk *c)
{
    return c->n == 0;
}

bool clerk_poll(struct clerk *c)
{
    bool any = false;
    for (;;) {
        pthread_mutex_lock(&c->lock);
        struct clerk_job *job = take(&c->done);
        pthread_mutex_unlock(&c->lock);
        if (!job)
            return any;
        any = true;
        c->n--;
        job->done(job);
    }
}

void clerk_close(struct clerk *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_ending = true;
    pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    clerk_poll(c);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
