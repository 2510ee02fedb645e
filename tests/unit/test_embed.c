/* SPDX-License-Identifier: MIT
 *
 * Embeddings of an engine: the same numbers whatever else there is in a step.
 *
 *     test_embed MODEL.gguf REFERENCE.json
 */
#include "engine_bench.h"

#include "model/hparams.h"

enum { N_LENGTHS = 5, MOST_DIMS = 4096 };
static const int lengths[N_LENGTHS] = {1, 2, 33, 150, 401};

struct vector {
    uint64_t call;
    float value[MOST_DIMS];
    int n;
    bool done;
    struct engine_event last;
};

static struct engine_request *text(int n)
{
    struct engine_request *q = long_prompt(n);
    q->is_embedding = true;
    q->max_tokens = 1;
    return q;
}

static void take_values(struct vector *v, const struct engine_event *event)
{
    assert_false(v->done);
    if (event->kind == ENGINE_READING)
        return;
    assert_true(event->kind == ENGINE_VALUES || event->kind == ENGINE_DONE);
    if (event->kind == ENGINE_DONE) {
        v->last = *event;
        v->done = true;
        return;
    }
    assert_true(v->n + event->n_values <= MOST_DIMS);
    memcpy(v->value + v->n, event->value, (size_t)event->n_values * sizeof *v->value);
    v->n += event->n_values;
}

/* Events of other calls are passed over. */
static void read_all(struct bench *b, struct vector *vectors, int n)
{
    for (int done = 0; done < n;) {
        struct engine_event event;
        while (engine_poll(b->engine, &event))
            for (int i = 0; i < n; i++)
                if (vectors[i].call == event.call)
                    take_values(&vectors[i], &event);
        done = 0;
        for (int i = 0; i < n; i++)
            done += vectors[i].done;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 120;
        if (done < n)
            assert_int_equal(sem_timedwait(&b->events, &until), 0);
    }
}

static void it_is_the_same_in_any_company(void **state)
{
    (void)state;
    static struct vector first[N_LENGTHS], again[N_LENGTHS];
    memset(first, 0, sizeof first);
    for (int round = 0; round < 4; round++) {
        struct engine_config config = usual;
        struct bench b;
        config.step_rows = 20 + 35 * round;
        start(&b, 1 + round % 2, &config);
        struct vector *got = round == 0 ? first : again;
        memset(got, 0, sizeof first);
        uint64_t others[2];
        for (int i = 0; i < 2 && round > 1; i++) /* who know the texts, and write */
            others[i] = submit(&b, long_prompt(400 + i));
        for (int i = 0; i < N_LENGTHS; i++) {
            got[i].call = submit(&b, text(lengths[i]));
            if (round == 0)
                read_all(&b, &got[i], 1); /* alone */
        }
        if (round > 0)
            read_all(&b, got, N_LENGTHS);
        for (int i = 0; i < N_LENGTHS; i++) {
            assert_int_equal(got[i].last.finish, ENGINE_STOP);
            assert_int_equal(got[i].last.n_prompt, lengths[i]);
            assert_int_equal(got[i].last.n_tokens, 0);
            assert_int_equal(got[i].n, model_hparams(b.model)->hidden);
            assert_memory_equal(got[i].value, first[i].value, (size_t)got[i].n * sizeof(float));
        }
        assert_memory_not_equal(got[0].value, got[1].value, (size_t)got[0].n * sizeof(float));
        for (int i = 0; i < 2 && round > 1; i++)
            engine_cancel(b.engine, others[i]);
        assert_idle(&b);
        end(&b);
    }
}

/* The whole context may be read, and pages are promised for no more; it ends when it is told to. */
static void it_takes_what_it_needs(void **state)
{
    (void)state;
    struct engine_config config = usual;
    struct engine_stat stat;
    struct bench b;
    static struct vector v[2];
    memset(v, 0, sizeof v);
    config.cache_bytes = 800000;
    start(&b, 1, &config);
    engine_stat(b.engine, &stat);
    v[0].call = submit(&b, text((int)stat.context));
    read_all(&b, v, 1);
    assert_int_equal(v[0].last.finish, ENGINE_STOP);
    v[1].call = submit(&b, text((int)stat.context));
    engine_cancel(b.engine, v[1].call);
    read_all(&b, v + 1, 1);
    assert_int_equal(v[1].last.finish, ENGINE_CANCELLED);
    assert_int_equal(v[1].n, 0);
    assert_idle(&b);
    end(&b);
}

int main(int argc, char **argv)
{
    if (!bench_load(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_same_in_any_company),
        cmocka_unit_test(it_takes_what_it_needs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_unload();
    return failed;
}
