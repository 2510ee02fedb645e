/* SPDX-License-Identifier: MIT
 *
 * Repetitions of letters, whose matches are counted by hand.
 *
 *     test_dry MODEL.gguf          for its vocabulary
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "engine/sample.h"
#include "model/hparams.h"
#include "model/model.h"
#include "text/token.h"

enum { ROOM = 300 };

static const struct vocab *vocab;
static int n_rows;

static int32_t letter(char c)
{
    struct ids ids __attribute__((cleanup(ids_fini))) = {0};
    assert_int_equal(vocab_encode(vocab, &c, 1, 0, &ids, NULL), 0);
    assert_int_equal(ids.n, 1);
    return ids.id[0];
}

static void push(struct dry *d, const char *letters)
{
    for (; *letters; letters++)
        dry_push(d, letter(*letters));
}

/* What going on with `next` costs behind these letters. */
static float penalty(const struct dry_params *p, const char *letters, char next)
{
    struct dry d;
    assert_int_equal(dry_init(&d, p, vocab, n_rows, ROOM), 0);
    push(&d, letters);
    dry_match(&d);
    float cost = dry_penalty(&d, letter(next));
    int n_dear = 0;
    for (int id = 0; id < n_rows; id++)
        n_dear += dry_penalty(&d, id) > 0;
    assert_true(n_dear <= 2); /* and hardly another token pays */
    dry_fini(&d);
    return cost;
}

static void assert_near(float a, double b)
{
    assert_true(fabs((double)a - b) <= 1e-6 * b);
}

static const struct dry_params usual = {.multiplier = 0.8f, .base = 1.75f, .allowed_length = 2};

static void a_longer_repetition_costs_more(void **state)
{
    (void)state;
    assert_near(penalty(&usual, "abxab", 'x'), 0.8);                         /* a b */
    assert_near(penalty(&usual, "abcxabc", 'x'), 0.8 * 1.75);                /* a b c */
    assert_near(penalty(&usual, "abcabcab", 'c'), 0.8 * 1.75 * 1.75 * 1.75); /* itself, too: 5 */
    assert_near(penalty(&usual, "abxqabyqab", 'y'), 0.8 * 1.75); /* q a b, and only a b for x: */
    assert_near(penalty(&usual, "abxqabyqab", 'x'), 0.8);
    assert_near(penalty(&usual, "qabxabxqab", 'x'), 0.8 * 1.75); /* the longest, not the last */
    assert_true(penalty(&usual, "abxab", 'a') == 0);
}

static void what_is_short_costs_nothing(void **state)
{
    (void)state;
    struct dry_params p = usual;
    assert_true(penalty(&p, "", 'a') == 0);
    assert_true(penalty(&p, "a", 'a') == 0);
    assert_true(penalty(&p, "bxb", 'x') == 0);
    p.allowed_length = 1;
    assert_near(penalty(&p, "bxb", 'x'), 0.8);
    p.allowed_length = 3;
    assert_true(penalty(&p, "abxab", 'x') == 0);
    assert_near(penalty(&p, "abcxabc", 'x'), 0.8);
}

static void nothing_crosses_a_breaker(void **state)
{
    (void)state;
    struct dry_params p = usual;
    char *breakers[] = {(char *)":", (char *)"xy"};
    assert_near(penalty(&p, "k:abqk:ab", 'q'), 0.8 * 1.75 * 1.75); /* k : a b */
    p.breakers = breakers;
    p.n_breakers = 2;
    assert_near(penalty(&p, "k:abqk:ab", 'q'), 0.8); /* a b */
    assert_true(penalty(&p, "ab:qab:", 'q') == 0);   /* it is the last */
    assert_true(penalty(&p, "ab:ab", ':') == 0);     /* it is what would follow */
    /* Of several tokens: the one it ends in breaks. */
    assert_true(penalty(&p, "axybqaxyb", 'q') == 0);
    assert_near(penalty(&p, "yxabqyxab", 'q'), 0.8 * 1.75 * 1.75);
    p.allowed_length = 1;
    assert_true(penalty(&p, "yqxy", 'q') == 0); /* this y breaks, that one did not */
    p.allowed_length = 2;
    breakers[0] = breakers[1] = (char *)"";
    assert_near(penalty(&p, "k:abqk:ab", 'q'), 0.8 * 1.75 * 1.75);
}

