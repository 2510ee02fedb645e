/* SPDX-License-Identifier: MIT
 *
 * detok: whole characters, U+FFFD where Unicode wants it, and stop strings that are never sent in
 * part, however the text comes in tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys.h"
#include "text/detok.h"
#include "text/token.h"
#include "text/utf8.h"

static struct vocab *vocab; /* ids below 256 are bytes */

/* Linked in place of the allocator's own, to count. */
static int n_allocations;
void *__real_malloc(size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    n_allocations++;
    return __real_malloc(bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    n_allocations++;
    return __real_realloc(p, bytes);
}

struct out {
    char text[8192];
    size_t n;
};

/* One push: what comes out is valid UTF-8 by itself. */
static void push(struct detok *d, int32_t id, struct out *out)
{
    const char *text;
    size_t bytes;
    int before = n_allocations;
    if (id < 0)
        detok_finish(d, &text, &bytes);
    else
        detok_push(d, id, &text, &bytes);
    assert_int_equal(n_allocations, before); /* a token costs no allocation */
    assert_int_equal(utf8_valid(text, bytes), bytes);
    assert_true(out->n + bytes < sizeof(out->text));
    memcpy(out->text + out->n, text, bytes);
    out->n += bytes;
    out->text[out->n] = 0;
}

static void run(const char *bytes, size_t n, const char *const *stops, int n_stops, int stop,
                const char *expected)
{
    struct detok d;
    struct out out = {.n = 0};
    assert_int_equal(detok_init(&d, vocab, false, stops, n_stops, NULL), 0);
    for (size_t i = 0; i < n; i++)
        push(&d, (unsigned char)bytes[i], &out);
    push(&d, -1, &out);
    assert_string_equal(out.text, expected);
    assert_int_equal(d.stop, stop);
    assert_int_equal(d.stopped, stop >= 0);
    push(&d, -1, &out); /* nothing is said twice */
    assert_string_equal(out.text, expected);
    detok_fini(&d);
}

#define F "\xEF\xBF\xBD"

static void test_replacement(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"plain", "plain"},
        {"नमस्ते اردو 中文 🦊", "नमस्ते اردو 中文 🦊"},
        /* table 3-8 of the Unicode standard, and its neighbours */
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", F F F F F F F F "A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", F F F F F F F F "A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", F F F F F "A" F F "B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", F F F F "A"},
        {"\xF0\x9F\xA6", F}, /* unfinished at the end: one */
        {"\xF0\x9F\xA6\x8A\xF0", "🦊" F},
        {"\xE4\xB8\xE4\xB8\xAD", F "中"},
        {"\xF5\x80", F F},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run(cases[i].bytes, strlen(cases[i].bytes), NULL, 0, -1, cases[i].text);
}

/* Every character of two to four bytes at the edges of the ranges comes through by bytes. */
static void test_every_length(void **state)
{
    (void)state;
    static const uint32_t points[] = {0x80,   0x7FF,  0x800,  0xFFF,   0x1000,   0xD7FF,
                                      0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF, 0x3FFFF};
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        uint32_t p = points[i];
        char s[5] = {0};
        if (p < 0x800) {
            s[0] = (char)(0xC0 | p >> 6);
            s[1] = (char)(0x80 | (p & 63));
        } else if (p < 0x10000) {
            s[0] = (char)(0xE0 | p >> 12);
            s[1] = (char)(0x80 | (p >> 6 & 63));
            s[2] = (char)(0x80 | (p & 63));
        } else {
            s[0] = (char)(0xF0 | p >> 18);
            s[1] = (char)(0x80 | (p >> 12 & 63));
            s[2] = (char)(0x80 | (p >> 6 & 63));
            s[3] = (char)(0x80 | (p & 63));
        }
        assert_int_equal(utf8_valid(s, strlen(s)), strlen(s));
        assert_int_equal(utf8_valid(s, strlen(s) - 1), 0);
        run(s, strlen(s), NULL, 0, -1, s);
    }
}

static void test_stops(void **state)
{
    (void)state;
    static const char *const user[] = {"User:"};
    static const char *const two[] = {"abcd", "bc"};
    static const char *const same_end[] = {"bc", "abc"};
    static const char *const wide[] = {"。", "中文"};
    run("hello User: more", 16, user, 1, 0, "hello ");
    run("hello Use", 9, user, 1, -1, "hello Use"); /* held back until the end */
    run("UsUser:", 7, user, 1, 0, "Us");
    run("xabcd", 5, two, 2, 1, "xa"); /* "bc" is complete first */
    run("xabc", 4, same_end, 2, 1, "x");
    run("好中文", 9, wide, 2, 1, "好");
    run("好中。文", 12, wide, 2, 0, "好中");
    static const char *const replaced[] = {F};
    run("a\xFF"
        "b",
        3, replaced, 1, 0, "a"); /* matching is on the text that goes out */
}

/* Nothing of a possible stop string leaves before it is decided. */
static void test_hold_back(void **state)
{
    (void)state;
    static const char *const stops[] = {"ababc"};
    struct detok d;
    struct out out = {.n = 0};
    assert_int_equal(detok_init(&d, vocab, false, stops, 1, NULL), 0);
    for (const char *s = "xabab"; *s; s++)
        push(&d, *s, &out);
    assert_string_equal(out.text, "x");
    push(&d, 'a', &out);
    assert_string_equal(out.text, "xab"); /* "aba" may still become one */
    push(&d, 'b', &out);
    push(&d, 'c', &out);
    assert_string_equal(out.text, "xab");
    assert_true(d.stopped);
    push(&d, 'z', &out);
    push(&d, -1, &out);
    assert_string_equal(out.text, "xab");
    detok_fini(&d);
}

