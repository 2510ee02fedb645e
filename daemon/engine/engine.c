/* SPDX-License-Identifier: MIT
 *
 * Two halves that share the rings and the slots' flags: the loop's, which fills slots and drains
 * events, and the thread that drives a stepper.
 */
#include "engine/engine.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ring.h"
#include "base/thread.h"
#include "engine/outbox.h"
#include "engine/pins.h"
#include "engine/request.h"
#include "engine/slots.h"
#include "engine/stepper.h"
#include "model/model.h"
#include "place/place.h"

struct command {
    uint64_t call;
    struct engine_request *request;
    uint64_t submitted_ns;
};

struct engine {
    struct model *model;
    struct place *place;
    struct stepper *stepper;
    struct ring *commands;
    struct slots slots;
    struct outbox outbox;
    sem_t work;
    atomic_bool stop, rests;
    atomic_uint_fast64_t save_until_ns, flush_until_ns; /* 0: no wish */
    atomic_uint turns;                                  /* of the thread */
    atomic_uint given, taken;                           /* requests */
    pthread_t thread;
    bool started;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The engine's thread has something to look at. */
static void nudge(struct engine *e)
{
    stepper_nudge(e->stepper);
    sem_post(&e->work);
}

/* ------------------------------------------------------------------ the engine's thread */

static void accept_commands(struct engine *e)
{
    struct command c;
    while (ring_pop(e->commands, &c)) {
        atomic_fetch_add_explicit(&e->taken, 1, memory_order_relaxed);
        stepper_accept(e->stepper, c.call, c.request, c.submitted_ns);
    }
}

static void wait_until(struct engine *e, uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    if (ns != UINT64_MAX)
        sem_clockwait(&e->work, CLOCK_MONOTONIC, &t);
    else
        while (sem_wait(&e->work) < 0) /* EINTR */
            ;
    while (sem_trywait(&e->work) == 0) /* wishes that came during steps are one wish */
        ;
}

static void save_the_rest(struct engine *e)
{
    uint64_t end = atomic_load(&e->save_until_ns);
    while (now_ns() < end && stepper_save(e->stepper))
        wait_until(e, end);
}

/* One talk is on its way at a time. When there is no other, or it is too late, the wish is
 * forgotten, unless it is a new one. Until when one may sleep. */
static uint64_t flush(struct engine *e)
{
    uint64_t end = atomic_load(&e->flush_until_ns);
    if (end == 0)
        return UINT64_MAX;
    if (now_ns() < end && stepper_flush(e->stepper))
        return end;
    atomic_compare_exchange_strong(&e->flush_until_ns, &end, 0);
    return UINT64_MAX;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    place_drive(e->place);
    while (!atomic_load(&e->stop)) {
        atomic_fetch_add_explicit(&e->turns, 1, memory_order_relaxed);
        accept_commands(e);
        bool has_stepped = stepper_step(e->stepper);
        uint64_t flushed = flush(e);
        if (has_stepped)
            continue;
        uint64_t until = stepper_rest(e->stepper);
        if (flushed < until)
            until = flushed;
        atomic_store(&e->rests, true);
        wait_until(e, until);
        atomic_store(&e->rests, false);
    }
    save_the_rest(e);
    accept_commands(e);
    stepper_end(e->stepper);
    return NULL;
}

/* ------------------------------------------------------------------ open and close */

static void porter_is_back(void *arg)
{
    nudge(arg);
}

static int start_thread(struct engine *e)
{
    int r = thread_start(&e->thread, "moed-engine", engine_main, e);
    e->started = r == 0;
    return r;
}

int engine_open(struct model *model, struct place *place, const struct engine_config *config,
                void (*wake)(void *arg), void *arg, struct engine **ret, struct err *err)
{
    struct engine *made = aligned_alloc(64, (sizeof *made + 63) / 64 * 64);
    if (!made)
        return err_set(err, -ENOMEM, "no memory for an engine");
    memset(made, 0, sizeof *made);
    OWN(engine) *e = made;
    e->model = model;
    e->place = place;
    sem_init(&e->work, 0, 0);
    int calls = config->max_sequences + config->max_queue;
    int r = outbox_init(&e->outbox, wake, arg);
    if (r == 0)
        r = slots_init(&e->slots, calls);
    if (r == 0)
        r = ring_new((size_t)calls, sizeof(struct command), &e->commands);
    if (r < 0)
        return err_set(err, r, "no memory for an engine of %d sequences", config->max_sequences);
    r = stepper_open(model, place, config, &e->slots, &e->outbox, porter_is_back, e, &e->stepper,
                     err);
    if (r < 0)
        return r;
    r = start_thread(e);
    if (r < 0)
        return err_set(err, r, "cannot start the engine's thread: %s", strerror(-r));
    *ret = TAKE(e);
    return 0;
}

void engine_save(struct engine *e, uint64_t until_ns)
{
    atomic_store(&e->save_until_ns, until_ns);
}

void engine_flush(struct engine *e, uint64_t until_ns)
{
    atomic_store(&e->flush_until_ns, until_ns);
    sem_post(&e->work);
}

bool engine_is_flushing(const struct engine *e)
{
    return atomic_load(&e->flush_until_ns) > 0;
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    if (e->started) {
        outbox_close(&e->outbox);
        atomic_store(&e->stop, true);
        sem_post(&e->work);
        pthread_join(e->thread, NULL);
    }
    stepper_close(e->stepper);
    ring_free(e->commands);
    outbox_fini(&e->outbox);
    sem_destroy(&e->work);
    slots_fini(&e->slots);
    free(e);
}

/* ------------------------------------------------------------------ the loop's side */

int engine_submit(struct engine *e, struct engine_request *request, uint64_t *call, struct err *err)
{
    int r = request_check(request, model_vocab(e->model), stepper_context(e->stepper), err);
    if (r < 0)
        return r;
    uint64_t now = now_ns();
    const struct slot *slot = slots_take(&e->slots, now);
    if (!slot)
        return err_set(err, -EBUSY, "%d requests are running or waiting, no more are taken",
                       e->slots.n_calls);
    struct command c = {.call = slot->call, .request = request, .submitted_ns = now};
    if (!ring_push(e->commands, &c))
        abort(); /* it has room for every slot */
    *call = slot->call;
    atomic_fetch_add_explicit(&e->given, 1, memory_order_relaxed);
    nudge(e);
    return 0;
}

void engine_cancel(struct engine *e, uint64_t call)
{
    struct slot *slot = slots_find(&e->slots, call);
    if (!slot)
        return;
    atomic_store(&slot->cancelled, true);
    nudge(e);
}

void engine_pause(struct engine *e, uint64_t call, bool paused)
{
    struct slot *slot = slots_find(&e->slots, call);
    if (!slot)
        return;
    atomic_store(&slot->paused, paused);
    nudge(e);
}

void engine_press(struct engine *e, enum rung rung)
{
    if (stepper_press(e->stepper, rung))
        nudge(e);
}

uint64_t engine_pinned_bytes(struct engine *e, uint32_t uid, uint64_t talk)
{
    return pins_bytes(stepper_pins(e->stepper), uid, talk);
}

void engine_unpin(struct engine *e, uint32_t uid, uint64_t talk)
{
    pins_end(stepper_pins(e->stepper), uid, talk);
    nudge(e);
}

bool engine_poll(struct engine *e, struct engine_event *ret)
{
    if (!outbox_pop(&e->outbox, ret))
        return false;
    struct slot *slot = slots_find(&e->slots, ret->call);
    if (slot && ret->kind == ENGINE_DONE)
        slots_give_back(&e->slots, slot);
    return true;
}

uint64_t engine_retry_ns(const struct engine *e)
{
    return stepper_end_pace_ns(e->stepper);
}

bool engine_look(const struct engine *e, uint64_t call, struct engine_look *ret)
{
    const struct slot *slot = slots_find(&e->slots, call);
    if (!slot)
        return false;
    uint64_t begun = atomic_load(&slot->begun_ns), first = atomic_load(&slot->first_ns);
    uint64_t now = now_ns(); /* behind them: it would not be later than what the engine notes now */
    *ret = (struct engine_look){
        .position = begun ? 0 : atomic_load(&slot->position),
        .n_cached = atomic_load(&slot->n_cached),
        .n_read = atomic_load(&slot->n_read),
        .queue_ns = (begun ? begun : now) - slot->taken_ns,
        .prefill_ns = begun ? (first ? first : now) - begun : 0,
        .decode_ns = first ? now - first : 0,
    };
    return true;
}

const void *engine_cache(const struct engine *e, size_t *bytes)
{
    return stepper_cache(e->stepper, bytes);
}

const struct meters *engine_meters(const struct engine *e)
{
    return stepper_meters(e->stepper);
}

struct usage *engine_usage(const struct engine *e)
{
    return stepper_usage(e->stepper);
}

void engine_pulse(const struct engine *e, struct engine_pulse *ret)
{
    const struct place_ops *ops = e->place->ops;
    ret->works =
        ops->beat && (!atomic_load(&e->rests) || atomic_load(&e->given) != atomic_load(&e->taken));
    ret->beat = atomic_load_explicit(&e->turns, memory_order_relaxed);
    if (ops->beat)
        ret->beat += ops->beat(e->place);
}

void engine_stat(const struct engine *e, struct engine_stat *ret)
{
    stepper_stat(e->stepper, ret);
}
