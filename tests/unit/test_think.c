/* SPDX-License-Identifier: MIT
 *
 * think: which token has to come, and when. Tokens here are words; 1 and 2 are the markers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/think.h"

enum { OPEN = 1, CLOSE = 2, WORD = 3 };

static void write(struct think *t, const char *text)
{
    think_accept(t, WORD, text, strlen(text));
}

/* Writes words until something is demanded, at most `most`; how many tokens of thinking came. */
static int write_until(struct think *t, const char *text, int most)
{
    for (int i = 0; i < most && think_limit(t, WORD, 0) == WORD; i++)
        write(t, text);
    return t->n;
}

static void test_at_most_hard_with_the_marker(void **state)
{
    (void)state;
    for (int hard = 1; hard < 20; hard++) {
        struct think_params p = {.hard = hard, .open = OPEN, .close = CLOSE, .is_open = true};
        struct think t;
        think_init(&t, &p);
        assert_int_equal(write_until(&t, " on", 100), hard - 1);
        assert_int_equal(think_limit(&t, CLOSE, 0), CLOSE); /* the model's own */
        assert_int_equal(t.cut, THINK_UNCUT);
        assert_int_equal(think_limit(&t, WORD, 0), CLOSE);
        assert_int_equal(t.cut, THINK_CUT_HARD);
        think_accept(&t, CLOSE, "", 0);
        assert_int_equal(t.n, hard);
        assert_int_equal(think_limit(&t, WORD, 0), WORD);
        assert_int_equal(write_until(&t, " said.", 100), hard);
    }
}

static void test_soft_waits_for_the_end_of_a_sentence(void **state)
{
    (void)state;
    struct think_params p = {.soft = 4, .hard = 20, .open = OPEN, .close = CLOSE, .is_open = true};
    struct think t;
    think_init(&t, &p);
    assert_int_equal(write_until(&t, " end.", 3), 3); /* not yet */
    assert_int_equal(write_until(&t, " on", 6), 9);
    write(&t, " the");
    write(&t, " end");
    assert_int_equal(think_limit(&t, WORD, 0), WORD);
    write(&t, ".");
    assert_int_equal(think_limit(&t, WORD, 0), CLOSE);
    assert_int_equal(t.cut, THINK_CUT_SOFT);
    think_init(&t, &p);
    assert_int_equal(write_until(&t, " on", 100), 19);
    assert_int_equal(think_limit(&t, WORD, 0), CLOSE);
    assert_int_equal(t.cut, THINK_CUT_HARD);
    p.hard = 0; /* none but the soft one */
    think_init(&t, &p);
    assert_int_equal(write_until(&t, " on", 100), 100);
    assert_int_equal(write_until(&t, "\n", 100), 101);
}

static void test_ends_of_sentences(void **state)
{
    (void)state;
    static const struct {
        const char *text; /* its last byte is told alone */
        bool ends;
    } cases[] = {
        {"The end.", true},
        {"Really?", true},
        {"Yes!", true},
        {"and so on…", true},
        {"(He said so.)", true},
        {"\"No.\" ", true},
        {"**Done.**", true},
        {"one,", false},
        {"a: ", false},
        {"a:\n", true},
        {"- item\n\n", true},
        {"- item \n  ", true},
        {"pi is 3.", false},
        {"1. ", false},
        {"of 3!", true},
        {"他走了。", true},
        {"真的？", true},
        {"他说：“好。”", true},
        {"वह गया।", true},
        {"وہ گیا۔", true},
        {"لماذا؟", true},
        {"他走了", false},
        {"", false},
        {" ", false},
        {"\"", false},
        {".", true},
        {"and a word that is long.", true},
    };
    struct think_params p = {.soft = 1, .open = OPEN, .close = CLOSE, .is_open = true};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = cases[i].text;
        size_t n = strlen(text);
        for (int cut = 0; cut < 2; cut++) { /* as one token, and its last byte as another */
            struct think t;
            think_init(&t, &p);
            think_accept(&t, WORD, text, n - (cut && n > 0));
            think_accept(&t, WORD, text + n - (cut && n > 0), cut && n > 0);
            if ((think_limit(&t, WORD, 0) == CLOSE) != cases[i].ends)
                fail_msg("'%s', expected %s", text, cases[i].ends ? "an end" : "none");
        }
    }
    struct think t;
    think_init(&t, &p);
    for (int i = 0; i < 100; i++) /* what is seen of it is what came last */
        write(&t, ".,,");
    assert_int_equal(think_limit(&t, WORD, 0), WORD);
    write(&t, ".");
    assert_int_equal(think_limit(&t, WORD, 0), CLOSE);
}