static void a_breaker_within_a_token_counts(void **state)
{
    (void)state;
    struct dry_params p = usual;
    char *breaker = (char *)"e";
    int32_t with = -1;
    for (int32_t id = 0; with < 0 && id < vocab_size(vocab); id++) {
        size_t n;
        const char *text = vocab_bytes(vocab, id, &n);
        if (n == 3 && text[1] == 'e')
            with = id;
    }
    assert_true(with >= 0);
    for (p.n_breakers = 0; p.n_breakers < 2; p.n_breakers++) {
        p.breakers = &breaker;
        struct dry d;
        assert_int_equal(dry_init(&d, &p, vocab, n_rows, ROOM), 0);
        for (int i = 0; i < 2; i++) {
            dry_push(&d, with);
            push(&d, i ? "bc" : "bcx");
        }
        dry_match(&d);
        assert_near(dry_penalty(&d, letter('x')), p.n_breakers ? 0.8 : 0.8 * 1.75);
        dry_fini(&d);
    }
}

static void a_range_is_all_that_is_looked_at(void **state)
{
    (void)state;
    struct dry_params p = usual;
    static const double of_range[] = {1.75, 0, 0, 0, 0, 0, 1, 1.75, 1.75}; /* abcx abc has 7 */
    for (p.range = 0; p.range < 9; p.range++)
        assert_near(penalty(&p, "abcxabc", 'x'), 0.8 * of_range[p.range]);
}

static void a_match_has_a_greatest_length(void **state)
{
    (void)state;
    struct dry_params p = usual;
    char letters[201] = "";
    memset(letters, 'a', 200);
    p.base = 1;
    assert_near(penalty(&p, letters, 'a'), 0.8);
    p.base = 1.5f;
    assert_near(penalty(&p, letters, 'a'), (double)0.8f * pow(1.5, 48)); /* 50 of them */
    p.base = 10;
    assert_true(isfinite(penalty(&p, letters, 'a')));
    assert_near(penalty(&p, letters, 'a'), 1e30);
}

static void the_sampler_turns_away(void **state)
{
    (void)state;
    struct sample_params p;
    struct sampler s;
    struct candidates c;
    sample_params_init(&p);
    p.temperature = 0;
    p.dry = usual;
    float *logits = calloc((size_t)n_rows, sizeof *logits);
    uint8_t *banned = calloc((size_t)n_rows, 1);
    assert_int_equal(candidates_init(&c, n_rows), 0);
    assert_int_equal(sampler_init(&s, &p, n_rows, vocab, ROOM), 0);
    logits[letter('x')] = 2;
    logits[letter('y')] = 1;
    const int32_t prompt[] = {letter('a'), letter('b'), letter('x'), letter('a')};
    sampler_saw_prompt(&s, prompt, 4);
    assert_int_equal(sampler_draw(&s, logits, banned, &c), letter('x'));
    sampler_accept(&s, letter('b')); /* a b: x costs 0.8 */
    assert_int_equal(sampler_draw(&s, logits, banned, &c), letter('x'));
    p.dry.multiplier = 1.1f;
    assert_int_equal(sampler_draw(&s, logits, banned, &c), letter('y'));
    sampler_accept(&s, letter('y'));
    assert_int_equal(sampler_draw(&s, logits, banned, &c), letter('x'));
    char chain[SAMPLE_CHAIN_BYTES];
    sample_chain(&p, chain);
    assert_string_equal(chain, "dry_multiplier=1.1 dry_base=1.75 dry_allowed_length=2 "
                               "dry_breakers[0] greedy");
    sampler_fini(&s);
    candidates_fini(&c);
    free(logits);
    free(banned);
}

int main(int argc, char **argv)
{
    OWN(model) *model = NULL;
    if (argc != 2 || model_open(argv[1], &model, NULL) < 0)
        return 2;
    vocab = model_vocab(model);
    n_rows = model_hparams(model)->vocab;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_longer_repetition_costs_more),
        cmocka_unit_test(what_is_short_costs_nothing),
        cmocka_unit_test(nothing_crosses_a_breaker),
        cmocka_unit_test(a_breaker_within_a_token_counts),
        cmocka_unit_test(a_range_is_all_that_is_looked_at),
        cmocka_unit_test(a_match_has_a_greatest_length),
        cmocka_unit_test(the_sampler_turns_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
