/* SPDX-License-Identifier: MIT
 *
 * chat: the families beyond V3 and R1, where no vector of others says it: their rules one by one,
 * what they refuse, and that nothing a client writes becomes a marker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "families.h"
#include "text/jtext.h"
#include "text/token.h"

#define BOS "<｜begin▁of▁sentence｜>"
#define EOS "<｜end▁of▁sentence｜>"
#define U   "<｜User｜>"
#define A   "<｜Assistant｜>"

static struct vocab *vocab;

#define MESSAGE(who, text) .role = who, .content = text, .bytes = sizeof(text) - 1
#define SYSTEM(text)                                                                               \
    {                                                                                              \
        MESSAGE(CHAT_SYSTEM, text)                                                                 \
    }
#define USER(text)                                                                                 \
    {                                                                                              \
        MESSAGE(CHAT_USER, text)                                                                   \
    }
#define ANSWER(text)                                                                               \
    {                                                                                              \
        MESSAGE(CHAT_ASSISTANT, text)                                                              \
    }
#define TOOL(text)                                                                                 \
    {                                                                                              \
        MESSAGE(CHAT_TOOL, text)                                                                   \
    }
#define PREFIX(text)                                                                               \
    {                                                                                              \
        MESSAGE(CHAT_ASSISTANT, text), .prefix = true                                              \
    }
#define THOUGHT(why, text)                                                                         \
    {                                                                                              \
        MESSAGE(CHAT_ASSISTANT, text), .reasoning = why, .reasoning_bytes = sizeof(why) - 1        \
    }

static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                            "\"description\":\"d\\u00e9\\/\",\"parameters\":{\"a\":[1,2.50]}}}]";

static void check(const char *family, const struct chat_message *messages, int n,
                  const struct chat_options *options, const char *expected)
{
    struct ids ids = {0}, want = {0};
    struct err err = {0};
    if (chat_by_name(family)->render(vocab, messages, n, options, &ids, &err) < 0)
        fail_msg("%s: %s", family, err.text);
    assert_int_equal(vocab_encode(vocab, expected, strlen(expected), VOCAB_SPECIAL, &want, NULL),
                     0);
    char text[4096] = "";
    for (size_t i = 0; i < ids.n; i++) {
        size_t bytes;
        const char *s = vocab_bytes(vocab, ids.id[i], &bytes);
        strncat(text, s, bytes);
    }
    assert_string_equal(text, expected);
    assert_int_equal(ids.n, want.n);
    assert_memory_equal(ids.id, want.id, ids.n * sizeof(*ids.id));
    ids_fini(&ids);
    ids_fini(&want);
}
#define PROMPT(family, options_, expected, ...)                                                    \
    do {                                                                                           \
        const struct chat_message m_[] = {__VA_ARGS__};                                            \
        const struct chat_options o_ = options_;                                                   \
        check(family, m_, sizeof(m_) / sizeof(m_[0]), &o_, expected);                              \
    } while (0)
#define PLAIN                                                                                      \
    {                                                                                              \
        .add_generation_prompt = true                                                              \
    }
#define THINK                                                                                      \
    {                                                                                              \
        .thinking = true, .add_generation_prompt = true                                            \
    }
#define CLOSED                                                                                     \
    {                                                                                              \
        .thinking = true                                                                           \
    }
#define TOOLS                                                                                      \
    {                                                                                              \
        .add_generation_prompt = true, .tools = tools                                              \
    }

static void test_v2(void **state)
{
    (void)state;
    PROMPT("deepseek-v2", PLAIN, BOS "User: the\n\nAssistant:", USER("the"));
    PROMPT("deepseek-v2", CLOSED, BOS "User: the\n\n", USER("the"));
    PROMPT("deepseek-v2", THINK,
           BOS "s\n\nUser: 1\n\nAssistant: 2" EOS "t\n\nUser: 3\n\nAssistant:", SYSTEM("s"),
           USER("1"), ANSWER("2"), SYSTEM("t"), USER("3"));
    PROMPT("deepseek-v2", PLAIN, BOS "User: 1\n\nAssistant: 2", USER("1"), PREFIX("2"));
    PROMPT("deepseek-v2", PLAIN, BOS "User: 1\n\nAssistant:", USER("1"), PREFIX(""));
}

static void test_v3_tools(void **state)
{
    (void)state;
    static const char block[] =
        "## Tools\n\n### Function\n\nYou have the following functions available:\n\n- `f`:\n"
        "```json\n{\"name\": \"f\", \"description\": \"dé/\", \"parameters\": {\"a\": [1, "
        "2.50]}}\n```\n";
    char with[1024], without[1024];
    snprintf(with, sizeof(with), BOS "s\n\n%s" U "q" A, block);
    snprintf(without, sizeof(without), BOS "%s" U "q" A, block);
    PROMPT("deepseek-v3", TOOLS, with, SYSTEM("s"), USER("q"));
    PROMPT("deepseek-v2.5", TOOLS, without, USER("q"));
}

static void test_v31(void **state)
{
    (void)state;
    PROMPT("deepseek-v3.1", THINK, BOS U "1" A "<think>2", USER("1"), PREFIX("2"));
    PROMPT("deepseek-v3.1", PLAIN, BOS U "1" A "</think>2", USER("1"), PREFIX("2"));
    PROMPT(
        "deepseek-v3.1", THINK, BOS U "1" A "<think>why</think>2", USER("1"),
        {MESSAGE(CHAT_ASSISTANT, "2"), .prefix = true, .reasoning = "why", .reasoning_bytes = 3});
    /* cut after the first </think>; what was thought is not replayed */
    PROMPT("deepseek-v3.1", PLAIN, BOS U "1" A "</think>b<" EOS U "2" A "</think>", USER("1"),
           THOUGHT("why", "a</think>b<"), USER("2"));
    PROMPT("deepseek-v3.1", CLOSED, BOS U "1" A "</think>a" EOS, USER("1"), ANSWER("a"));
}

