/* SPDX-License-Identifier: MIT
 *
 * What an engine measures of its requests, and which experts its place counts.
 *
 *     test_meter MODEL.gguf REFERENCE.json
 */
#include "engine_bench.h"

#include "engine/meter.h"
#include "engine/usage.h"

enum { MAX_EXPERTS = 1 << 14 };

static uint64_t n_measured(const struct bench *b, enum meter_id id, double *sum)
{
    const struct histogram *h = &engine_meters(b->engine)->histogram[id];
    struct histogram_reading r;
    uint64_t n = 0;
    histogram_read(h, &r);
    for (int i = 0; i <= h->scale->n; i++)
        n += r.count[i];
    *sum = r.sum;
    return n;
}

static void requests_are_measured(void **state)
{
    (void)state;
    enum { PROMPT = 100, TOKENS = 9 };
    struct bench b;
    start(&b, 2, &usual);
    int n_tokens = 0;
    double queued_s = 0, waited_s = 0, shares = 0;
    for (int i = 0; i < 3; i++) {
        struct engine_request *q = long_prompt(PROMPT);
        q->max_tokens = TOKENS;
        q->ignore_end = true;
        struct answer *a = ask(&b, q);
        n_tokens += a->n;
        queued_s += (double)a->last.queue_ns * 1e-9;
        waited_s += (double)(a->last.queue_ns + a->last.prefill_ns) * 1e-9;
        shares += (double)a->last.n_cached / PROMPT;
        free(a);
    }
    assert_idle(&b);
    double sum;
    assert_int_equal(n_measured(&b, METER_FIRST_TOKEN, &sum), 3);
    assert_true(sum > waited_s * 0.999 && sum < waited_s * 1.001);
    assert_int_equal(n_measured(&b, METER_QUEUE, &sum), 3);
    assert_true(sum >= queued_s * 0.999 && sum <= queued_s * 1.001);
    assert_int_equal(n_measured(&b, METER_CACHED, &sum), 3);
    assert_true(shares > 1.9); /* the second and third knew almost everything */
    assert_true(sum > shares * 0.999 && sum < shares * 1.001);
    assert_int_equal(n_measured(&b, METER_NEXT_TOKEN, &sum), n_tokens - 3);
    assert_true(sum > 0);
    end(&b);
}

/* Few rows are sorted by one thread or another, many by the engine's. */
static void every_row_chooses(const char *kind, int n_prompt)
{
    const struct engine_config config = {.max_sequences = 4, .step_rows = 64};
    struct place_spec spec = {.kind = kind, .threads = 2};
    static uint64_t total[MAX_EXPERTS];
    static float recent[MAX_EXPERTS];
    struct bench b;
    struct err err;
    sem_init(&b.events, 0, 0);
    assert_int_equal(model_open(model_path, &b.model, &err), 0);
    assert_int_equal(place_open(&spec, &b.place, &err), 0);
    assert_int_equal(model_load(b.model, b.place, NULL, NULL, &err), 0);
    assert_int_equal(engine_open(b.model, b.place, &config, wake, &b, &b.engine, &err), 0);
    struct usage *usage = engine_usage(b.engine);
    int first, layers, experts, used = model_hparams(b.model)->experts_used;
    assert_non_null(usage);
    usage_shape(usage, &first, &layers, &experts);
    assert_int_equal(first, model_hparams(b.model)->dense_layers);
    assert_int_equal(first + layers, model_hparams(b.model)->layers);
    assert_true(layers * experts <= MAX_EXPERTS);

    struct engine_request *q = long_prompt(n_prompt);
    q->max_tokens = 6;
    free(ask(&b, q));
    assert_idle(&b);
    struct engine_stat stat;
    engine_stat(b.engine, &stat);
    usage_read(usage, 0, total, recent);
    for (int layer = 0; layer < layers; layer++) {
        uint64_t sum = 0;
        double lately = 0;
        for (int e = 0; e < experts; e++) {
            sum += total[layer * experts + e];
            assert_true(recent[layer * experts + e] <= (float)total[layer * experts + e]);
            lately += (double)recent[layer * experts + e];
        }
        assert_true(lately > (double)sum * 0.5); /* it took less than ten minutes */
        assert_int_equal(sum, (stat.prompt_tokens + stat.decoded_tokens) * (uint64_t)used);
    }
    end(&b);
}

static void every_row_chooses_on_cpu(void **state)
{
    (void)state;
    every_row_chooses("cpu", 70);
}

static void every_row_chooses_on_ref(void **state)
{
    (void)state;
    every_row_chooses("ref", 12);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_measured),
        cmocka_unit_test(every_row_chooses_on_cpu),
        cmocka_unit_test(every_row_chooses_on_ref),
    };
    if (!bench_load(argc, argv))
        return 2;
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    bench_unload();
    return r;
}