/* What the header says, done to a whole text at once. */
static int plain(const char *text, const char *const *stops, int n_stops, char *dst)
{
    size_t n = strlen(text);
    for (size_t end = 1; end <= n; end++) {
        int found = -1;
        for (int i = 0; i < n_stops; i++) {
            size_t bytes = strlen(stops[i]);
            if (bytes <= end && memcmp(text + end - bytes, stops[i], bytes) == 0 &&
                (found < 0 || bytes > strlen(stops[found])))
                found = i;
        }
        if (found >= 0) {
            sprintf(dst, "%.*s", (int)(end - strlen(stops[found])), text);
            return found;
        }
    }
    strcpy(dst, text);
    return -1;
}

/* Random texts as tokens of one and of several bytes: the same as the whole text at once. */
static void test_any_tokens(void **state)
{
    (void)state;
    static const char *const letters[] = {"a", "b", "中", "é", "aa", "🦊"};
    unsigned seed = 5;
    for (int round = 0; round < 20000; round++) {
        char text[256] = "", stop[3][64] = {"", "", ""};
        for (int n = rand_r(&seed) % 24; n > 0; n--)
            strcat(text, letters[rand_r(&seed) % 6]);
        const char *stops[3];
        int n_stops = rand_r(&seed) % 4;
        for (int i = 0; i < n_stops; i++) {
            for (int n = 1 + rand_r(&seed) % 4; n > 0; n--)
                strcat(stop[i], letters[rand_r(&seed) % 6]);
            stops[i] = stop[i];
            for (int j = 0; j < i; j++)
                if (strcmp(stop[i], stop[j]) == 0)
                    n_stops = i; /* twins: which is named is of no interest */
        }
        char expected[256];
        int found = plain(text, stops, n_stops, expected);

        struct detok d;
        struct out out = {.n = 0};
        struct ids ids = {0};
        assert_int_equal(detok_init(&d, vocab, false, stops, n_stops, NULL), 0);
        if (round % 2) /* merged tokens */
            assert_int_equal(vocab_encode(vocab, text, strlen(text), 0, &ids, NULL), 0);
        else
            for (size_t i = 0; text[i]; i++)
                ids_push(&ids, (unsigned char)text[i]);
        for (size_t i = 0; i < ids.n; i++) {
            push(&d, ids.id[i], &out);
            assert_memory_equal(out.text, expected, out.n < strlen(expected) ? out.n : 0);
        }
        push(&d, -1, &out);
        assert_string_equal(out.text, expected);
        assert_int_equal(d.stop, found);
        detok_fini(&d);
        ids_fini(&ids);
    }
}

static void test_special(void **state)
{
    (void)state;
    static const char *const stops[] = {"ab"};
    int32_t think = vocab_find(vocab, "</think>");
    struct detok d;
    struct out out = {.n = 0};
    assert_int_equal(detok_init(&d, vocab, false, stops, 1, NULL), 0);
    push(&d, 'a', &out);
    assert_string_equal(out.text, "");
    push(&d, think, &out); /* a border: what was held comes out before it */
    assert_string_equal(out.text, "a");
    push(&d, 'b', &out);
    assert_string_equal(out.text, "ab");
    assert_false(d.stopped);
    push(&d, 0xE4, &out);
    push(&d, think, &out);
    push(&d, 0xB8, &out);
    push(&d, vocab_size(vocab), &out); /* no such token */
    push(&d, vocab_size(vocab) - 1, &out);
    push(&d, -1, &out);
    assert_string_equal(out.text, "ab" F F);
    detok_fini(&d);

    out.n = 0;
    assert_int_equal(detok_init(&d, vocab, true, NULL, 0, NULL), 0);
    push(&d, think, &out);
    push(&d, vocab_find(vocab, "ü"), &out);
    assert_string_equal(out.text, "</think>ü");
    detok_fini(&d);
}

static void refuse(const char *const *stops, int n_stops, const char *words)
{
    struct detok d;
    struct err err = {0};
    assert_int_equal(detok_init(&d, vocab, false, stops, n_stops, &err), -EINVAL);
    assert_non_null(strstr(err.text, words));
    detok_fini(&d);
}

static void test_refused(void **state)
{
    (void)state;
    char longest[DETOK_MAX_STOP_BYTES + 2];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    refuse((const char *const[]){"a", ""}, 2, "stop string 1 is empty");
    refuse((const char *const[]){longest}, 1, "257 bytes, expected at most 256");
    refuse((const char *const[]){"a\xE4"}, 1, "not UTF-8");
    const char *many[DETOK_MAX_STOPS + 1];
    for (int i = 0; i <= DETOK_MAX_STOPS; i++)
        many[i] = "x";
    refuse(many, DETOK_MAX_STOPS + 1, "17 stop strings");

    /* The longest allowed, held back up to its last byte. */
    longest[DETOK_MAX_STOP_BYTES] = 0;
    const char *stops[] = {longest};
    struct detok d;
    struct out out = {.n = 0};
    assert_int_equal(detok_init(&d, vocab, false, stops, 1, NULL), 0);
    for (int i = 0; i < DETOK_MAX_STOP_BYTES - 1; i++)
        push(&d, 'a', &out);
    assert_int_equal(out.n, 0);
    push(&d, 'b', &out);
    assert_int_equal(out.n, DETOK_MAX_STOP_BYTES);
    detok_fini(&d);
}

static int setup(void **state)
{
    (void)state;
    OWN(meta) *meta = keys_toy("deepseek-v3");
    return vocab_open(meta, &vocab, NULL);
}

static int teardown(void **state)
{
    (void)state;
    vocab_close(vocab);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replacement), cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_stops),       cmocka_unit_test(test_hold_back),
        cmocka_unit_test(test_any_tokens),  cmocka_unit_test(test_special),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