static void test_a_block_that_the_model_opens(void **state)
{
    (void)state;
    struct think_params p = {.hard = 5, .open = OPEN, .close = CLOSE};
    struct think t;
    think_init(&t, &p);
    assert_int_equal(write_until(&t, "\n", 50), 0); /* an answer has not begun either */
    think_accept(&t, OPEN, "", 0);
    assert_int_equal(write_until(&t, " on", 50), 4);
    assert_int_equal(think_limit(&t, WORD, 0), CLOSE);

    think_init(&t, &p);
    write(&t, " The");
    think_accept(&t, OPEN, "", 0); /* too late */
    assert_int_equal(write_until(&t, " on", 50), 0);

    p.is_open = true; /* one that the model closes is over, and no second one counts */
    think_init(&t, &p);
    write(&t, " so");
    think_accept(&t, CLOSE, "", 0);
    think_accept(&t, OPEN, "", 0);
    assert_int_equal(write_until(&t, " on", 50), 2);
    assert_int_equal(t.cut, THINK_UNCUT);
}

static void test_by_the_clock(void **state)
{
    (void)state;
    struct think_params p = {.open = OPEN, .close = CLOSE, .is_open = true};
    struct think t;
    think_init(&t, &p);
    think_within(&t, 1000, 1400);
    write(&t, " end.");
    assert_int_equal(think_limit(&t, WORD, 1299), WORD);
    assert_int_equal(think_limit(&t, WORD, 1300), CLOSE); /* the last quarter has begun */
    assert_int_equal(t.cut, THINK_CUT_TIME);
    write(&t, " and");
    assert_int_equal(think_limit(&t, WORD, 1399), WORD);
    assert_int_equal(think_limit(&t, CLOSE, 1400), CLOSE);
    assert_int_equal(t.cut, THINK_UNCUT);
    assert_int_equal(think_limit(&t, WORD, 1400), CLOSE);
    assert_int_equal(t.cut, THINK_CUT_TIME);
    assert_true(think_is_on(&t));
    think_accept(&t, CLOSE, "", 0);
    assert_false(think_is_on(&t));
    assert_int_equal(think_limit(&t, WORD, 5000), WORD);

    p.hard = 2; /* whichever comes first */
    p.soft = 1;
    think_init(&t, &p);
    think_within(&t, 1000, 1400);
    write(&t, " end.");
    assert_int_equal(think_limit(&t, WORD, 1000), CLOSE);
    assert_int_equal(t.cut, THINK_CUT_HARD);
    p.hard = 9;
    assert_int_equal(think_limit(&t, WORD, 1000), CLOSE);
    assert_int_equal(t.cut, THINK_CUT_SOFT);
    assert_int_equal(think_limit(&t, WORD, 1400), CLOSE);
    assert_int_equal(t.cut, THINK_CUT_TIME);
}

static void test_no_limits(void **state)
{
    (void)state;
    struct think_params p = {.open = OPEN, .close = CLOSE, .is_open = true};
    struct think t;
    think_init(&t, &p);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(think_limit(&t, WORD, 0), WORD);
        write(&t, " end.\n");
    }
    think_accept(&t, CLOSE, "", 0);
    write(&t, "Yes.");
    assert_int_equal(t.n, 1001); /* it is counted all the same */
    think_init(&t, &(struct think_params){0});
    write(&t, "Yes.");
    think_accept(&t, 0, "", 0);
    write(&t, "Yes.");
    assert_int_equal(t.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_most_hard_with_the_marker),
        cmocka_unit_test(test_soft_waits_for_the_end_of_a_sentence),
        cmocka_unit_test(test_ends_of_sentences),
        cmocka_unit_test(test_a_block_that_the_model_opens),
        cmocka_unit_test(test_by_the_clock),
        cmocka_unit_test(test_no_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