static const struct chat_call ab[] = {{"f", "{}", "a"}, {"g", "{\"x\":1}", "b"}};
#define CALLS                                                                                      \
    {                                                                                              \
        .role = CHAT_ASSISTANT, .calls = ab, .n_calls = 2, .reasoning = "why",                     \
        .reasoning_bytes = 3                                                                       \
    }
#define RESULT(id, text)                                                                           \
    {                                                                                              \
        MESSAGE(CHAT_TOOL, text), .call_id = id                                                    \
    }

static void test_v32(void **state)
{
    (void)state;
#define BLOCK                                                                                      \
    "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n"         \
    "<｜DSML｜invoke name=\"g\">\n<｜DSML｜parameter name=\"x\" "                              \
    "string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>" EOS
#define RESULTS                                                                                    \
    "\n\n<function_results>\n<result>1</result>\n<result>2</result>\n</function_results>"
    PROMPT("deepseek-v3.2", THINK, BOS U "q" A "<think>why</think>" BLOCK RESULTS "\n\n<think>",
           USER("q"), CALLS, TOOL("1"), TOOL("2"));
    PROMPT("deepseek-v3.2", PLAIN, BOS U "q" A "</think>" BLOCK RESULTS "\n\n</think>", USER("q"),
           CALLS, RESULT("b", "2"), RESULT("a", "1"));
    PROMPT("deepseek-v3.2", CLOSED, BOS U "q" A "<think>why</think>" BLOCK RESULTS, USER("q"),
           CALLS, TOOL("1"), TOOL("2"));
    PROMPT("deepseek-v3.2", THINK, BOS "s" U "1" A "</think>2" EOS U "3" A "<think>", SYSTEM("s"),
           USER("1"), THOUGHT("why", "2"), USER("3"));
    PROMPT("deepseek-v3.2", THINK, BOS U "1" A "<think></think>2", USER("1"), PREFIX("2"));
    PROMPT("deepseek-v3.2",
           ((struct chat_options){.add_generation_prompt = true, .response_format = "{\"a\":1}"}),
           BOS "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to "
               "reply:\n{\"a\": 1}" U "q" A "</think>",
           USER("q"));
}

