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
    assert_int_equal(sampler_init(&s, p, VOCAB, NULL, 0), 0);
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
    assert_int_equal(sampler_init(&s, p, VOCAB, NULL, 0), 0);
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
    p.min_p = 0.51f; /* of 0.6, which 0.3 falls just short of */
    histogram(&p, count);
    assert_int_equal(distinct(count), 1);
    p.min_p = 0.49f;
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
    assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
    static const int32_t expected[] = {1, 1, 2, 1, 2, 1, 3};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int32_t id = sampler_draw(&s, logits, banned, &candidates);
        assert_int_equal(id, expected[i]);
        sampler_accept(&s, id);
    }
    sampler_fini(&s);

    p.frequency_penalty = 0;
    p.repetition_penalty = 4;
    assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
    sampler_saw_prompt(&s, (const int32_t[]){1}, 1); /* 2 / 4 < 1.5 */
    assert_int_equal(sampler_draw(&s, logits, banned, &candidates), 2);
    sampler_fini(&s);
    p.repetition_penalty = 1;
    p.presence_penalty = 0.9f;
    assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
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
    assert_int_equal(sampler_init(&a, &p, VOCAB, NULL, 0), 0);
    assert_int_equal(sampler_init(&b, &p, VOCAB, NULL, 0), 0);
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

/* Which of the first ten ids are drawn when they have these logits and the others are banned. */
static void assert_kept(const struct sample_params *p, const float *these, int n,
                        const char *expected)
{
    char kept[11] = "";
    int count[VOCAB];
    memset(banned, 1, sizeof banned);
    for (int i = 0; i < n; i++) {
        banned[i] = 0;
        logits[i] = these[i];
    }
    histogram(p, count);
    for (int i = 0; i < n; i++)
        if (count[i])
            kept[strlen(kept)] = (char)('0' + i);
    assert_string_equal(kept, expected);
}

static void top_n_sigma_counts_deviations_from_the_best(void **state)
{
    (void)state;
    struct sample_params p;
    sample_params_init(&p);
    static const float eight[] = {2, 4, 4, 4, 5, 5, 7, 9}; /* mean 5, deviation 2 */
    p.temperature = 100;                                   /* even: whatever is kept shows up */
    p.top_n_sigma = 0.5f;                                  /* from 8 on */
    assert_kept(&p, eight, 8, "7");
    p.top_n_sigma = 1; /* from 7 on, which is kept */
    assert_kept(&p, eight, 8, "67");
    p.top_n_sigma = 2; /* from 5 on */
    assert_kept(&p, eight, 8, "4567");
    p.top_n_sigma = 3.4999f;
    assert_kept(&p, eight, 8, "1234567");
    p.top_n_sigma = 3.5f;
    assert_kept(&p, eight, 8, "01234567");
    p.top_n_sigma = 1; /* the temperature does not matter: as published */
    p.temperature = 5;
    assert_kept(&p, eight, 8, "67");

    struct sample_bias bias = {.id = 0, .bias = -INFINITY};
    static const float nine[] = {0, 2, 4, 4, 4, 5, 5, 7, 9}; /* without the first as above */
    p.bias = &bias;
    p.n_bias = 1;
    assert_kept(&p, nine, 9, "78");
    p.n_bias = 0;

    p.top_n_sigma = 0.001f;
    assert_kept(&p, (const float[]){3, 3, 3}, 3, "012"); /* no deviation: equals stay */
    assert_kept(&p, (const float[]){-7}, 1, "0");
}

/* Probabilities 1/16 1/16 1/8 1/4 1/2 have surprises of 4 4 3 2 1 bits. */
static const float halves[] = {1, 1, 2, 3, 4};

static void set_halves(void)
{
    memset(banned, 1, sizeof banned);
    for (int i = 0; i < 5; i++) {
        banned[i] = 0;
        logits[i] = halves[i] * (float)M_LN2;
    }
}

