/* SPDX-License-Identifier: MIT
 *
 * json: what the grammar allows and nothing else, strings unescaped in place, keys once, depth
 * bounded.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"

struct walk {
    struct json json;
    struct err err;
    char *text;
};

/* A copy that ends with its last byte, so that a sanitizer sees a step too far. */
static void begin(struct walk *w, const char *text, size_t bytes)
{
    w->text = malloc(bytes + (bytes == 0));
    memcpy(w->text, text, bytes);
    w->err = (struct err){0};
    json_init(&w->json, "toy", w->text, bytes, &w->err);
}

static void end(struct walk *w)
{
    json_fini(&w->json);
    free(w->text);
}

static int skip_all(const char *text, size_t bytes, struct err *err)
{
    struct walk w;
    begin(&w, text, bytes);
    int r = json_skip(&w.json);
    if (r == 0)
        r = json_end(&w.json);
    *err = w.err;
    end(&w);
    return r;
}

static void test_sound(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        " [ ] ",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.5e+3",
        "-12E-2",
        "\"\"",
        "\"a\\u00e9\\ud83d\\ude00\\n\"",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":2},{\"a\":3}]}",
        "\t\r\n[1,2 ,3]\n",
        "{\"\":0}",
        "[[[[]]],{}]",
        "\"\xf0\x9f\x98\x80\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err;
        if (skip_all(texts[i], strlen(texts[i]), &err) < 0)
            fail_msg("%s: %s", texts[i], err.text);
    }
}

static void test_broken(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "the text ends here"},
        {" ", "the text ends here"},
        {"{", "the text ends here"},
        {"{\"a\"", "expected ':'"},
        {"{\"a\":", "expected a value"},
        {"{\"a\":1", "expected ',' or '}'"},
        {"{\"a\":1,", "expected a key"},
        {"{\"a\":1,}", "expected a key"},
        {"{,}", "expected a key"},
        {"{a:1}", "expected a key"},
        {"{\"a\" 1}", "expected ':'"},
        {"{\"a\":1 \"b\":2}", "expected ',' or '}'"},
        {"[1,]", "expected a value"},
        {"[,1]", "expected a value"},
        {"[1 2]", "expected ',' or ']'"},
        {"[1}", "expected ',' or ']'"},
        {"[", "the text ends here"},
        {"]", "expected a value"},
        {"nul", "null"},
        {"nulL", "null"},
        {"tru", "true"},
        {"falsE", "false"},
        {"NaN", "expected a value"},
        {"01", "followed by '1'"},
        {"-", "expected a number"},
        {"+1", "expected a value"},
        {".5", "expected a value"},
        {"1.", "ends in its point"},
        {"1.e3", "ends in its point"},
        {"1e", "without digits in its exponent"},
        {"1e+", "without digits in its exponent"},
        {"1x", "followed by 'x'"},
        {"0x10", "followed by 'x'"},
        {"1-2", "followed by '-'"},
        {"\"", "the text ends here"},
        {"\"a", "the text ends here"},
        {"\"\\", "the text ends here"},
        {"\"\\x41\"", "after a backslash"},
        {"\"\\u12\"", "hexadecimal"},
        {"\"\\u12g4\"", "hexadecimal"},
        {"\"\\u0000\"", "NUL"},
        {"\"\\ud800\"", "surrogate"},
        {"\"\\ud800x\"", "surrogate"},
        {"\"\\ud800\\u0041\"", "surrogate"},
        {"\"\\udc00\\ud800\"", "surrogate"},
        {"\"\n\"", "byte 0x0a"},
        {"\"\x1f\"", "byte 0x1f"},
        {"\"\xff\"", "not UTF-8"},
        {"\"\xc0\x80\"", "not UTF-8"},
        {"\"\xed\xa0\x80\"", "not UTF-8"},
        {"{} {}", "expected the end"},
        {"{}x", "expected the end"},
        {"// x\n{}", "expected a value"},
        {"{'a':1}", "expected a key"},
        {"{\"a\":1,\"a\":1}", "a key twice"},
        {"{\"a\":1,\"b\":2,\"\\u0061\":3}", "a key twice"},
        {"[{\"x\":{\"\":1,\"\":2}}]", "a key twice"},
        {"\xef\xbb\xbf{}", "byte 0xef"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err;
        int r = skip_all(cases[i].text, strlen(cases[i].text), &err);
        if (r != -EINVAL || err.code != r || !strstr(err.text, cases[i].words) ||
            !strstr(err.text, "'toy', byte "))
            fail_msg("%s: %d %s, expected %s", cases[i].text, r, err.text, cases[i].words);
    }
    struct err err;
    assert_int_equal(skip_all("[1]\0", 4, &err), -EINVAL);
    assert_int_equal(skip_all("\"a\0b\"", 5, &err), -EINVAL);
}

