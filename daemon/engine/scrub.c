/* SPDX-License-Identifier: MIT */
#include "engine/scrub.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

#include "base/log.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "model/kept.h"
#include "model/model.h"
#include "model/parts.h"

struct scrub {
    struct scrub_config config;
    const struct sums *sums;
    sem_t wish; /* to stop, or to hurry */
    atomic_bool stops, is_asked;
    pthread_t thread;
    atomic_uint_fast64_t bytes, rounds, broken, mended;

    /* The thread's: where it is. */
    XXH3_state_t *state;
    int at;
    size_t offset; /* in that matrix */
    uint64_t steps, moved_ns;
    bool hurries;
    uint64_t had_broken; /* when it began to */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Until then, or a wish. False: it is over. */
static bool wait_until(struct scrub *s, uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    while (sem_clockwait(&s->wish, CLOCK_MONOTONIC, &t) < 0 && errno == EINTR)
        ;
    return !atomic_load(&s->stops);
}

static bool is_idle(struct scrub *s)
{
    struct engine_stat stat;
    engine_stat(s->config.engine, &stat);
    uint64_t now = now_ns();
    if (stat.steps != s->steps || stat.sequences > 0)
        s->moved_ns = now;
    s->steps = stat.steps;
    return now - s->moved_ns >= (uint64_t)s->config.idle_ms * 1000000;
}

/* The checksum of a matrix is wrong: memory has changed under us. */
static void mend(struct scrub *s, int at)
{
    struct err err = {0};
    char words[128];
    model_matrix_words(s->config.model, at, words, sizeof words);
    if (atomic_fetch_add(&s->broken, 1) == 0)
        s->config.broken(s->config.arg);
    int r = model_mend(s->config.model, at, &err);
    if (r < 0) {
        log_about(
            LOG_LEVEL_ERROR, "models",
            LOG_ABOUT(.event = EVENT_WEIGHTS_BROKEN, .model = model_info(s->config.model)->name),
            "model '%s': %s broke in memory, and stays so: %s", model_info(s->config.model)->name,
            words, err.text);
        return;
    }
    atomic_fetch_add(&s->mended, 1);
    log_about(LOG_LEVEL_WARNING, "models",
              LOG_ABOUT(.event = EVENT_WEIGHTS_BROKEN, .model = model_info(s->config.model)->name),
              "model '%s': %s broke in memory and was read from the file again",
              model_info(s->config.model)->name, words);
}

/* A piece of a matrix, or several small ones. False: the round is over. */
static bool look_on(struct scrub *s)
{
    size_t left = SCRUB_PIECE;
    while (left > 0 && s->at < s->sums->n) {
        const struct sums_at *at = &s->sums->at[s->at];
        size_t n = at->bytes - s->offset < left ? at->bytes - s->offset : left;
        if (s->offset == 0)
            XXH3_64bits_reset(s->state);
        XXH3_64bits_update(s->state, at->data + s->offset, n);
        s->offset += n;
        left -= n;
        atomic_fetch_add_explicit(&s->bytes, n, memory_order_relaxed);
        if (s->offset < at->bytes)
            break;
        if (XXH3_64bits_digest(s->state) != s->sums->sum[s->at])
            mend(s, s->at);
        s->offset = 0;
        s->at++;
    }
    return s->at < s->sums->n;
}

static void tell_of_hurry(struct scrub *s)
{
    const char *name = model_info(s->config.model)->name;
    if (s->hurries && atomic_load(&s->broken) == s->had_broken)
        log_about(LOG_LEVEL_INFO, "models",
                  LOG_ABOUT(.event = EVENT_WEIGHTS_VERIFIED, .model = name),
                  "model '%s': all weights have their checksums", name);
    s->hurries = false;
}

/* When the next piece is to be looked at. */
static uint64_t next_ns(struct scrub *s)
{
    uint64_t now = now_ns();
    bool at_once = atomic_load(&s->is_asked) || (s->hurries && is_idle(s));
    return at_once ? now : now + (uint64_t)s->config.pace_ms * 1000000;
}

static void *scrub_main(void *arg)
{
    struct scrub *s = arg;
    uint64_t begun = now_ns();
    s->moved_ns = begun;
    while (wait_until(s, next_ns(s))) {
        if (atomic_exchange(&s->is_asked, false)) {
            begun = now_ns();
            s->at = 0;
            s->offset = 0;
            s->hurries = true;
            s->had_broken = atomic_load(&s->broken);
        }
        if ((!is_idle(s) && !s->hurries) || look_on(s))
            continue;
        atomic_fetch_add(&s->rounds, 1);
        tell_of_hurry(s);
        s->at = 0;
        if (!wait_until(s, begun + s->config.every_ns))
            break;
        begun = now_ns();
    }
    return NULL;
}

int scrub_start(const struct scrub_config *config, struct scrub **ret, struct err *err)
{
    struct scrub *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "no memory to look at weights");
    s->config = *config;
    s->sums = &model_loaded(config->model)->sums;
    s->state = XXH3_createState();
    sem_init(&s->wish, 0, 0);
    int r = s->state ? thread_start(&s->thread, "moed-scrub", scrub_main, s) : -ENOMEM;
    if (r < 0) {
        XXH3_freeState(s->state);
        sem_destroy(&s->wish);
        free(s);
        return err_set(err, r, "cannot start looking at weights: %s", strerror(-r));
    }
    *ret = s;
    return 0;
}

void scrub_stat(const struct scrub *s, struct scrub_stat *ret)
{
    *ret = (struct scrub_stat){0};
    if (!s)
        return;
    ret->bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
    ret->rounds = atomic_load(&s->rounds);
    ret->broken = atomic_load(&s->broken);
    ret->mended = atomic_load(&s->mended);
}

void scrub_hurry(struct scrub *s)
{
    atomic_store(&s->is_asked, true);
    sem_post(&s->wish);
}

void scrub_stop(struct scrub *s)
{
    if (!s)
        return;
    atomic_store(&s->stops, true);
    sem_post(&s->wish);
    pthread_join(s->thread, NULL);
    XXH3_freeState(s->state);
    sem_destroy(&s->wish);
    free(s);
}
