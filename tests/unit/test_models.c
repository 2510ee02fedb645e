/* SPDX-License-Identifier: MIT
 *
 * The life of a model: loaded, failed, unloaded, loaded again, closed at any moment; and what is
 * said when memory or a thread cannot be had (leaks show under the address sanitizer).
 *
 *     test_models V3.gguf V2.gguf      toys of F32
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../fixture/edit.h"
#include "engine/models.h"
#include "model/model.h"
#include "place/place.h"

static const char *v3_path, *v2_path;

/* ------------------------------------------------------------------ what fails */

struct failure {
    atomic_long left;     /* calls until the one that fails; negative: none does */
    atomic_bool for_ever; /* and all that follow */
};
static struct failure memory = {.left = -1}, threads = {.left = -1};

static atomic_long n_allocations;

static bool fails_now(struct failure *f)
{
    atomic_fetch_add(&n_allocations, 1);
    if (atomic_load(&f->left) < 0)
        return false;
    if (atomic_fetch_sub(&f->left, 1) > 0)
        return false;
    atomic_store(&f->left, atomic_load(&f->for_ever) ? 0 : -1);
    return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);

void *__wrap_malloc(size_t bytes)
{
    return fails_now(&memory) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails_now(&memory) ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails_now(&memory) ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails_now(&memory) ? NULL : __real_aligned_alloc(alignment, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails_now(&memory) ? NULL : __real_strdup(text);
}

void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!fails_now(&memory))
        return __real_mmap64(at, bytes, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap64(at, bytes, protection, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    return fails_now(&threads) ? EAGAIN : __real_pthread_create(ret, attr, run, arg);
}

/* ------------------------------------------------------------------ a loop */

static sem_t changes;

static void changed(void *arg)
{
    (void)arg;
    sem_post(&changes);
}

static const struct models_config usual = {
    .place = "cpu",
    .threads = 3,
    .engine = {.max_sequences = 4, .max_queue = 4, .step_rows = 16},
};

static struct models *list(const struct models_config *config, const char *path)
{
    struct models *m;
    struct err err = {0};
    if (models_new(config, changed, NULL, &m, &err) < 0 || models_add(m, path, &err) < 0)
        fail_msg("%s", err.text);
    return m;
}

static void wait_for_change(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    assert_int_equal(sem_timedwait(&changes, &until), 0);
}

static enum models_state settle(struct models *m, struct models_entry *entry)
{
    while (entry->state == MODELS_LOADING || entry->state == MODELS_UNLOADING) {
        wait_for_change();
        models_update(m);
    }
    return entry->state;
}

static void unload(struct models *m, struct models_entry *entry)
{
    struct err err = {0};
    assert_int_equal(models_unload(m, entry, &err), 0);
    assert_null(entry->engine);
    assert_int_equal(settle(m, entry), MODELS_UNLOADED);
}

static struct engine_request *request(void)
{
    struct engine_request *q = engine_request_new();
    if (!q)
        return NULL;
    q->prompt = calloc(8, sizeof *q->prompt);
    if (!q->prompt) {
        engine_request_free(q);
        return NULL;
    }
    q->n_prompt = 8;
    for (int i = 0; i < 8; i++)
        q->prompt[i] = 100 + i;
    q->max_tokens = 6;
    q->ignore_end = true;
    q->sample.temperature = 0;
    q->sample.repetition_penalty = 1.1f;
    return q;
}

/* One answer; false if there was no memory for it. */
static bool answers(struct engine *engine)
{
    struct engine_request *q = request();
    struct engine_event event;
    struct err err = {0};
    uint64_t call;
    if (!q)
        return false;
    int r = engine_submit(engine, q, &call, &err);
    if (r < 0) {
        assert_int_equal(r, -ENOMEM);
        engine_request_free(q);
        return false;
    }
    for (;;) {
        while (!engine_poll(engine, &event))
            wait_for_change();
        if (event.kind != ENGINE_DONE)
            continue;
        if (event.finish != ENGINE_ERROR)
            assert_int_equal(event.n_tokens, 6);
        else
            assert_non_null(strstr(event.text, "memory"));
        return event.finish != ENGINE_ERROR;
    }
}

/* ------------------------------------------------------------------ tests */

static void a_model_comes_and_goes(void **state)
{
    (void)state;
    struct err err;
    struct models *m = list(&usual, v3_path);
    assert_int_equal(models_add(m, v2_path, &err), 0);
    assert_int_equal(models_add(m, v3_path, &err), -EEXIST);
    assert_int_equal(models_count(m), 2);
    struct models_entry *v3 = models_find(m, NULL), *v2 = models_find(m, "toy-v2");
    assert_ptr_equal(v3, models_find(m, "toy-v3"));
    assert_null(models_find(m, "toy"));
    assert_int_equal(v3->state, MODELS_UNLOADED);
    unload(m, v3);

    for (int round = 0; round < 5; round++) {
        uint32_t generation = v3->generation;
        assert_int_equal(models_load(m, v3, &err), 0);
        assert_int_equal(models_load(m, v2, &err), 0); /* both at once */
        assert_int_equal(models_load(m, v3, &err), 0); /* it is on its way */
        assert_int_equal(models_unload(m, v3, &err), -EBUSY);
        assert_int_equal(settle(m, v3), MODELS_READY);
        assert_int_equal(settle(m, v2), MODELS_READY);
        assert_true(v3->generation >= generation + 2);
        assert_true(models_at(m, 0)->bytes_done == models_at(m, 0)->bytes_all);
        assert_true(answers(v3->engine));
        assert_true(answers(v2->engine));
        assert_int_equal(models_unload(m, v3, &err), 0);
        assert_int_equal(v3->state, MODELS_UNLOADING);
        assert_null(v3->engine);
        assert_int_equal(models_load(m, v3, &err), -EBUSY); /* it is on its way */
        assert_int_equal(settle(m, v3), MODELS_UNLOADED);
        assert_true(answers(v2->engine));
        unload(m, v2);
    }
    models_free(m);
}

static void a_file_that_changed_fails(void **state)
{
    (void)state;
    struct err err;
    struct edit e = edit_read(v3_path);
    struct models *m = list(&usual, edit_write(&e));
    struct models_entry *entry = models_at(m, 0);
    assert_int_equal(truncate(e.path, (off_t)e.bytes / 2), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(models_load(m, entry, &err), 0);
        assert_int_equal(settle(m, entry), MODELS_FAILED);
        assert_true(entry->error.code < 0);
        assert_non_null(strstr(entry->error.text, e.path));
        assert_null(entry->engine);
    }
    unload(m, entry);
    models_free(m);
    edit_fini(&e);
}

static void a_place_that_is_not_there(void **state)
{
    (void)state;
    static const struct {
        const char *place, *isa, *cache, *word;
    } cases[] = {
        {"moon", NULL, NULL, "moon"}, {"cpu", "sse9", NULL, "sse9"}, {"cpu", NULL, "int7", "int7"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct models_config config = usual;
        struct err err;
        config.place = cases[i].place;
        config.isa = cases[i].isa;
        config.cache = cases[i].cache;
        struct models *m = list(&config, v3_path);
        struct models_entry *entry = models_at(m, 0);
        assert_int_equal(models_load(m, entry, &err), 0);
        assert_int_equal(settle(m, entry), MODELS_FAILED);
        assert_non_null(strstr(entry->error.text, cases[i].word));
        models_free(m);
    }
}

static void a_cache_too_small(void **state)
{
    (void)state;
    struct models_config config = usual;
    struct err err;
    config.engine.cache_bytes = 1000;
    struct models *m = list(&config, v3_path);
    assert_int_equal(models_load(m, models_at(m, 0), &err), 0);
    assert_int_equal(settle(m, models_at(m, 0)), MODELS_FAILED);
    assert_non_null(strstr(models_at(m, 0)->error.text, "1000"));
    models_free(m);
}

static void closed_at_any_moment(void **state)
{
    (void)state;
    for (long ns = 0; ns < 40000000; ns += 1 + ns / 2) {
        struct err err;
        struct models *m = list(&usual, v3_path);
        assert_int_equal(models_load(m, models_at(m, 0), &err), 0);
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        if (ns % 2)
            models_update(m);
        models_free(m);
    }
}

/* Paused or not, cancelled or not: closing ends all calls. */
static void unloaded_in_the_middle(void **state)
{
    (void)state;
    struct err err;
    struct models *m = list(&usual, v3_path);
    struct models_entry *entry = models_at(m, 0);
    for (int round = 0; round < 8; round++) {
        assert_int_equal(models_load(m, entry, &err), 0);
        assert_int_equal(settle(m, entry), MODELS_READY);
        for (int i = 0; i < 8; i++) {
            struct engine_request *q = request();
            uint64_t call;
            q->max_tokens = 0;
            assert_int_equal(engine_submit(entry->engine, q, &call, &err), 0);
            if (i % 3 == 0)
                engine_pause(entry->engine, call, true);
            if (i % 4 == 0)
                engine_cancel(entry->engine, call);
        }
        nanosleep(&(struct timespec){.tv_nsec = round * 3000000}, NULL);
        unload(m, entry);
    }
    models_free(m);
}

static void the_null_place_answers(void **state)
{
    (void)state;
    struct models_config config = usual;
    struct err err;
    config.place = "null";
    struct models *m = list(&config, v3_path);
    struct models_entry *entry = models_at(m, 0);
    assert_int_equal(models_load(m, entry, &err), 0);
    assert_int_equal(settle(m, entry), MODELS_READY);
    for (int i = 0; i < 20; i++)
        assert_true(answers(entry->engine));
    models_free(m);
}

/* The n-th allocation from the load on fails, then all from the n-th on, until none does. */
static void memory_runs_out(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool for_ever = i % 2;
        struct models *m = list(&usual, i / 2 ? v2_path : v3_path); /* v2 is turned and unpacked */
        struct models_entry *entry = models_at(m, 0);
        struct err err;
        int n_failed = 0, n_silent = 0;
        bool through = false;
        for (long n = 0; !through; n += 1 + n / 25) {
            atomic_store(&memory.for_ever, for_ever);
            atomic_store(&memory.left, n);
            assert_int_equal(models_load(m, entry, &err), 0);
            enum models_state end = settle(m, entry);
            bool answered = end == MODELS_READY && answers(entry->engine);
            through = atomic_exchange(&memory.left, -1) > 0;
            if (end == MODELS_FAILED)
                assert_int_equal(entry->error.code, -ENOMEM);
            n_failed += end == MODELS_FAILED;
            n_silent += end == MODELS_READY && !answered;
            if (end == MODELS_READY)
                assert_true(answers(entry->engine)); /* it lives on */
            unload(m, entry);
        }
        assert_true(n_failed > 10);
        assert_true(n_silent > 0);
        models_free(m);
    }
}

/* From the first token to the last, with everything on that remembers or looks back. */
static void steps_allocate_nothing(void **state)
{
    (void)state;
    struct models *m = list(&usual, v3_path);
    struct models_entry *entry = models_at(m, 0);
    struct engine_event event;
    struct err err;
    uint64_t call;
    assert_int_equal(models_load(m, entry, &err), 0);
    assert_int_equal(settle(m, entry), MODELS_READY);
    struct engine_request *q = request();
    q->max_tokens = 300; /* many pages */
    q->top_logprobs = ENGINE_MAX_TOP;
    q->sample.temperature = 1;
    q->sample.top_k = 40;
    q->sample.top_p = 0.9f;
    q->n_stops = 1;
    q->stops = calloc(1, sizeof *q->stops);
    q->stops[0] = strdup("never said");
    assert_int_equal(engine_submit(entry->engine, q, &call, &err), 0);
    while (!engine_poll(entry->engine, &event))
        wait_for_change();
    long before = atomic_load(&n_allocations);
    int n = 1;
    while (event.kind != ENGINE_DONE) {
        if (!engine_poll(entry->engine, &event))
            wait_for_change();
        else
            n++;
    }
    assert_true(n > 300);
    assert_int_equal(atomic_load(&n_allocations), before);
    models_free(m);
}

static void no_thread_can_be_had(void **state)
{
    (void)state;
    struct models *m = list(&usual, v3_path);
    struct models_entry *entry = models_at(m, 0);
    struct err err;
    atomic_store(&threads.left, 0);
    assert_int_equal(models_load(m, entry, &err), -EAGAIN);
    assert_int_equal(entry->state, MODELS_UNLOADED);
    assert_int_equal(models_load(m, entry, &err), 0);
    assert_int_equal(settle(m, entry), MODELS_READY);
    atomic_store(&threads.left, 0);
    unload(m, entry);              /* the loop does it */
    for (int n = 1; n <= 5; n++) { /* two workers, two that help to load, the engine */
        atomic_store(&threads.left, n);
        assert_int_equal(models_load(m, entry, &err), 0);
        if (n == 3 || n == 4) { /* nobody is missed */
            assert_int_equal(settle(m, entry), MODELS_READY);
            unload(m, entry);
            continue;
        }
        assert_int_equal(settle(m, entry), MODELS_FAILED);
        assert_int_equal(entry->error.code, -EAGAIN);
        assert_non_null(strstr(entry->error.text, n < 3 ? "worker" : "engine"));
    }
    atomic_store(&threads.left, -1);
    assert_int_equal(models_load(m, entry, &err), 0);
    assert_int_equal(settle(m, entry), MODELS_READY);
    assert_true(answers(entry->engine));
    models_free(m);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    v3_path = argv[1];
    v2_path = argv[2];
    sem_init(&changes, 0, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_comes_and_goes),    cmocka_unit_test(a_file_that_changed_fails),
        cmocka_unit_test(a_place_that_is_not_there), cmocka_unit_test(a_cache_too_small),
        cmocka_unit_test(closed_at_any_moment),      cmocka_unit_test(unloaded_in_the_middle),
        cmocka_unit_test(the_null_place_answers),    cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(steps_allocate_nothing),    cmocka_unit_test(no_thread_can_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