static void test_every_cut_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,-2.5e3,true,null,\"\\ud83d\\ude00\\n\"],\"b\":{}}";
    struct err err;
    assert_int_equal(skip_all(text, sizeof text - 1, &err), 0);
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_int_equal(skip_all(text, n, &err), -EINVAL);
}

static void test_depth(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    char *text = malloc(DEEP);
    struct err err;
    memset(text, '[', DEEP);
    memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    assert_int_equal(skip_all(text, 2 * (size_t)JSON_MAX_DEPTH, &err), 0);
    memset(text, '[', DEEP);
    assert_int_equal(skip_all(text, DEEP, &err), -EINVAL);
    assert_non_null(strstr(err.text, "deeper than 64"));
    free(text);
}

static void test_strings(void **state)
{
    (void)state;
    struct walk w;
    struct json_text text;
    static const char raw[] =
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u4e2d\\uD83D\\uDE00 \xe4\xb8\xad\"";
    begin(&w, raw, sizeof raw - 1);
    assert_int_equal(json_string(&w.json, &text), 0);
    assert_string_equal(text.at,
                        "\"\\/\b\f\n\r\t\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80 \xe4\xb8\xad");
    assert_int_equal(text.bytes, strlen(text.at));
    assert_int_equal(json_end(&w.json), 0);
    end(&w);
}

static void test_numbers(void **state)
{
    (void)state;
    static const char raw[] = "[18446744073709551615,-9223372036854775807,0.1,-2e3,7]";
    struct walk w;
    uint64_t u;
    int64_t i;
    double d;
    begin(&w, raw, sizeof raw - 1);
    assert_int_equal(json_array(&w.json), 0);
    assert_int_equal(json_item(&w.json), 1);
    assert_int_equal(json_u64(&w.json, &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(json_item(&w.json), 1);
    assert_int_equal(json_i64(&w.json, &i), 0);
    assert_true(i == -INT64_MAX);
    assert_int_equal(json_item(&w.json), 1);
    assert_int_equal(json_double(&w.json, &d), 0);
    assert_true(d == 0.1);
    assert_int_equal(json_item(&w.json), 1);
    assert_int_equal(json_double(&w.json, &d), 0);
    assert_true(d == -2000);
    assert_int_equal(json_item(&w.json), 1);
    assert_int_equal(json_u64(&w.json, &u), 0);
    assert_int_equal(json_item(&w.json), 0);
    assert_int_equal(json_end(&w.json), 0);
    end(&w);

    static const struct {
        const char *text;
        char kind;
    } bad[] = {{"18446744073709551616", 'u'},
               {"-1", 'u'},
               {"1.0", 'u'},
               {"1e3", 'u'},
               {"\"1\"", 'u'},
               {"1.5", 'i'},
               {"9223372036854775808", 'i'},
               {"1e999", 'd'},
               {"null", 'd'},
               {"true", 'u'}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        begin(&w, bad[k].text, strlen(bad[k].text));
        int r = bad[k].kind == 'u'   ? json_u64(&w.json, &u)
                : bad[k].kind == 'i' ? json_i64(&w.json, &i)
                                     : json_double(&w.json, &d);
        assert_int_equal(r, -EINVAL);
        end(&w);
    }
}

static void test_walk(void **state)
{
    (void)state;
    static const char raw[] = "{\"list\":[1,2],\"more\":{\"x\":[{}]},\"flag\":true,\"no\":null}";
    struct walk w;
    struct json_text key;
    begin(&w, raw, sizeof raw - 1);
    assert_int_equal(json_object(&w.json), 0);
    int n = 0;
    bool flag = false;
    enum json_kind kind;
    while (json_key(&w.json, &key) > 0) {
        n++;
        assert_int_equal(json_peek(&w.json, &kind), 0);
        if (json_is(&key, "flag"))
            assert_int_equal(json_bool(&w.json, &flag), 0);
        else if (json_is(&key, "no"))
            assert_int_equal(json_null(&w.json), 0);
        else
            assert_int_equal(json_skip(&w.json), 0);
    }
    assert_int_equal(n, 4);
    assert_true(flag);
    assert_int_equal(kind, JSON_NULL);
    assert_int_equal(w.json.n_keys, 0);
    assert_int_equal(json_end(&w.json), 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
