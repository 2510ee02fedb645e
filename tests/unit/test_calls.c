/* SPDX-License-Identifier: MIT
 *
 * chat_reply: calls in every family's writing, the same for every split; what is none is text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "families.h"
#include "text/token.h"

#define EOS       "<｜end▁of▁sentence｜>"
#define SB        "<｜tool▁calls▁begin｜>"
#define SE        "<｜tool▁calls▁end｜>"
#define CB        "<｜tool▁call▁begin｜>"
#define CE        "<｜tool▁call▁end｜>"
#define SEP       "<｜tool▁sep｜>"
#define D         "｜DSML｜"
#define V4        "\n\n<" D "tool_calls>\n"
#define V4E       "</" D "tool_calls>"
#define INV       "<" D "invoke name=\"f\">\n"
#define INVE      "</" D "invoke>\n"
#define STR(k, v) "<" D "parameter name=\"" k "\" string=\"true\">" v "</" D "parameter>\n"
#define VAL(k, v) "<" D "parameter name=\"" k "\" string=\"false\">" v "</" D "parameter>\n"
#define KS        "<|tool_calls_section_begin|>"
#define KSE       "<|tool_calls_section_end|>"
#define KC        "<|tool_call_begin|>"
#define KA        "<|tool_call_argument_begin|>"
#define KE        "<|tool_call_end|>"

static struct vocab *vocab, *without_dsml;

static const struct {
    const char *family;
    bool thinking;
    const char *reply, *told;
} cases[] = {
    /* V3: type, name, a fence around the arguments */
    {"deepseek-v3", false, "so" SB CB "function" SEP "f\n```json\n{\"a\": 1}\n```" CE SE EOS,
     "so{f|{\"a\": 1}}"},
    {"deepseek-v3", false,
     SB CB "function" SEP "f\n```json\n{}\n```" CE "\n" CB "function" SEP
           "g\n```json\n1\n```" CE SE EOS,
     "{f|{}}{g|1}"},
    {"deepseek-v3", false, CB "function" SEP "f\n```json\n{}\n```" CE EOS,
     "{f|{}}"}, /* no section */
    {"deepseek-v3", false, SB CB "function" SEP "f\n```json\n{}\n```" EOS, "{f|{}}"}, /* no end */
    {"deepseek-v3", false, SB CB "function" SEP "f\n```json\n{}\n```" SE, "{f|{}}"},
    {"deepseek-v3", false,
     SB CB "function" SEP "f\n```json\n{}\n```" CB "x" SEP "g\n```json\n2\n```" CE, "{f|{}}{g|2}"},
    {"deepseek-v3", false, SB CB "function" SEP "f\n```json\n{\"a\": \"\n```x\n\n``\"", /* cut */
     "{f|{\"a\": \"\n```x\n\n``\"}"},
    {"deepseek-v3", false, SB CB "function" SEP "f\n```json\n1\n\n```\n```" CE, "{f|1\n\n```}"},
    {"deepseek-v3", false, SB CB "function" SEP "f\n```json\n1\n``" CE, "{f|1\n``}"},
    {"deepseek-v3", false, SB CB "function" SEP " f \n```json\n" CE, "{f|}"},
    /* not a call: text */
    {"deepseek-v3", false, SB CB "function" SEP "f\n{}" CE SE "!" EOS, "functionf\n{}!"},
    {"deepseek-v3", false, SB CB "function" SEP "f\n```jsox\n{}" CE, "functionf\n```jsox\n{}"},
    {"deepseek-v3", false, SB CB "function" CE "x", "functionx"},
    {"deepseek-v3", false, SB CB "function" SEP "\n```json\n{}\n```" CE,
     "function\n```json\n{}\n```"},
    {"deepseek-v3", false, SB "\n \nx y" SE "z" EOS, "x yz"},
    {"deepseek-v3", false, CB, ""},
    {"deepseek-v3", false, SEP "a" CE "b" SE "c", "abc"},
    {"deepseek-v3", false, "<think>a</think>b", "ab"}, /* it does not think */
    {"deepseek-r1", true,
     "hm" CB "x</think>\n\nso" SB CB "function" SEP "f\n```json\n{}\n```" CE SE, "[hmx]so{f|{}}"},
    /* V3.1: no type, no fence */
    {"deepseek-v3.1", false, "Looking." SB CB "f" SEP "{\"a\": 1}" CE CB "g" SEP "{}" CE SE EOS,
     "Looking.{f|{\"a\": 1}}{g|{}}"},
    {"deepseek-v3.1", true, "hm</think>\nyes" EOS, "[hm]\nyes"},
    {"deepseek-v3.1", true, "hm</think>" SB CB "f" SEP "{\n```" CE SE EOS, "[hm]{f|{\n```}"},
    {"deepseek-v3.1", true, "hm", "[hm]"},
    {"deepseek-v3.1", false, SB CB "f" SEP "{\"a" EOS, "{f|{\"a}"},
    {"deepseek-v3.1", false, SB CB "f" SE "x" EOS, "fx"},
    {"deepseek-v3.1", false, SB CB SEP "{}" CE SE "x" EOS, "{}x"},
    /* Kimi names calls by itself */
    {"kimi-k2", false,
     "so" KS KC "functions.get_x:0" KA "{\"a\": 1}" KE KC "functions.y:1" KA "{}" KE KSE
     "<|im_end|>",
     "so{get_x|{\"a\": 1}}{y|{}}"},
    {"kimi-k2", false, KS KC "plain" KA "{}" KE KSE, "{plain|{}}"},
    {"kimi-k2", false, KS KC "functions.a:b:12" KA "{}" KE KSE, "{a:b|{}}"},
    {"kimi-k2", false, KS KC "functions.:0" KA "{}" KE KSE, "functions.:0{}"},
    {"moonlight", false, "a<|im_end|>", "a"},
    /* DSML */
    {"deepseek-v4", false,
     "Look." V4 INV STR("city", "Paris \"x\"\n<b>") VAL("n", "3") INVE V4E EOS,
     "Look.{f|{\"city\": \"Paris \\\"x\\\"\\n<b>\", \"n\": 3}}"},
    {"deepseek-v4", false, V4 INV INVE INV VAL("a", "[1, {\"b\": null}]") INVE V4E EOS,
     "{f|{}}{f|{\"a\": [1, {\"b\": null}]}}"},
    {"deepseek-v4", true, "hm</think>" V4 INV INVE V4E, "[hm]{f|{}}"},
    {"deepseek-v4", true, "hm\n\n<tool_calls>\n</think>a", "[hm\n\n<tool_calls>\n]a"},
    {"deepseek-v4", false, "a\n\n\n\nb\n\n<x" EOS, "a\n\n\n\nb\n\n<x"},
    {"deepseek-v4", false, "a\n" V4 INV INVE V4E EOS, "a\n{f|{}}"},
    {"deepseek-v4", false, V4 INV STR("a", "") STR("b", "</x>") INVE V4E,
     "{f|{\"a\": \"\", \"b\": \"</x>\"}}"},
    {"deepseek-v3.2", false, "\n\n<" D "function_calls>\n" INV INVE "</" D "function_calls>" EOS,
     "{f|{}}"},
    /* broken: plain, and no marker in it */
    {"deepseek-v3.2", false, V4 INV INVE V4E EOS,
     "\n\n<tool_calls>\n<invoke name=\"f\">\n</invoke>\n</tool_calls>"},
    {"deepseek-v4", false, "a" V4 INV INVE EOS,
     "a\n\n<tool_calls>\n<invoke name=\"f\">\n</invoke>\n"},
    {"deepseek-v4", false, V4 INV INVE V4E "\n" EOS,
     "\n\n<tool_calls>\n<invoke name=\"f\">\n</invoke>\n</tool_calls>\n"},
    {"deepseek-v4", false, V4 V4E EOS, "\n\n<tool_calls>\n</tool_calls>"},
    {"deepseek-v4", false, V4 INV STR("a", "1") STR("a", "2") INVE V4E EOS,
     "\n\n<tool_calls>\n<invoke name=\"f\">\n"
     "<parameter name=\"a\" string=\"true\">1</parameter>\n"
     "<parameter name=\"a\" string=\"true\">2</parameter>\n</invoke>\n</tool_calls>"},
    {"deepseek-v4", false, V4 INV VAL("a", "x") INVE V4E,
     "\n\n<tool_calls>\n<invoke name=\"f\">\n"
     "<parameter name=\"a\" string=\"false\">x</parameter>\n</invoke>\n</tool_calls>"},
    {"deepseek-v4", false, V4 "<" D "invoke name=\"\">\n" INVE V4E,
     "\n\n<tool_calls>\n<invoke name=\"\">\n</invoke>\n</tool_calls>"},
    {"deepseek-v4", false, "a" D "b", "ab"},
    {"deepseek-v4", false, "\n\n<" D "tool_call", "\n\n<tool_call"},
    {"deepseek-v4", false, V4 "<think>x", "\n\n<tool_calls>\nx"},
    /* GLM */
    {"glm-4.7", false,
     "so<tool_call>f<arg_key>city</arg_key><arg_value>Paris \"x\"</arg_value>"
     "<arg_key>n</arg_key><arg_value>3</arg_value></tool_call><tool_call>g</tool_call>",
     "so{f|{\"city\": \"Paris \\\"x\\\"\", \"n\": 3}}{g|{}}"},
    {"glm-4.7", false,
     "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>[1,2]</arg_value>\n</tool_call>",
     "{f|{\"a\": [1,2]}}"},
    {"glm-4.7", false, "<tool_call>f<arg_key>a</arg_key><arg_value>\"q\"</arg_value></tool_call>",
     "{f|{\"a\": \"\\\"q\\\"\"}}"},
    {"glm-4.7", true, "hm</think>\n\nyes", "[hm]yes"},
    {"glm-4.7", false, "<tool_call>f<arg_key>a</arg_key></tool_call>x", "fax"},
    {"glm-4.7", false, "<tool_call>f<arg_key>a", "fa"},
    {"glm-4.7", false, "<tool_call></tool_call>x", "x"},
    {"glm-4.7", false, "<tool_call>f<tool_call>g</tool_call>", "f{g|{}}"},
    {"glm-4.7", false,
     "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value><arg_key>a</arg_key>"
     "<arg_value>2</arg_value></tool_call>",
     "fa1a2"},
    {"glm-4.7", false, "</tool_call></arg_key>a<arg_value>b", "ab"},
    /* V2 has no calls; the first space is the template's */
    {"deepseek-v2", false, " Hello  there" EOS, "Hello  there"},
    {"deepseek-v2", false, "Hello" EOS, "Hello"},
};

