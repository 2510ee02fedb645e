/* SPDX-License-Identifier: MIT
 *
 * Attention two ways: over latents, and over the keys and values expanded from them. In exact
 * arithmetic they are equal, so on random shapes they must nearly be. And the rotation: relative
 * positions are all that scores see, YaRN's steps included.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "mk.h"

enum { MOST = 64, MOST_TOKENS = 200 };

static uint64_t random_state = 42;

static int below(int n)
{
    random_state = random_state * 6364136223846793005 + 1442695040888963407;
    return (int)((random_state >> 33) % (uint64_t)n);
}

static void fill(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)below(20001) / 10000 - 1;
}

/* y[n] = w[n][k] · x[k] in double */
static void times(const float *w, const float *x, float *y, int n, int k)
{
    for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int c = 0; c < k; c++)
            sum += (double)w[j * k + c] * x[c];
        y[j] = (float)sum;
    }
}

static void compare_forms(const struct mk *mk, int nope, int rope, int value, int latent, int n,
                          int page_tokens)
{
    static float up_k[MOST * MOST], up_v[MOST * MOST], turned[MOST * MOST];
    static float cache[MOST_TOKENS * 2 * MOST], key[MOST_TOKENS * 2 * MOST], v[MOST_TOKENS * MOST];
    static _Alignas(64) float tmp[1 << 16];
    float q[2 * MOST], absorbed_q[2 * MOST], mixed[MOST], absorbed[MOST], naive[MOST];
    int width = latent + rope, wide = nope + rope;

    fill(up_k, nope * latent);
    fill(up_v, value * latent);
    fill(cache, n * width);
    fill(q, wide);
    for (int c = 0; c < wide; c++)
        q[c] /= sqrtf((float)wide);

    for (int r = 0; r < nope; r++)
        for (int c = 0; c < latent; c++)
            turned[c * nope + r] = up_k[r * latent + c];
    times(turned, q, absorbed_q, latent, nope);
    for (int c = 0; c < rope; c++)
        absorbed_q[latent + c] = q[nope + c];
    for (int t = 0; t < n; t++) {
        times(up_k, cache + t * width, key + t * wide, nope, latent);
        times(up_v, cache + t * width, v + t * value, value, latent);
        for (int c = 0; c < rope; c++)
            key[t * wide + nope + c] = cache[t * width + latent + c];
    }

    const void *page[MOST_TOKENS];
    for (int p = 0; p * page_tokens < n; p++)
        page[p] = cache + p * page_tokens * width;
    assert_true(mk_attend_tmp(page_tokens, latent, rope) <= sizeof(tmp) / sizeof(*tmp));
    struct mk_peak peak;
    struct mk_attend a = {.q = absorbed_q,
                          .page = page,
                          .out = mixed,
                          .peak = &peak,
                          .tmp = tmp,
                          .type = MK_F32,
                          .n_heads = 1,
                          .ldq = width,
                          .ldo = latent,
                          .latent = latent,
                          .rope = rope,
                          .page_tokens = page_tokens,
                          .to = n};
    mk->attend(&a);
    mk->merge(
        &(struct mk_merge){.part = mixed, .peak = &peak, .out = mixed, .n = 1, .latent = latent});
    times(up_v, mixed, absorbed, value, latent);
    mk_ref_attend_naive(q, key, v, naive, n, wide, value, tmp);

    for (int c = 0; c < value; c++)
        if (!(fabsf(absorbed[c] - naive[c]) <= 1e-4f))
            fail_msg("%s, %d + %d, %d, latent %d, %d tokens by %d: [%d] is %.9g and %.9g", mk->isa,
                     nope, rope, value, latent, n, page_tokens, c, (double)absorbed[c],
                     (double)naive[c]);
}

static void test_naive_is_absorbed(void **state)
{
    (void)state;
    for (int i = 0; mk_isa_names[i]; i++) {
        struct mk mk;
        if (mk_init(&mk, mk_isa_names[i]))
            continue;
        for (int round = 0; round < 200; round++)
            compare_forms(&mk, 1 + below(MOST), 2 * below(MOST / 2), 1 + below(MOST),
                          1 + below(MOST), 1 + below(MOST_TOKENS), 1 + below(40));
    }
}

/* ------------------------------------------------------------------ rotation */

static const struct mk_rope plain = {.n_dims = 64, .theta = 10000};
static const struct mk_rope yarn = {64, 10000, true, 40, 4096, 32, 1};

static double score(const struct mk *mk, const double *frequency, int64_t at_q, int64_t at_k)
{
    float q[64], k[64], cs[64];
    random_state = 7;
    fill(q, 64);
    fill(k, 64);
    mk_rope_table(frequency, 64, at_q, cs);
    mk->rope(q, cs, 64);
    mk_rope_table(frequency, 64, at_k, cs);
    mk->rope(k, cs, 64);
    double sum = 0;
    for (int c = 0; c < 64; c++)
        sum += (double)q[c] * k[c];
    return sum;
}

static void test_rope_is_relative(void **state)
{
    (void)state;
    double frequency[32];
    for (int i = 0; mk_isa_names[i]; i++) {
        struct mk mk;
        if (mk_init(&mk, mk_isa_names[i]))
            continue;
        mk_rope_frequencies(&yarn, frequency);
        double here = score(&mk, frequency, 5, 2), far = score(&mk, frequency, 100005, 100002);
        assert_true(fabs(here - far) < 1e-5);
        assert_true(fabs(here - score(&mk, frequency, 6, 2)) > 1e-3);
    }
}

static void test_frequencies(void **state)
{
    (void)state;
    double a[32], b[32];
    mk_rope_frequencies(&plain, a);
    assert_true(a[0] == 1);
    assert_true(fabs(a[16] - 0.01) < 1e-15);

    mk_rope_frequencies(&yarn, b);
    for (int i = 0; i <= 10; i++) /* fast pairs stay, slow ones are stretched */
        assert_true(b[i] == a[i]);
    for (int i = 23; i < 32; i++)
        assert_true(fabs(b[i] - a[i] / 40) <= 1e-15 * a[i]);

    struct mk_rope r = yarn;
    r.factor = 1; /* nothing to stretch */
    mk_rope_frequencies(&r, b);
    for (int i = 0; i < 32; i++)
        assert_true(b[i] == a[i]);
}

/* Both ends on the same pair: a step, and no division by zero. */
static void test_frequencies_with_one_step(void **state)
{
    (void)state;
    struct mk_rope r = yarn;
    double a[32], b[32];
    mk_rope_frequencies(&plain, a);
    /* turns so few, and so many, that both ends are clamped to the same end */
    r.beta_fast = r.beta_slow = 1e9;
    mk_rope_frequencies(&r, b);
    for (int i = 0; i < 32; i++)
        assert_true(isfinite(b[i]));
    r = yarn; /* chosen so that the pair is a whole number: low == high */
    r.original_context = 2 * M_PI * 100;
    r.beta_fast = r.beta_slow = 1;
    mk_rope_frequencies(&r, b);
    for (int i = 0; i < 32; i++) {
        assert_true(isfinite(b[i]));
        double expected = i <= 16 ? a[i] : a[i] / 40;
        assert_true(fabs(b[i] - expected) <= 1e-12 * a[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_naive_is_absorbed),
        cmocka_unit_test(test_rope_is_relative),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_frequencies_with_one_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
