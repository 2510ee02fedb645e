/* SPDX-License-Identifier: MIT
 *
 * The list of desks has a lock, which is held while a job is done: who opens or closes a desk waits
 * for the disk, who sends or takes never does.
 */
#include "kv/porter.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/ring.h"
#include "base/thread.h"
#include "kv/page.h"

struct desk {
    struct porter *porter;
    struct ring *down, *up;
    void (*wake)(void *arg);
    void *arg;
    int jobs, n_out; /* the sender's */
    struct desk *next;
};

struct porter {
    struct store *store;
    pthread_t thread;
    bool started;
    atomic_bool stop;
    sem_t work;
    pthread_mutex_t lock;
    struct desk *desks;
    pthread_mutex_t stat_lock; /* held for a moment, also by who has the other */
    struct store_stat stat;
};

enum { TALK_ROOM = 17 };

/* The name of a session's rows. */
static void name_talk(uint64_t talk, char dst[TALK_ROOM])
{
    *dst = '\0';
    if (talk)
        snprintf(dst, TALK_ROOM, "%016" PRIx64, talk);
}

static void publish(struct porter *p)
{
    pthread_mutex_lock(&p->stat_lock);
    store_stat(p->store, &p->stat);
    pthread_mutex_unlock(&p->stat_lock);
}

static int keep(struct store *store, struct porter_job *job)
{
    char name[TALK_ROOM];
    name_talk(job->talk, name);
    struct rowfile_text text = {
        .token = job->token,
        .n_tokens = job->n_tokens,
        .n_rows = job->n_tokens,
        .answer = job->answer,
        .name = name,
    };
    int r = store_limit(store, job->key.uid, job->uid_bytes);
    if (r < 0)
        return err_set(&job->err, r, "no memory for uid %u", job->key.uid);
    r = store_put(store, &job->key, &text, job->page, &job->err);
    const struct kept *kept = r == 0 ? store_named(store, job->key.uid, name) : NULL;
    job->bytes = kept ? kept->bytes : 0;
    return r;
}

/* The bits of n rows, and zeros behind. */
static void copy_bits(uint8_t *to, int room, const uint8_t *from, int n)
{
    size_t bytes = ((size_t)n + 7) / 8;
    memcpy(to, from, bytes);
    memset(to + bytes, 0, ((size_t)room + 7) / 8 - bytes);
    if (n % 8)
        to[n / 8] &= (uint8_t)((1 << n % 8) - 1);
}

static bool same_bits(const uint8_t *a, const uint8_t *b, int n)
{
    return memcmp(a, b, (size_t)n / 8) == 0 &&
           (n % 8 == 0 || ((a[n / 8] ^ b[n / 8]) & ((1 << n % 8) - 1)) == 0);
}

/* Rows follow from those before them, so what goes on behind rows made otherwise is of no use. */
static int fetch(struct store *store, struct porter_job *job)
{
    const struct kept *kept;
    bool all = job->n_made == job->n_tokens;
    int n =
        store_find(store, &job->key, job->token, job->n_tokens, all ? job->answer : NULL, &kept);
    if (n <= job->n_known ||
        (!all && !same_bits(job->answer, kept->text->answer, job->n_made < n ? job->n_made : n)))
        return 0;
    copy_bits(job->answer, job->n_tokens, kept->text->answer, n);
    int r =
        store_get(store, kept, job->n_known / PAGE_TOKENS, rowfile_pages(n), job->page, &job->err);
    return r < 0 ? r : n;
}

/* One job of each desk; whether there was any. */
static bool round_of_desks(struct porter *p)
{
    bool any = false;
    pthread_mutex_lock(&p->lock);
    for (struct desk *desk = p->desks; desk; desk = desk->next) {
        struct porter_job job;
        if (!ring_pop(desk->down, &job))
            continue;
        any = true;
        job.result = job.task == PORTER_KEEP ? keep(p->store, &job) : fetch(p->store, &job);
        publish(p);
        if (!ring_push(desk->up, &job))
            abort(); /* it has room for all that were sent */
        desk->wake(desk->arg);
    }
    pthread_mutex_unlock(&p->lock);
    return any;
}