static void test_v4(void **state)
{
    (void)state;
#define V4_CALLS                                                                                   \
    "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n"             \
    "<｜DSML｜invoke name=\"g\">\n<｜DSML｜parameter name=\"x\" "                              \
    "string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>" EOS
    /* results take each other's places, words keep theirs */
    PROMPT("deepseek-v4", THINK,
           BOS U "q" A "</think>" V4_CALLS U
                 "<tool_result>1</tool_result>\n\nand\n\n<tool_result>2</tool_result>" A "<think>",
           USER("q"), CALLS, RESULT("b", "2"), USER("and"), RESULT("a", "1"));
    PROMPT("deepseek-v4", THINK, BOS U "1" A "<think>why</think>2" EOS, USER("1"),
           THOUGHT("why", "2"));
    PROMPT("deepseek-v4", CLOSED, BOS U "1", USER("1"));
    PROMPT("deepseek-v4", THINK, BOS U "1" A "<think></think>2", USER("1"), PREFIX("2"));
    PROMPT("deepseek-v4", THINK, BOS U "1<｜title｜>", {MESSAGE(CHAT_USER, "1"), .task = "title"});
    PROMPT("deepseek-v4", THINK, BOS U "1<｜title｜>t" EOS U "2" A "<think>",
           {MESSAGE(CHAT_USER, "1"), .task = "title"}, ANSWER("t"), USER("2"));
}

