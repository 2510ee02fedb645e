/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample.h"

enum { VOCAB = 1000, DRAWS = 4000 };

static float logits[VOCAB];
static uint8_t banned[VOCAB];
static struct candidates candidates;

static int setup(void **state)
{
    (void)state;
    memset(banned, 0, sizeof banned);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)sin(i * 12.9898) * 4;
    return candidates_init(&candidates, VOCAB);
}

static int teardown(void **state)
{
    (void)state;
    candidates_fini(&candidates);
    return 0;
}

static int32_t draw_once(const struct sample_params *p)
{
    struct sampler s;
    assert_int_equal(sampler_init(&s, p, VOCAB), 0);
    int32_t id = sampler_draw(&s, logits, banned, &candidates);
    sampler_fini(&s);
    return id;
}

static int best_of(const float *x)
{
    int best = 0;
    for (int i = 1; i < VOCAB; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* How often each id is drawn. */
static void histogram(const struct sample_params *p, int *count)
{
    struct sampler s;
    memset(count, 0, VOCAB * sizeof *count);
    assert_int_equal(sampler_init(&s, p, VOCAB), 0);
    for (int i = 0; i < DRAWS; i++) {
        count[sampler_draw(&s, logits, banned, &candidates)]++;
        s.n_drawn++;
    }
    sampler_fini(&s);
}

static int distinct(const int *count)
{
    int n = 0;
    for (int i = 0; i < VOCAB; i++)
        n += count[i] > 0;
    return n;
}

static void greedy_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    struct sample_params p;
    sample_params_init(&p);
    p.temperature = 0;
    assert_int_equal(draw_once(&p), best_of(logits));
    for (int i = 0; i < VOCAB; i++)
        logits[i] = 1;
    assert_int_equal(draw_once(&p), 0);
    banned[0] = banned[1] = 1;
    assert_int_equal(draw_once(&p), 2);
}

static void nothing_left_is_said(void **state)
{
    (void)state;
    struct sample_params p;
    sample_params_init(&p);
    memset(banned, 1, sizeof banned);
    assert_int_equal(draw_once(&p), -1);
    memset(banned, 0, sizeof banned);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    assert_int_equal(draw_once(&p), -1);
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    struct sample_params p;
    sample_params_init(&p);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -30;
    logits[10] = logf(0.5f);
    logits[20] = logf(0.3f);
    logits[30] = logf(0.2f);
    int count[VOCAB];
    histogram(&p, count);
    assert_in_range(count[10], DRAWS * 0.46, DRAWS * 0.54);
    assert_in_range(count[20], DRAWS * 0.26, DRAWS * 0.34);
    assert_in_range(count[30], DRAWS * 0.16, DRAWS * 0.24);

    p.temperature = 0.5f; /* squares the odds: 25 : 9 : 4 */
    histogram(&p, count);
    assert_in_range(count[10], DRAWS * 0.61, DRAWS * 0.71);
    p.temperature = 1e-30f;
    histogram(&p, count);
    assert_int_equal(count[10], DRAWS);
}

static void filters_keep_what_they_say(void **state)
{
    (void)state;
    int count[VOCAB];
    struct sample_params p;
    sample_params_init(&p);
    p.temperature = 50; /* nearly even, so that whatever is kept shows up */
    p.top_k = 7;
    histogram(&p, count);
    assert_int_equal(distinct(count), 7);
    for (int i = 0; i < VOCAB; i++) {
        int better = 0;
        for (int j = 0; j < VOCAB; j++)
            better += logits[j] > logits[i];
        assert_int_equal(count[i] > 0, better < 7);
    }
    p.top_k = 1;
    histogram(&p, count);
    assert_int_equal(count[best_of(logits)], DRAWS);

    for (int i = 0; i < VOCAB; i++)
        logits[i] = -60;
    logits[5] = logf(0.6f);
    logits[6] = logf(0.3f);
    logits[7] = logf(0.1f);
    p = (struct sample_params){.temperature = 1, .top_p = 0.6f, .repetition_penalty = 1};
    histogram(&p, count);
    assert_int_equal(distinct(count), 2 - (count[6] == 0)); /* 0.6 alone may round either way */
    p.top_p = 0.5f;
    histogram(&p, count);
    assert_int_equal(distinct(count), 1);
    p.top_p = 0.85f;
    histogram(&p, count);
    assert_int_equal(distinct(count), 2);
    p.top_p = 1;
    p.min_p = 0.4f;
    histogram(&p, count);
    assert_int_equal(distinct(count), 2);
    p.min_p = 0.1f;
    histogram(&p, count);
    assert_int_equal(distinct(count), 3);
    p.min_p = 1;
    histogram(&p, count);
    assert_int_equal(distinct(count), 1);
}

static void biases_and_penalties_move_scores(void **state)
{
    (void)state;
    struct sample_params p;
    struct sampler s;
    sample_params_init(&p);
    p.temperature = 0;
    int best = best_of(logits);
    struct sample_bias bias[] = {{.id = best, .bias = -INFINITY}, {.id = 77, .bias = 100}};
    p.bias = bias;
    p.n_bias = 1;
    assert_int_not_equal(draw_once(&p), best);
    p.n_bias = 2;
    assert_int_equal(draw_once(&p), 77);
    p.n_bias = 0;

    memset(logits, 0, sizeof logits);
    logits[1] = 2;
    logits[2] = 1.5f;
    logits[3] = 1;
    p.frequency_penalty = 0.3f;
    assert_int_equal(sampler_init(&s, &p, VOCAB), 0);
    static const int32_t expected[] = {1, 1, 2, 1, 2, 1, 3};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int32_t id = sampler_draw(&s, logits, banned, &candidates);
        assert_int_equal(id, expected[i]);
        sampler_accept(&s, id);
    }
    sampler_fini(&s);

    p.frequency_penalty = 0;
    p.repetition_penalty = 4;
    assert_int_equal(sampler_init(&s, &p, VOCAB), 0);
    sampler_saw_prompt(&s, (const int32_t[]){1}, 1); /* 2 / 4 < 1.5 */
    assert_int_equal(sampler_draw(&s, logits, banned, &candidates), 2);
    sampler_fini(&s);
    p.repetition_penalty = 1;
    p.presence_penalty = 0.9f;
    assert_int_equal(sampler_init(&s, &p, VOCAB), 0);
    sampler_saw_prompt(&s, (const int32_t[]){1}, 1); /* the prompt is no presence */
    assert_int_equal(sampler_draw(&s, logits, banned, &candidates), 1);
    sampler_accept(&s, 1);
    sampler_accept(&s, 1); /* once, however often */
    assert_int_equal(sampler_draw(&s, logits, banned, &candidates), 2);
    sampler_fini(&s);
}