static void *porter_main(void *arg)
{
    struct porter *p = arg;
    pthread_mutex_lock(&p->lock);
    store_scan(p->store, NULL); /* what it cannot list it has not */
    publish(p);
    pthread_mutex_unlock(&p->lock);
    while (!atomic_load(&p->stop)) {
        if (round_of_desks(p))
            continue;
        while (sem_wait(&p->work) < 0) /* EINTR */
            ;
        while (sem_trywait(&p->work) == 0)
            ;
    }
    return NULL;
}

int porter_open(const char *folder, uint64_t most_bytes, struct porter **ret, struct err *err)
{
    OWN(porter) *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, -ENOMEM, "no memory for a porter");
    sem_init(&p->work, 0, 0);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->stat_lock, NULL);
    int r = store_open(folder, most_bytes, &p->store, err);
    if (r < 0)
        return r;
    r = thread_start(&p->thread, "moed-porter", porter_main, p);
    if (r < 0)
        return err_set(err, r, "cannot start the store's thread: %s", strerror(-r));
    p->started = true;
    *ret = TAKE(p);
    return 0;
}

void porter_close(struct porter *p)
{
    if (!p)
        return;
    if (p->started) {
        atomic_store(&p->stop, true);
        sem_post(&p->work);
        pthread_join(p->thread, NULL);
    }
    store_close(p->store);
    sem_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->stat_lock);
    free(p);
}

void porter_stat(struct porter *p, struct store_stat *ret)
{
    pthread_mutex_lock(&p->stat_lock);
    *ret = p->stat;
    pthread_mutex_unlock(&p->stat_lock);
}

int porter_let_go(struct porter *p, uint32_t uid, uint64_t talk, struct err *err)
{
    char name[TALK_ROOM];
    name_talk(talk, name);
    pthread_mutex_lock(&p->lock);
    const struct kept *kept = store_named(p->store, uid, name);
    int r = kept ? store_let_go(p->store, kept, err) : 0;
    publish(p);
    pthread_mutex_unlock(&p->lock);
    return r;
}

int porter_remove(struct porter *p, uint32_t uid, uint64_t talk, struct err *err)
{
    char name[TALK_ROOM];
    const struct kept *kept;
    int r = 0;
    name_talk(talk, name);
    pthread_mutex_lock(&p->lock);
    while (r == 0 && (kept = store_named(p->store, uid, name)))
        r = store_remove(p->store, kept, err);
    publish(p);
    pthread_mutex_unlock(&p->lock);
    return r;
}

int desk_open(struct porter *porter, int jobs, void (*wake)(void *arg), void *arg,
              struct desk **ret)
{
    OWN(desk) *desk = calloc(1, sizeof *desk);
    if (!desk || ring_new((size_t)jobs, sizeof(struct porter_job), &desk->down) < 0 ||
        ring_new((size_t)jobs, sizeof(struct porter_job), &desk->up) < 0)
        return -ENOMEM;
    desk->wake = wake;
    desk->arg = arg;
    desk->jobs = jobs;
    desk->porter = porter;
    pthread_mutex_lock(&porter->lock);
    desk->next = porter->desks;
    porter->desks = desk;
    pthread_mutex_unlock(&porter->lock);
    *ret = TAKE(desk);
    return 0;
}

void desk_close(struct desk *desk)
{
    if (!desk)
        return;
    if (desk->porter) {
        pthread_mutex_lock(&desk->porter->lock);
        struct desk **at = &desk->porter->desks;
        while (*at != desk)
            at = &(*at)->next;
        *at = desk->next;
        pthread_mutex_unlock(&desk->porter->lock);
    }
    ring_free(desk->down);
    ring_free(desk->up);
    free(desk);
}

bool desk_send(struct desk *desk, const struct porter_job *job)
{
    if (desk->n_out == desk->jobs || !ring_push(desk->down, job))
        return false;
    desk->n_out++;
    sem_post(&desk->porter->work);
    return true;
}

bool desk_take(struct desk *desk, struct porter_job *ret)
{
    if (!ring_pop(desk->up, ret))
        return false;
    desk->n_out--;
    return true;
}

int desk_n_out(const struct desk *desk)
{
    return desk->n_out;
}