static void check(const struct vocab *v, size_t i, enum families_split split)
{
    const struct chat_options options = {.thinking = cases[i].thinking,
                                         .add_generation_prompt = true};
    struct chat_reply *reply = NULL;
    struct families_told told = {.last = -1};
    assert_int_equal(chat_reply_new(chat_by_name(cases[i].family), v, &options, &reply), 0);
    families_feed(reply, v, cases[i].reply, strlen(cases[i].reply), split, families_note, &told);
    families_end(&told);
    if (strcmp(told.text, cases[i].told) != 0 || told.broken)
        fail_msg("case %zu, split %d: '%s'\nexpected '%s'\nfound    '%s'%s", i, (int)split,
                 cases[i].reply, cases[i].told, told.text, told.broken ? ", out of order" : "");
    assert_int_equal(chat_reply_n_calls(reply), told.n_calls);
    chat_reply_free(reply);
    free(told.text);
}

static void test_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (enum families_split split = 0; split < N_SPLITS; split++)
            check(vocab, i, split);
}

/* Where ｜DSML｜ is no token its letters do the same. */
static void test_spelled_dsml(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (enum families_split split = 0; split < N_SPLITS; split++)
            if (strncmp(cases[i].family, "deepseek-v4", 11) == 0 ||
                strncmp(cases[i].family, "deepseek-v3.2", 13) == 0)
                check(without_dsml, i, split);
}