static void test_kimi(void **state)
{
    (void)state;
#define K(mark, role, text) "<|im_" mark "|>" role "<|im_middle|>" text "<|im_end|>"
#define KIMI_CALLS(i, j)                                                                           \
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:" i                                \
    "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_call_begin|>functions.g:" j             \
    "<|tool_call_argument_begin|>{\"x\":1}<|tool_call_end|><|tool_calls_section_end|>"
#define KIMI_TAIL "<|im_assistant|>assistant<|im_middle|>"
    PROMPT("kimi-k2", TOOLS,
           K("system", "tool_declare",
             "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"dé/\", "
             "\"parameters\": {\"a\": [1, 2.50]}}}]") K("system", "system", "s")
               K("user", "user", "q") K("assistant", "assistant", KIMI_CALLS("0", "1"))
                   K("system", "tool", "## Return of functions.g:1\n2")
                       K("system", "tool", "## Return of functions.f:0\n1")
                           K("assistant", "assistant", KIMI_CALLS("2", "3"))
                               K("system", "tool", "## Return of functions.f:2\n3") KIMI_TAIL,
           SYSTEM("s"), USER("q"), CALLS, RESULT("b", "2"), RESULT("a", "1"), CALLS, TOOL("3"));
    PROMPT("kimi-k2", PLAIN, K("system", "system", "s") "<|im_assistant|>assistant<|im_middle|>a",
           SYSTEM("s"), PREFIX("a"));
    PROMPT("moonlight", PLAIN,
           K("system", "system", "You are a helpful assistant") K("user", "user", "q") KIMI_TAIL,
           USER("q"));
}

static void test_glm(void **state)
{
    (void)state;
    static const struct chat_call call[] = {
        {"f", "{\"s\":\"a\\n\\\"b\",\"n\":[1,null],\"\\u00e9\":{}}", NULL}};
    PROMPT("glm-4.7", THINK,
           "[gMASK]<sop><|user|>q<|assistant|><think>why</think>so<tool_call>f<arg_key>s</arg_key>"
           "<arg_value>a\n\"b</arg_value><arg_key>n</arg_key><arg_value>[1, null]</arg_value>"
           "<arg_key>é</arg_key><arg_value>{}</arg_value></tool_call><|observation|>"
           "<tool_response>1</tool_response><tool_response>2</tool_response><|assistant|><think>",
           USER("q"),
           {MESSAGE(CHAT_ASSISTANT, "so"), .calls = call, .n_calls = 1, .reasoning = "why",
            .reasoning_bytes = 3},
           TOOL("1"), TOOL("2"));
    PROMPT("glm-4.7", PLAIN,
           "[gMASK]<sop><|user|>1<|assistant|></think>2<|user|>3<|assistant|>"
           "</think>",
           USER("1"), THOUGHT("why", "2"), USER("3"));
    PROMPT("glm-4.7", THINK, "[gMASK]<sop><|user|>1<|assistant|></think>2", USER("1"), PREFIX("2"));
}

static void test_hole(void **state)
{
    (void)state;
    static const char prefix[] = "a<｜fim▁end｜>", suffix[] = "\nb";
    static const char *const marks[] = {BOS, "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"};
    struct ids ids = {0};
    int at = 0;
    assert_int_equal(
        chat_render_hole(vocab, prefix, strlen(prefix), suffix, strlen(suffix), &ids, NULL), 0);
    for (size_t i = 0; i < ids.n; i++)
        if (vocab_is_special(vocab, ids.id[i]))
            assert_int_equal(ids.id[i], vocab_find(vocab, marks[at++]));
    assert_int_equal(at, 4);
    ids.n = 0;
    OWN(meta) *meta = keys_toy("deepseek-v3");
    struct vocab *made = NULL;
    struct err err = {0};
    assert_int_equal(vocab_open(meta, &made, NULL), 0);
    OWN(vocab) *without = made;
    assert_int_equal(chat_render_hole(without, "a", 1, "b", 1, &ids, &err), -EINVAL);
    assert_non_null(strstr(err.text, "fim"));
    assert_int_equal(ids.n, 0);
    ids_fini(&ids);
}

/* ---- what is refused */

static void refuse(const char *family, const struct chat_message *messages, int n,
                   const struct chat_options *options, const char *words)
{
    struct ids ids = {0};
    struct err err = {0};
    assert_int_equal(chat_by_name(family)->render(vocab, messages, n, options, &ids, &err),
                     -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    assert_int_equal(ids.n, 0);
    ids_fini(&ids);
}
#define REFUSE(family, options_, words, ...)                                                       \
    do {                                                                                           \
        const struct chat_message m_[] = {__VA_ARGS__};                                            \
        const struct chat_options o_ = options_;                                                   \
        refuse(family, m_, sizeof(m_) / sizeof(m_[0]), &o_, words);                                \
    } while (0)
#define ASKED(field, value)                                                                        \
    {                                                                                              \
        .field = value                                                                             \
    }

static void test_refused(void **state)
{
    (void)state;
    static struct chat_call many[129];
    static struct chat_message results[200];
    for (int i = 0; i < 129; i++)
        many[i] = (struct chat_call){"f", "{}", NULL};
    REFUSE("deepseek-v2", TOOLS, "deepseek-v2 has no tools", USER("q"));
    REFUSE("deepseek-v2", PLAIN, "no place for tools", USER("q"), TOOL("r"));
    REFUSE("deepseek-v3", ASKED(response_format, "{}"), "no response_format", USER("q"));
    REFUSE("deepseek-v3.2", ASKED(effort, CHAT_EFFORT_MAX), "effort 'max'", USER("q"));
    REFUSE("kimi-k2", PLAIN, "developer", {MESSAGE(CHAT_DEVELOPER, "q")});
    REFUSE("deepseek-v3.2", PLAIN, "latest_reminder", {MESSAGE(CHAT_REMINDER, "q")});
    REFUSE("deepseek-v4", PLAIN, "unknown task 'User'", {MESSAGE(CHAT_USER, "q"), .task = "User"});
    REFUSE("deepseek-v3.2", PLAIN, "task", {MESSAGE(CHAT_USER, "q"), .task = "title"});
    REFUSE("deepseek-v4", PLAIN, "tools", {MESSAGE(CHAT_USER, "q"), .tools = tools});
    REFUSE("deepseek-v4", ASKED(tools, "{}"), "tools: not a JSON array", USER("q"));
    REFUSE("deepseek-v4", ASKED(tools, "[1]"), "tools[0]", USER("q"));
    REFUSE("deepseek-v4", ASKED(tools, "[{\"name\":\"\"}]"), "tools[0]", USER("q"));
    REFUSE("deepseek-v4", ASKED(tools, "[{\"name\":\"f\",\"name\":\"g\"}]"), "duplicate",
           USER("q"));
    REFUSE("deepseek-v4", ASKED(tools, "["), "not JSON", USER("q"));
    REFUSE("deepseek-v4", ASKED(response_format, "x"), "response_format: not JSON", USER("q"));
    REFUSE("deepseek-v4", PLAIN, "messages[0].tools: not JSON",
           {MESSAGE(CHAT_SYSTEM, ""), .tools = "x"});
    REFUSE("glm-4.7", PLAIN, "calls[0].arguments", USER("q"),
           {.role = CHAT_ASSISTANT, .n_calls = 1, .calls = &(struct chat_call){"f", "[]", NULL}});
    for (int i = 0; i < 2; i++) {
        const char *family = i == 0 ? "kimi-k2" : "deepseek-v3.2";
        REFUSE(family, PLAIN, "messages[1] is the result of no call", USER("q"), TOOL("r"));
        REFUSE(family, PLAIN, "messages[3] is the result of no call", USER("q"), CALLS,
               RESULT("a", "1"), RESULT("c", "2"));
        REFUSE(family, PLAIN, "messages[4] is the result of no call", USER("q"), CALLS, TOOL("1"),
               TOOL("2"), TOOL("3"));
    }
    REFUSE("deepseek-v4", PLAIN, "129 calls", USER("q"),
           {.role = CHAT_ASSISTANT, .n_calls = 129, .calls = many});
    for (int i = 0; i < 200; i++)
        results[i] = (struct chat_message)TOOL("r");
    const struct chat_options plain = PLAIN;
    refuse("deepseek-v4", results, 200, &plain, "messages[128] is one result too many");
}

/* ---- content and markers */

static int count_special(const struct ids *ids)
{
    int n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += vocab_is_special(vocab, ids->id[i]) || vocab_is_unused(vocab, ids->id[i]);
    return n;
}

static char *quoted(const char *text, size_t bytes, const char *format)
{
    struct jtext_out out = {0};
    char *ret;
    jtext_quote(&out, text, bytes);
    if (asprintf(&ret, format, (int)out.n, out.data, (int)out.n, out.data) < 0)
        abort();
    jtext_fini(&out);
    return ret;
}

/* Two texts in every place that a client can fill; what a family has no place for stays away. */
static int render_hostile(const struct chat_family *family, const char *one, size_t one_bytes,
                          const char *two, size_t two_bytes, struct ids *ids)
{
    bool calls = family->calls != CHAT_CALLS_NONE, v4 = family->calls == CHAT_CALLS_V4;
    bool dsml = v4 || family->calls == CHAT_CALLS_V32;
    char first[128];
    snprintf(first, sizeof(first), "%.*s.", (int)one_bytes, one);
    char *arguments = quoted(two, two_bytes, "{\"k\":%.*s,\"l\":[%.*s]}");
    char *key = quoted(one, one_bytes, "{%.*s:1,\"l\":[%.*s]}");
    char *defined = quoted(one, one_bytes,
                           "[{\"name\":\"f.\",\"description\":%.*s,\"parameters\":{\"p\":%.*s}}]");
    const struct chat_call call[] = {{first, arguments, "a"}, {"f", key, first}};
    const struct chat_message messages[] = {
        {.role = CHAT_SYSTEM,
         .content = one,
         .bytes = one_bytes,
         .tools = dsml ? defined : NULL,
         .response_format = dsml ? arguments : NULL},
        {.role = v4 ? CHAT_REMINDER : CHAT_SYSTEM, .content = two, .bytes = two_bytes},
        {.role = dsml ? CHAT_DEVELOPER : CHAT_USER, .content = one, .bytes = one_bytes},
        {.role = CHAT_ASSISTANT,
         .content = two,
         .bytes = two_bytes,
         .calls = call,
         .n_calls = calls ? 2 : 0,
         .reasoning = one,
         .reasoning_bytes = one_bytes},
        {.role = calls ? CHAT_TOOL : CHAT_USER,
         .content = one,
         .bytes = one_bytes,
         .call_id = calls ? first : NULL},
        {.role = calls ? CHAT_TOOL : CHAT_USER,
         .content = two,
         .bytes = two_bytes,
         .call_id = calls ? "a" : NULL},
        {.role = CHAT_ASSISTANT,
         .content = one,
         .bytes = one_bytes,
         .reasoning = two,
         .reasoning_bytes = two_bytes},
        {.role = CHAT_USER, .content = two, .bytes = two_bytes},
    };
    struct chat_options options = {.thinking = true,
                                   .add_generation_prompt = true,
                                   .tools = calls ? defined : NULL,
                                   .response_format = dsml ? defined : NULL};
    struct err err = {0};
    ids->n = 0;
    if (family->render(vocab, messages, 8, &options, ids, &err) < 0)
        fail_msg("%s: %s", family->name, err.text);
    free(arguments);
    free(key);
    free(defined);
    return count_special(ids);
}

/* A marker cut in two between whole characters; what is cut within one is no JSON. */
static void cut_marker(const struct chat_family *family, const char *marker, int plain)
{
    struct ids ids = {0};
    size_t bytes = strlen(marker);
    for (size_t cut = 0; cut <= bytes; cut++)
        if (cut == bytes || (marker[cut] & 0xC0) != 0x80)
            assert_int_equal(render_hostile(family, marker, cut, marker + cut, bytes - cut, &ids),
                             plain);
    ids_fini(&ids);
}

static void test_content_is_never_special(void **state)
{
    (void)state;
    for (int f = 0; chat_table[f]; f++) {
        struct ids ids = {0};
        int plain = render_hostile(chat_table[f], "a", 1, "b", 1, &ids);
        ids_fini(&ids);
        assert_true(plain > 2);
        for (int i = 0; keys_toy_special[i]; i++)
            cut_marker(chat_table[f], keys_toy_special[i], plain);
        for (int i = 0; families_special[i]; i++)
            cut_marker(chat_table[f], families_special[i], plain);
    }
}

/* Which of the two markers comes last in the prompt decides. */
static bool ends_in_thinking(const struct ids *ids, int32_t open, int32_t close)
{
    bool is_open = false;
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] == open || ids->id[i] == close)
            is_open = ids->id[i] == open;
    return is_open;
}

