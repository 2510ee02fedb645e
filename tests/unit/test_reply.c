/* SPDX-License-Identifier: MIT
 *
 * chat_reply: thinking and answer apart, the same for every split, and no marker in the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys.h"
#include "text/chat.h"
#include "text/token.h"

static struct vocab *vocab;

struct parts {
    char text[2][512];
};

static void note(void *arg, enum chat_part part, const char *text, size_t bytes)
{
    struct parts *parts = arg;
    assert_true(bytes > 0);
    assert_true(part == CHAT_PART_TEXT || part == CHAT_PART_THINKING);
    assert_true(strlen(parts->text[part]) + bytes < sizeof(parts->text[part]));
    strncat(parts->text[part], text, bytes);
}

/* A script: '[' and ']' are <think> and </think>, '$' the end, '{' and '}' tool markers; the rest
 * is text, in chunks of at most `chunk` bytes (0: as long as it goes). */
static void feed(const char *family, bool thinking, bool generation, const char *script, int chunk,
                 struct parts *ret)
{
    struct chat_options options = {.thinking = thinking, .add_generation_prompt = generation};
    struct chat_reply *reply = NULL;
    *ret = (struct parts){0};
    assert_int_equal(chat_reply_new(chat_by_name(family), vocab, &options, &reply), 0);
    while (*script) {
        static const char *const markers[] = {"<think>", "</think>", "<｜end▁of▁sentence｜>",
                                              "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"};
        const char *marker = strchr("[]${}", *script);
        if (marker) {
            chat_reply_push(reply, vocab_find(vocab, markers[marker - strchr("[]${}", '[')]), "", 0,
                            note, ret);
            script++;
            continue;
        }
        size_t n = strcspn(script, "[]${}");
        if (chunk > 0 && n > (size_t)chunk)
            n = (size_t)chunk;
        chat_reply_push(reply, chunk > 1 ? -1 : 'x', script, n, note, ret);
        script += n;
    }
    chat_reply_finish(reply, note, ret);
    chat_reply_free(reply);
}

static const struct {
    const char *family;
    bool thinking, generation;
    const char *script, *thought, *answer;
} cases[] = {
    /* V3 has no thinking: what looks like it is a marker without meaning */
    {"deepseek-v3", false, true, "Hello.$", "", "Hello."},
    {"deepseek-v3", true, true, "[a]b$", "", "ab"},
    {"deepseek-v3", false, true, "\n\nx", "", "\n\nx"},
    {"deepseek-v3", false, true, "call{function}done$", "", "callfunctiondone"},
    /* R1: the prompt has opened it */
    {"deepseek-r1", false, true, "hm\n]\n\nyes$", "hm\n", "yes"},
    {"deepseek-r1", true, true, "hm]yes\n\nand$", "hm", "yes\n\nand"},
    {"deepseek-r1", true, true, "no end", "no end", ""},
    {"deepseek-r1", true, true, "]\n\n\n$", "", ""},
    {"deepseek-r1", true, true, "[a]b", "a", "b"},           /* opened twice: once */
    {"deepseek-r1", true, true, "a]b[c]d", "a", "bcd"},      /* one block only */
    {"deepseek-r1", true, false, "goes on$", "", "goes on"}, /* a turn that was open */
    /* R1-0528: by itself or when asked */
    {"deepseek-r1-0528", true, true, "hm]\n\nyes$", "hm", "yes"},
    {"deepseek-r1-0528", false, true, "[\nhm]\nyes$", "hm", "yes"},
    {"deepseek-r1-0528", false, true, "[\n\nhm]yes", "\nhm", "yes"}, /* one line break */
    {"deepseek-r1-0528", false, true, "yes$", "", "yes"},
    {"deepseek-r1-0528", false, true, "yes [hm] no", "", "yes hm no"}, /* too late */
    {"deepseek-r1-0528", false, true, "\n[hm]yes", "hm", "\nyes"},
    {"deepseek-r1-0528", false, true, "a]b", "", "ab"},
    /* spelled by ordinary tokens it is text */
    {"deepseek-r1-0528", false, true, "<think>a</think>b", "", "<think>a</think>b"},
    {"deepseek-r1", true, true, "</think>a]b", "</think>a", "b"},
};

static void test_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int chunk = 0; chunk < 8; chunk++) {
            struct parts parts;
            feed(cases[i].family, cases[i].thinking, cases[i].generation, cases[i].script, chunk,
                 &parts);
            assert_string_equal(parts.text[CHAT_PART_THINKING], cases[i].thought);
            assert_string_equal(parts.text[CHAT_PART_TEXT], cases[i].answer);
        }
}

/* Text that comes with a marker was held back until then: it belongs before it. */
static void test_text_before_marker(void **state)
{
    (void)state;
    struct chat_options options = {.thinking = true, .add_generation_prompt = true};
    struct chat_reply *reply = NULL;
    struct parts parts = {0};
    assert_int_equal(chat_reply_new(chat_by_name("deepseek-r1"), vocab, &options, &reply), 0);
    chat_reply_push(reply, 'h', "", 0, note, &parts);
    chat_reply_push(reply, vocab_find(vocab, "</think>"), "held", 4, note, &parts);
    chat_reply_push(reply, -1, "answer", 6, note, &parts);
    chat_reply_finish(reply, note, &parts);
    assert_string_equal(parts.text[CHAT_PART_THINKING], "held");
    assert_string_equal(parts.text[CHAT_PART_TEXT], "answer");
    chat_reply_free(reply);
    chat_reply_free(NULL);
}

/* Without a token <think>, as in plain V3, the letters are text. */
static void test_no_such_token(void **state)
{
    (void)state;
    OWN(meta) *meta = keys_toy("deepseek-v3");
    for (uint64_t i = 0; i < keys_count(meta, "tokenizer.ggml.tokens"); i++) {
        size_t bytes;
        const char *text = meta_str_at(meta, "tokenizer.ggml.tokens", i, &bytes);
        if (strcmp(text, "<think>") == 0)
            keys_set(meta, "tokenizer.ggml.tokens", i, "<other>");
        else if (strcmp(text, "</think>") == 0)
            keys_set(meta, "tokenizer.ggml.tokens", i, "</other>");
    }
    struct vocab *made = NULL;
    assert_int_equal(vocab_open(meta, &made, NULL), 0);
    OWN(vocab) *plain = made;
    struct chat_options options = {.add_generation_prompt = true};
    struct chat_reply *reply = NULL;
    struct parts parts = {0};
    assert_int_equal(chat_reply_new(chat_by_name("deepseek-r1-0528"), plain, &options, &reply), 0);
    chat_reply_push(reply, '<', "<think>a</think>b", 17, note, &parts);
    chat_reply_push(reply, vocab_find(plain, "<other>"), "", 0, note, &parts);
    chat_reply_finish(reply, note, &parts);
    assert_string_equal(parts.text[CHAT_PART_THINKING], "");
    assert_string_equal(parts.text[CHAT_PART_TEXT], "<think>a</think>b");
    chat_reply_free(reply);
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
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_text_before_marker),
        cmocka_unit_test(test_no_such_token),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