/* Where it is one, letters are letters. */
static void test_spelled_markers(void **state)
{
    (void)state;
    static const char *const replies[][2] = {
        {"deepseek-v4", V4 INV INVE V4E},
        {"deepseek-v3.1", SB CB "f" SEP "{}" CE SE},
        {"glm-4.7", "<tool_call>f</tool_call>"},
        {"kimi-k2", KS KC "functions.f:0" KA "{}" KE KSE},
    };
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        const struct chat_options options = {.add_generation_prompt = true};
        struct chat_reply *reply = NULL;
        struct families_told told = {.last = -1};
        assert_int_equal(chat_reply_new(chat_by_name(replies[i][0]), vocab, &options, &reply), 0);
        for (const char *c = replies[i][1]; *c; c++)
            chat_reply_push(reply, -1, c, 1, families_note, &told);
        chat_reply_finish(reply, families_note, &told);
        families_end(&told);
        assert_string_equal(told.text, replies[i][1]);
        assert_int_equal(told.n_calls, 0);
        chat_reply_free(reply);
        free(told.text);
    }
}

static void test_call_id(void **state)
{
    (void)state;
    const struct chat_options options = {.add_generation_prompt = true};
    struct chat_reply *reply = NULL;
    struct families_told told = {.last = -1};
    static const char text[] = KS KC " functions.f:7 " KA "{}" KE KSE;
    assert_int_equal(chat_reply_new(chat_by_name("kimi-k2"), vocab, &options, &reply), 0);
    assert_null(chat_reply_call_id(reply));
    families_feed(reply, vocab, text, strlen(text), SPLIT_TOKENS, families_note, &told);
    families_end(&told);
    assert_string_equal(chat_reply_call_id(reply), "functions.f:7");
    assert_string_equal(told.text, "{f|{}}");
    chat_reply_free(reply);
    free(told.text);
}

