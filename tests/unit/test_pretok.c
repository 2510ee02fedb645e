/* SPDX-License-Identifier: MIT
 *
 * pretok: the pieces of every rule set, and what happens at its limits. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/pretok.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE              65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

struct joined { /* pieces with '|' between */
    char *text;
    size_t n, room;
    int pieces;
};

static int join(void *arg, const char *piece, size_t bytes)
{
    struct joined *joined = arg;
    assert_true(bytes > 0);
    if (joined->n + bytes + 2 > joined->room) {
        joined->room = (joined->n + bytes + 2) * 2;
        joined->text = realloc(joined->text, joined->room);
        assert_non_null(joined->text);
    }
    if (joined->pieces++ > 0)
        joined->text[joined->n++] = '|';
    memcpy(joined->text + joined->n, piece, bytes);
    joined->n += bytes;
    joined->text[joined->n] = 0;
    return 0;
}

static struct pretok *open_rules(const char *name)
{
    struct pretok *pretok = NULL;
    struct err err = {0};
    const struct pretok_rules *rules = pretok_find(name);
    assert_non_null(rules);
    if (pretok_open(rules, &pretok, &err) < 0)
        fail_msg("%s", err.text);
    return pretok;
}

static void assert_pieces(const struct pretok *pretok, const char *text, size_t bytes,
                          const char *expected)
{
    struct joined joined = {0};
    struct err err = {0};
    if (pretok_split(pretok, text, bytes, join, &joined, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(joined.text ? joined.text : "", expected);
    free(joined.text);
}

struct split_case {
    const char *text, *pieces;
};

static void check_cases(const char *name, const struct split_case *cases, int n)
{
    OWN(pretok) *pretok = open_rules(name);
    for (int i = 0; i < n; i++)
        assert_pieces(pretok, cases[i].text, strlen(cases[i].text), cases[i].pieces);
}
#define CHECK(name, cases) check_cases(name, cases, sizeof(cases) / sizeof(cases[0]))

static const struct split_case v3_cases[] = {
    {"", ""},
    {"12345", "123|45"},
    {"1234567 8", "123|456|7| |8"},
    {"  x", " | x"},
    {"x  ", "x|  "},
    {"x \n\n y", "x| \n\n| y"},
    {"a\r\nb", "a|\r\n|b"},
    {"'single'", "'single|'"},
    {"foo.bar(baz);", "foo|.bar|(baz|);"},
    {"end.\n\nNext", "end|.\n\n|Next"},
    {" !!", " !!"},
    {"\tindent", "\tindent"},
    {"中文123", "中文|123"},
    {"中文，ひらカナ", "中文|，|ひらカナ"},
    {"e\xCC\x81t", "e\xCC\x81t"},       /* a mark stays with its letter */
    {"\xE1\xA0\x8Ex", "\xE1\xA0\x8Ex"}, /* U+180E is no white space */
    {"a\xE2\x80\x83\xE2\x80\x83"
     "b",
     "a|\xE2\x80\x83|\xE2\x80\x83"
     "b"},
    {"a \x01 b", "a| |\x01| b"},
};

static const struct split_case llm_cases[] = {
    {"Hello World", "Hello| World"},
    {"a\n\nb", "a|\n|\n|b"},
    {"x   5", "x|   |5"},
    {"x   ", "x|   "},
    {"x  \ny", "x|  |\n|y"},
    {"12 34", "12| |34"},
    {"don't!?", "don|'|t|!?"},
    {" 中文字", " |中文字"},
    {"नम", "नम"}, /* rule 5 begins at U+0800 */
    {"нещо", "нещо"},
};

static const struct split_case coder_cases[] = {
    {"Hello World", "Hello| World"},
    {"12", "1|2"},
    {"a+b", "a|+|b"},
    {"a, b", "a|,| b"},
    {"x\r\ny", "x|\r|\n|y"},
    {"नम 中文", "नम| |中文"},
};

/* Worked out by hand from the alternatives. */
static const struct split_case kimi_cases[] = {
    {"", ""},
    {"Hello World", "Hello| World"},
    {"HelloWorld", "Hello|World"},
    {"HTTPServer", "HTTPServer"}, /* capitals, then small letters: one piece */
    {"don't DON'T", "don't| DON'T"},
    {"12345", "123|45"},
    {"中文abc", "中文|abc"},
    {"a中文", "a|中文"},
    {" 中", " |中"},
    {"x!!\n\ny", "x|!!\n\n|y"},
    {"  x", " | x"},
    {"x  ", "x|  "},
    {"नमस्ते", "नमस्ते"},
    {"ひらカナ", "ひらカナ"},
};

static const struct split_case glm_cases[] = {
    {"", ""},
    {"Hello World", "Hello| World"},
    {"don't DON'T", "don|'t| DON|'T"},
    {"12345", "123|45"},
    {"中文abc", "中文abc"},
    {"x!!\n\ny", "x|!!\n\n|y"},
    {"  x", " | x"},
    {"a \n b", "a| \n| b"},
};

static void test_relatives(void **state)
{
    (void)state;
    CHECK("kimi-k2", kimi_cases);
    CHECK("glm4", glm_cases);
    CHECK("chatglm-bpe", glm_cases);
}

static void test_v3(void **state)
{
    (void)state;
    CHECK("deepseek-v3", v3_cases);
    CHECK("joyai-llm", v3_cases);
}

static void test_llm(void **state)
{
    (void)state;
    CHECK("deepseek-llm", llm_cases);
}

static void test_coder(void **state)
{
    (void)state;
    CHECK("deepseek-coder", coder_cases);
}

/* White space is what Unicode says: before a line break it belongs to the break's piece. */
static void test_white_space(void **state)
{
    (void)state;
    static const char *const spaces[] = {
        "\t",           "\v",           "\f",           " ",
        "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80",
        "\xE2\x80\x81", "\xE2\x80\x85", "\xE2\x80\x8A", "\xE2\x80\xA8",
        "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    /* U+180E, U+200B, U+2060, U+FEFF, U+001C */
    static const char *const others[] = {"\xE1\xA0\x8E", "\xE2\x80\x8B", "\xE2\x81\xA0",
                                         "\xEF\xBB\xBF", "\x1C"};
    OWN(pretok) *pretok = open_rules("deepseek-v3");
    char text[16], expected[16];
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        snprintf(text, sizeof(text), "%s\n", spaces[i]);
        assert_pieces(pretok, text, strlen(text), text);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        snprintf(text, sizeof(text), "%s\n", others[i]);
        snprintf(expected, sizeof(expected), "%s|\n", others[i]);
        assert_pieces(pretok, text, strlen(text), expected);
    }
}

static void test_unknown_name(void **state)
{
    (void)state;
    assert_null(pretok_find("llama-bpe"));
    assert_null(pretok_find(""));
}

static void test_invalid_utf8(void **state)
{
    (void)state;
    OWN(pretok) *pretok = open_rules("deepseek-v3");
    assert_pieces(pretok,
                  "ab\xFF"
                  "cd\xE4\xB8",
                  7, "ab|\xFF|cd|\xE4|\xB8");
    assert_pieces(pretok, "\xED\xA0\x80", 3, "\xED|\xA0|\x80"); /* a surrogate */
    struct joined joined = {0};
    assert_int_equal(pretok_split(pretok, "a\0b", 3, join, &joined, NULL), 0);
    assert_int_equal(joined.pieces, 2);
    assert_memory_equal(joined.text, "a|\0b", 4); /* the NUL is the optional character of a word */
    free(joined.text);
}

/* Every text of a small alphabet with all the classes: pieces are the text, in order. */
static void test_nothing_is_lost(void **state)
{
    (void)state;
    static const char *const letters[] = {"a",    "B",    " ",    "\n",   "\r",           "\t",
                                          "1",    ".",    "中",   "ü",    "\xE2\x80\x83", "क",
                                          "\x01", "🦙", "\xFF", "\xE4", "\xCC\x81",     "あ"};
    unsigned seed = 7;
    for (const struct pretok_rules *rules = pretok_table; rules->name; rules++) {
        OWN(pretok) *pretok = open_rules(rules->name);
        for (int round = 0; round < 3000; round++) {
            char text[128] = "";
            for (int n = rand_r(&seed) % 20; n > 0; n--)
                strcat(text, letters[(unsigned)rand_r(&seed) % 18]);
            struct joined joined = {0};
            assert_int_equal(pretok_split(pretok, text, strlen(text), join, &joined, NULL), 0);
            char *to = joined.text;
            for (const char *from = joined.text; from && *from; from++)
                if (*from != '|')
                    *to++ = *from;
            if (to)
                *to = 0;
            assert_string_equal(joined.text ? joined.text : "", text);
            free(joined.text);
        }
    }
}

static int stop_early(void *arg, const char *piece, size_t bytes)
{
    (void)piece;
    (void)bytes;
    return ++*(int *)arg == 2 ? -ECANCELED : 0;
}

static void test_emit_ends_it(void **state)
{
    (void)state;
    OWN(pretok) *pretok = open_rules("deepseek-v3");
    int n = 0;
    assert_int_equal(pretok_split(pretok, "a b c d", 7, stop_early, &n, NULL), -ECANCELED);
    assert_int_equal(n, 2);
}

static void test_bad_pattern(void **state)
{
    (void)state;
    static const struct pretok_rules rules = {"broken", {"a", "(b"}};
    struct pretok *pretok = NULL;
    struct err err = {0};
    assert_int_equal(pretok_open(&rules, &pretok, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'broken': pattern 2"));
    assert_null(pretok);
}

/* A pattern that takes exponential time ends in words. */
static void test_limit(void **state)
{
    (void)state;
    static const struct pretok_rules rules = {"slow", {"(?:a|b|ab)+(?:a|b|ab)+[cd]"}};
    struct pretok *made = NULL;
    assert_int_equal(pretok_open(&rules, &made, NULL), 0);
    OWN(pretok) *pretok = made;
    char text[4000];
    memset(text, 'a', sizeof(text));
    for (size_t i = 1; i < sizeof(text); i += 2)
        text[i] = 'b';
    struct err err = {0};
    struct joined joined = {0};
    assert_int_equal(pretok_split(pretok, text, sizeof(text), join, &joined, &err), -EINVAL);
    assert_non_null(strstr(err.text, "rule 1"));
    assert_non_null(strstr(err.text, "4000 bytes"));
    free(joined.text);
}

/* No rule set may need more than linear time: a square of these lengths would take minutes. */
static void test_long_runs(void **state)
{
    (void)state;
    enum { N = 400 * 1000 };
    static const char *const units[] = {" ", "\n", "a", "1", ".", "\t ", " \n", "中", "ü", "\x01 "};
    char *text = malloc(N + 8);
    assert_non_null(text);
    alarm(60);
    for (const struct pretok_rules *rules = pretok_table; rules->name; rules++) {
        OWN(pretok) *pretok = open_rules(rules->name);
        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            size_t n = 0, unit = strlen(units[u]);
            for (; n + unit <= N; n += unit)
                memcpy(text + n, units[u], unit);
            text[n++] = '5'; /* so that the run does not end the text */
            struct joined joined = {0};
            assert_int_equal(pretok_split(pretok, text, n, join, &joined, NULL), 0);
            assert_int_equal(joined.n, n + (size_t)joined.pieces - 1);
            free(joined.text);
        }
    }
    alarm(0);
    free(text);
}

/* Whether PCRE2 can make code here. It keeps what it once got, so nothing may have compiled before.
 */
static bool has_jit(void)
{
    int code;
    size_t at;
    pcre2_code *pattern = pcre2_compile((PCRE2_SPTR) "a", 1, 0, &code, &at, NULL);
    bool made = pcre2_jit_compile(pattern, PCRE2_JIT_COMPLETE) == 0;
    pcre2_code_free(pattern);
    return made;
}

/* Where memory cannot become code, PCRE2 interprets: the same pieces, in linear time too. The first
 * test of all: see has_jit. */
static void test_without_jit(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0)
            _exit(77);
        if (has_jit())
            _exit(78); /* nothing would be tested */
        CHECK("deepseek-v3", v3_cases);
        CHECK("deepseek-llm", llm_cases);
        CHECK("deepseek-coder", coder_cases);
        CHECK("kimi-k2", kimi_cases);
        CHECK("glm4", glm_cases);
        test_long_runs(NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("this kernel has no PR_SET_MDWE (it came with 6.3)\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *split_often(void *arg)
{
    struct joined joined = {0};
    for (int i = 0; i < 500; i++) {
        joined.n = 0;
        joined.pieces = 0;
        if (pretok_split(arg, "One, two  three\n\n4567 中文", 28, join, &joined, NULL) < 0)
            break;
        if (strcmp(joined.text, "One|,| two| | three|\n\n|456|7| |中文") != 0)
            break;
        if (i == 499) {
            free(joined.text);
            return arg;
        }
    }
    free(joined.text);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    OWN(pretok) *pretok = open_rules("deepseek-v3");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, split_often, pretok), 0);
    for (int i = 0; i < 4; i++) {
        void *ret;
        pthread_join(threads[i], &ret);
        assert_ptr_equal(ret, pretok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_jit),
        cmocka_unit_test(test_relatives),
        cmocka_unit_test(test_v3),
        cmocka_unit_test(test_llm),
        cmocka_unit_test(test_coder),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_emit_ends_it),
        cmocka_unit_test(test_bad_pattern),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