/* What is said of a prompt is true of its tokens, and a reply to it is taken so. */
static void test_begins_thinking(void **state)
{
    (void)state;
    static const struct chat_call call = {"f", "{}", "c"};
    static const struct chat_message talk[] = {
        SYSTEM("s"),
        USER("1"),
        THOUGHT("hm", "2"),
        USER("3"),
        {.role = CHAT_ASSISTANT, .calls = &call, .n_calls = 1},
        {MESSAGE(CHAT_TOOL, "42"), .call_id = "c"},
        PREFIX("So"),
    };
    static const struct chat_message begun[] = {USER("1"), PREFIX("So")};
    static const struct {
        const struct chat_message *at;
        int n;
    } talks[] = {{talk, 2}, {talk, 4}, {talk, 6}, {talk, 7}, {begun, 2}};
    int n_open = 0;
    for (int f = 0; chat_table[f]; f++)
        for (int i = 0; i < 20; i++) {
            const struct chat_family *family = chat_table[f];
            const struct chat_message *messages = talks[i >> 2].at;
            struct chat_options options = {
                .thinking = i & 1, .add_generation_prompt = true, .tools = i & 2 ? tools : NULL};
            struct ids ids = {0};
            int32_t open, close;
            int n = talks[i >> 2].n;
            if (family->render(vocab, messages, n, &options, &ids, NULL) < 0)
                continue; /* V2 has no tools */
            options = chat_options_for(family, messages, n, &options);
            assert_int_equal(chat_think_marks(family, vocab, &open, &close), family->can_think);
            bool is_open = family->can_think && ends_in_thinking(&ids, open, close);
            struct chat_reply *reply = NULL;
            assert_int_equal(chat_begins_thinking(family, &options), is_open);
            assert_int_equal(chat_reply_new(family, vocab, &options, &reply), 0);
            struct families_told told = {.last = -1};
            chat_reply_push(reply, -1, "the", 3, families_note, &told);
            families_end(&told);
            assert_string_equal(told.text, is_open ? "[the]" : "the");
            n_open += is_open;
            chat_reply_free(reply);
            free(told.text);
            ids_fini(&ids);
        }
    /* R1 always; others if asked: V3.2, V4 and GLM behind results of tools too, and a prefix of
     * V3.1 goes on in its thinking. */
    assert_int_equal(n_open, 8 + 4 + 6 + 6 + 6 + 6);
}

static int setup(void **state)
{
    (void)state;
    OWN(meta) *meta = families_toy(true);
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
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v3_tools),
        cmocka_unit_test(test_v31),
        cmocka_unit_test(test_v32),
        cmocka_unit_test(test_v4),
        cmocka_unit_test(test_kimi),
        cmocka_unit_test(test_glm),
        cmocka_unit_test(test_hole),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_content_is_never_special),
        cmocka_unit_test(test_begins_thinking),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