/* A name without end is none, and costs no memory without end. */
static void test_long_name(void **state)
{
    (void)state;
    static char text[8192];
    const struct chat_options options = {.add_generation_prompt = true};
    struct chat_reply *reply = NULL;
    struct families_told told = {.last = -1};
    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(chat_reply_new(chat_by_name("deepseek-v3.1"), vocab, &options, &reply), 0);
    chat_reply_push(reply, vocab_find(vocab, CB), "", 0, families_note, &told);
    chat_reply_push(reply, -1, text, 2000, families_note, &told);
    assert_true(told.n == 2000); /* told before the end */
    chat_reply_push(reply, vocab_find(vocab, SEP), "", 0, families_note, &told);
    chat_reply_push(reply, -1, "\xFF\xF5", 2, families_note, &told); /* never UTF-8 */
    chat_reply_finish(reply, families_note, &told);
    families_end(&told);
    assert_string_equal(told.text + 2000, "\xEF\xBF\xBD\xEF\xBF\xBD");
    chat_reply_free(reply);
    free(told.text);
}

/* A prefix in thinking is thinking that goes on. */
static void test_continues(void **state)
{
    (void)state;
    const struct chat_family *v31 = chat_by_name("deepseek-v3.1");
    const struct chat_message messages[] = {
        {.role = CHAT_USER, .content = "q", .bytes = 1},
        {.role = CHAT_ASSISTANT, .content = "a", .bytes = 1, .prefix = true}};
    struct chat_options asked = {.thinking = true, .add_generation_prompt = true};
    struct chat_options got = chat_options_for(v31, messages, 2, &asked);
    assert_true(chat_begins_thinking(v31, &got));
    asked.thinking = false;
    got = chat_options_for(v31, messages, 2, &asked);
    assert_false(chat_begins_thinking(v31, &got));
}

static int setup(void **state)
{
    (void)state;
    OWN(meta) *with = families_toy(true);
    OWN(meta) *without = families_toy(false);
    return vocab_open(with, &vocab, NULL) || vocab_open(without, &without_dsml, NULL);
}

static int teardown(void **state)
{
    (void)state;
    vocab_close(vocab);
    vocab_close(without_dsml);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),           cmocka_unit_test(test_spelled_dsml),
        cmocka_unit_test(test_spelled_markers), cmocka_unit_test(test_call_id),
        cmocka_unit_test(test_long_name),       cmocka_unit_test(test_continues),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