static void mirostat_leaves_out_what_surprises_more(void **state)
{
    (void)state;
    struct sample_params p;
    struct sampler s;
    int count[5];
    sample_params_init(&p);
    set_halves();
    p.mirostat_eta = 0.1f;
    static const struct {
        float tau;
        int kept;
    } cases[] = {{0.4f, 1}, {0.6f, 1}, {1.001f, 2}, {1.4f, 2}, {1.501f, 3}, {2.001f, 5}, {50, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        p.mirostat_tau = cases[i].tau; /* the bound begins at twice that */
        memset(count, 0, sizeof count);
        for (uint64_t draw = 0; draw < 300; draw++) {
            assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
            s.n_drawn = draw;
            count[sampler_draw(&s, logits, banned, &candidates)]++;
            sampler_fini(&s);
        }
        for (int id = 0; id < 5; id++)
            assert_int_equal(count[id] > 0, id >= 5 - cases[i].kept);
    }
}

static void mirostat_learns_from_what_was_drawn(void **state)
{
    (void)state;
    struct sample_params p;
    struct sampler s;
    sample_params_init(&p);
    set_halves();
    p.mirostat_tau = 2;
    p.mirostat_eta = 0.5f;
    assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
    double bound = 4;
    for (int i = 0; i < 50; i++) {
        assert_true(fabs(s.max_surprise - bound) < 1e-5);
        int32_t id = sampler_draw(&s, logits, banned, &candidates);
        double surprise = id == 0 ? 4 : 5 - id; /* of all that got there, not of what was kept */
        assert_true(surprise <= bound + 1e-5 || id == 4);
        bound -= 0.5 * (surprise - 2);
        sampler_accept(&s, id);
    }
    sampler_fini(&s);

    /* Of a thousand tokens, surprises of 7.7 bits on and 8.5 on average: 8 is what comes out. */
    memset(banned, 0, sizeof banned);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)sin(i * 12.9898) * 4;
    double log_sum = sample_log_sum(logits, VOCAB), sum = 0;
    p.mirostat_tau = 8;
    p.mirostat_eta = 0.1f;
    assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = sampler_draw(&s, logits, banned, &candidates);
        sum += (log_sum - (double)logits[id]) / M_LN2;
        sampler_accept(&s, id);
    }
    assert_true(fabs(sum / DRAWS - 8) < 0.05);
    sampler_fini(&s);
}

/* Pearson's statistic of draws against probabilities; 20 degrees of freedom exceed 45.3 once in a
 * thousand, and the seed is fixed. */
static void draws_fit_the_distribution_of_each_filter(void **state)
{
    (void)state;
    enum { N = 21, MANY = 8000 };
    struct sample_params p;
    memset(banned, 1, sizeof banned);
    for (int i = 0; i < N; i++) {
        banned[i] = 0;
        logits[i] = (float)cos(i * 1.7) * 1.5f;
    }
    for (int which = 0; which < 5; which++) {
        sample_params_init(&p);
        p.temperature = 0.8f;
        p.seed = 11;
        p.top_k = which == 1 ? 9 : 0;
        p.top_p = which == 2 ? 0.7f : 1;
        p.min_p = which == 3 ? 0.2f : 0;
        p.top_n_sigma = which == 4 ? 1.2f : 0;
        double weight[N], all = 0, kept = 0, mean = 0, variance = 0, best = -9;
        for (int i = 0; i < N; i++) {
            weight[i] = exp((double)logits[i] / 0.8);
            all += weight[i];
            mean += (double)logits[i] / N;
            best = fmax(best, (double)logits[i]);
        }
        for (int i = 0; i < N; i++)
            variance += ((double)logits[i] - mean) * ((double)logits[i] - mean) / N;
        bool keep[N];
        for (int i = 0; i < N; i++) {
            double above = 0;
            int rank = 0;
            for (int j = 0; j < N; j++)
                if (logits[j] > logits[i]) {
                    rank++;
                    above += weight[j];
                }
            keep[i] = which == 0   ? true
                      : which == 1 ? rank < 9
                      : which == 2 ? above / all < 0.7
                      : which == 3 ? weight[i] >= 0.2 * exp(best / 0.8)
                                   : (double)logits[i] >= best - 1.2 * sqrt(variance);
            kept += keep[i] ? weight[i] : 0;
        }
        int count[N] = {0};
        struct sampler s;
        assert_int_equal(sampler_init(&s, &p, VOCAB, NULL, 0), 0);
        for (int i = 0; i < MANY; i++) {
            int32_t id = sampler_draw(&s, logits, banned, &candidates);
            count[id]++;
            sampler_accept(&s, id);
        }
        double chi2 = 0;
        for (int i = 0; i < N; i++) {
            double expected = keep[i] ? weight[i] / kept * MANY : 0;
            if (keep[i])
                chi2 += (count[i] - expected) * (count[i] - expected) / expected;
            else
                assert_int_equal(count[i], 0);
        }
        assert_true(chi2 < 45.3);
        sampler_fini(&s);
    }
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
    p.top_n_sigma = 1;
    p.mirostat_tau = 5;
    p.mirostat_eta = 0.1f;
    assert_string_equal(chain(&p), "top_n_sigma=1 mirostat_tau=5 mirostat_eta=0.1 draw");
    p.top_n_sigma = p.mirostat_tau = 0;
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
        cmocka_unit_test_setup_teardown(top_n_sigma_counts_deviations_from_the_best, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(mirostat_leaves_out_what_surprises_more, setup, teardown),
        cmocka_unit_test_setup_teardown(mirostat_learns_from_what_was_drawn, setup, teardown),
        cmocka_unit_test_setup_teardown(draws_fit_the_distribution_of_each_filter, setup, teardown),
        cmocka_unit_test(a_chain_names_what_is_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