static void a_draw_depends_on_seed_and_index(void **state)
{
    (void)state;
    struct sample_params p;
    sample_params_init(&p);
    struct sampler a, b;
    p.seed = 42;
    assert_int_equal(sampler_init(&a, &p, VOCAB), 0);
    assert_int_equal(sampler_init(&b, &p, VOCAB), 0);
    int32_t ids[50];
    for (int i = 0; i < 50; i++) {
        ids[i] = sampler_draw(&a, logits, banned, &candidates);
        sampler_accept(&a, ids[i]);
    }
    b.n_drawn = 49; /* as after a rewind */
    assert_int_equal(sampler_draw(&b, logits, banned, &candidates), ids[49]);
}

static void probabilities_are_those_of_all_logits(void **state)
{
    (void)state;
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)logits[i]);
    assert_true(fabs(sample_log_sum(logits, VOCAB) - log(sum)) < 1e-9);
    logits[3] = NAN;
    assert_true(isnan(sample_log_sum(logits, VOCAB)));
    logits[3] = INFINITY;
    assert_false(isfinite(sample_log_sum(logits, VOCAB)));
    logits[3] = -INFINITY; /* one broken row shows even where it is never chosen */
    assert_false(isfinite(sample_log_sum(logits, VOCAB)));
}

static void top_is_sorted_and_stable(void **state)
{
    (void)state;
    int32_t ids[20];
    logits[500] = logits[400] = logits[600] = 9;
    assert_int_equal(sample_top(logits, VOCAB, 20, ids), 20);
    assert_int_equal(ids[0], 400);
    assert_int_equal(ids[1], 500);
    assert_int_equal(ids[2], 600);
    for (int i = 1; i < 20; i++)
        assert_true(logits[ids[i - 1]] >= logits[ids[i]]);
    assert_int_equal(sample_top(logits, VOCAB, 0, ids), 0);
    assert_int_equal(sample_top(logits, 3, 20, ids), 3);
}

static const char *chain(const struct sample_params *p)
{
    static char words[SAMPLE_CHAIN_BYTES];
    sample_chain(p, words);
    return words;
}

static void a_chain_names_what_is_on(void **state)
{
    (void)state;
    struct sample_params p;
    sample_params_init(&p);
    assert_string_equal(chain(&p), "draw");
    p.temperature = 0.1f; /* with the digits that give this float */
    p.top_k = 40;
    p.top_p = 0.123456789f;
    p.min_p = 1e-30f;
    assert_string_equal(chain(&p), "temperature=0.1 top_k=40 top_p=0.12345679 min_p=1e-30 draw");
    struct sample_bias bias = {.id = 1, .bias = 1};
    p.bias = &bias;
    p.n_bias = 1;
    p.presence_penalty = -2;
    p.temperature = 0; /* what filters is passed over */
    assert_string_equal(chain(&p), "logit_bias[1] presence_penalty=-2 greedy");
    p.repetition_penalty = 1.1f;
    p.frequency_penalty = 0.5f;
    assert_string_equal(
        chain(&p),
        "logit_bias[1] repetition_penalty=1.1 presence_penalty=-2 frequency_penalty=0.5 greedy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(greedy_takes_the_lowest_of_equals, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_left_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(draws_follow_the_distribution, setup, teardown),
        cmocka_unit_test_setup_teardown(filters_keep_what_they_say, setup, teardown),
        cmocka_unit_test_setup_teardown(biases_and_penalties_move_scores, setup, teardown),
        cmocka_unit_test_setup_teardown(a_draw_depends_on_seed_and_index, setup, teardown),
        cmocka_unit_test_setup_teardown(probabilities_are_those_of_all_logits, setup, teardown),
        cmocka_unit_test_setup_teardown(top_is_sorted_and_stable, setup, teardown),
        cmocka_unit_test(a_chain_names_what_is_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
