/* SPDX-License-Identifier: MIT
 *
 * A list under a lock that nobody holds for long: the loop reads it, and marks what is to go.
 */
#include "engine/pins.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "kv/view.h"

enum { USER_SHARE = 8, ALL_SHARE = 4 };

struct pin {
    TAILQ_ENTRY(pin) beside;
    uint32_t uid;
    uint64_t talk;
    atomic_bool is_over; /* the loop says so */
    int n;
    struct page *page[];
};

struct pins {
    struct page_pool *pool;
    uint64_t page_bytes;
    pthread_mutex_t lock;
    TAILQ_HEAD(, pin) list; /* the oldest first; changed under the lock */
    atomic_bool has_over;
    int n_pages; /* of all */
};

int pins_open(struct page_pool *pool, uint64_t page_bytes, struct pins **ret)
{
    struct pins *pins = calloc(1, sizeof *pins);
    if (!pins)
        return -ENOMEM;
    pins->pool = pool;
    pins->page_bytes = page_bytes;
    pthread_mutex_init(&pins->lock, NULL);
    TAILQ_INIT(&pins->list);
    *ret = pins;
    return 0;
}

static struct pin *find(const struct pins *pins, uint32_t uid, uint64_t talk)
{
    struct pin *pin;
    TAILQ_FOREACH (pin, &pins->list, beside)
        if (pin->uid == uid && pin->talk == talk && !pin->is_over)
            return pin;
    return NULL;
}

static void pull(struct pins *pins, struct pin *pin)
{
    pthread_mutex_lock(&pins->lock);
    TAILQ_REMOVE(&pins->list, pin, beside);
    pthread_mutex_unlock(&pins->lock);
    for (int i = 0; i < pin->n; i++)
        page_unref(pins->pool, pin->page[i]);
    pins->n_pages -= pin->n;
    free(pin);
}

void pins_close(struct pins *pins)
{
    if (!pins)
        return;
    while (!TAILQ_EMPTY(&pins->list))
        pull(pins, TAILQ_FIRST(&pins->list));
    pthread_mutex_destroy(&pins->lock);
    free(pins);
}

/* Pages that a session's pin may have beside the others, and of whom the limit is. */
static int n_allowed(const struct pins *pins, uint32_t uid, uint64_t talk, bool *is_all)
{
    int total = page_pool_total(pins->pool);
    int user = total / USER_SHARE, all = total / ALL_SHARE;
    const struct pin *pin;
    TAILQ_FOREACH (pin, &pins->list, beside) {
        if (pin->uid == uid && pin->talk == talk)
            continue;
        all -= pin->n;
        user -= pin->uid == uid ? pin->n : 0;
    }
    *is_all = all < user;
    int least = *is_all ? all : user;
    return least > 0 ? least : 0;
}

int pins_check(const struct pins *pins, uint32_t uid, uint64_t talk, int pages, struct err *err)
{
    bool is_all;
    int allowed = n_allowed(pins, uid, talk, &is_all);
    if (pages <= allowed)
        return 0;
    int most = page_pool_total(pins->pool) / (is_all ? ALL_SHARE : USER_SHARE);
    return err_set(err, -ENOSPC,
                   "the session has %llu bytes in memory, and %llu are left of the %llu that %s "
                   "may pin: unpin others",
                   (unsigned long long)((uint64_t)pages * pins->page_bytes),
                   (unsigned long long)((uint64_t)allowed * pins->page_bytes),
                   (unsigned long long)((uint64_t)most * pins->page_bytes),
                   is_all ? "all users" : "you");
}

int pins_put(struct pins *pins, const struct view *view, int pages, struct page *end, int spared)
{
    bool is_all;
    int n = pages + (end != NULL), most = n_allowed(pins, view->uid, view->talk, &is_all);
    struct pin *old = find(pins, view->uid, view->talk);
    int left = pins_n_left(pins) + (old ? old->n : 0) - spared;
    if (left < most)
        most = left;
    if (n > most)
        n = most > 0 ? most : 0;
    struct pin *pin = calloc(1, sizeof *pin + (size_t)n * sizeof *pin->page);
    if (!pin)
        return -ENOMEM;
    pin->uid = view->uid;
    pin->talk = view->talk;
    pin->n = n;
    for (int i = 0; i < n; i++) {
        pin->page[i] = i < pages ? view->page[i] : end;
        page_ref(pins->pool, pin->page[i]);
    }
    pins->n_pages += n;
    pthread_mutex_lock(&pins->lock);
    TAILQ_INSERT_TAIL(&pins->list, pin, beside);
    pthread_mutex_unlock(&pins->lock);
    if (old)
        pull(pins, old);
    return 0;
}

void pins_drop(struct pins *pins, uint32_t uid, uint64_t talk)
{
    struct pin *pin = find(pins, uid, talk);
    if (pin)
        pull(pins, pin);
}

int pins_n_left(const struct pins *pins)
{
    return page_pool_total(pins->pool) - page_pool_pinned(pins->pool) - pins->n_pages;
}

int pins_n_pages(const struct pins *pins)
{
    return pins->n_pages;
}

void pins_leave(struct pins *pins, int pages)
{
    while (pins_n_left(pins) < pages && !TAILQ_EMPTY(&pins->list))
        pull(pins, TAILQ_FIRST(&pins->list));
}

void pins_sweep(struct pins *pins)
{
    if (!atomic_load_explicit(&pins->has_over, memory_order_relaxed))
        return;
    pthread_mutex_lock(&pins->lock);
    atomic_store(&pins->has_over, false);
    pthread_mutex_unlock(&pins->lock);
    for (struct pin *pin = TAILQ_FIRST(&pins->list), *next; pin; pin = next) {
        next = TAILQ_NEXT(pin, beside);
        if (pin->is_over)
            pull(pins, pin);
    }
}

/* ------------------------------------------------------------------ any thread */

uint64_t pins_bytes(struct pins *pins, uint32_t uid, uint64_t talk)
{
    pthread_mutex_lock(&pins->lock);
    const struct pin *pin = find(pins, uid, talk);
    uint64_t bytes = pin ? (uint64_t)pin->n * pins->page_bytes : 0;
    pthread_mutex_unlock(&pins->lock);
    return bytes;
}

void pins_end(struct pins *pins, uint32_t uid, uint64_t talk)
{
    pthread_mutex_lock(&pins->lock);
    struct pin *pin = find(pins, uid, talk);
    if (pin) {
        pin->is_over = true;
        atomic_store(&pins->has_over, true);
    }
    pthread_mutex_unlock(&pins->lock);
}
