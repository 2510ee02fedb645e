/* SPDX-License-Identifier: MIT
 *
 * chat: what the families print, what they refuse, which one a file gets, and that no content can
 * become a marker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys.h"
#include "text/chat.h"
#include "text/token.h"

#define BOS "<｜begin▁of▁sentence｜>"
#define EOS "<｜end▁of▁sentence｜>"
#define U   "<｜User｜>"
#define A   "<｜Assistant｜>"

static struct vocab *vocab;

#define MESSAGE(who, text)                                                                         \
    {                                                                                              \
        .role = who, .content = text, .bytes = sizeof(text) - 1                                    \
    }
#define SYSTEM(text) MESSAGE(CHAT_SYSTEM, text)
#define USER(text)   MESSAGE(CHAT_USER, text)
#define ANSWER(text) MESSAGE(CHAT_ASSISTANT, text)
#define TOOL(text)   MESSAGE(CHAT_TOOL, text)
#define PREFIX(text)                                                                               \
    {                                                                                              \
        .role = CHAT_ASSISTANT, .content = text, .bytes = sizeof(text) - 1, .prefix = true         \
    }

/* The prompt is, id for id, what a tokenizer makes of the text the template would print. */
static void assert_prompt(const char *family, const struct chat_message *messages, int n,
                          bool thinking, bool generation, const char *expected)
{
    struct chat_options options = {.thinking = thinking, .add_generation_prompt = generation};
    struct ids ids = {0}, want = {0};
    struct err err = {0};
    if (chat_by_name(family)->render(vocab, messages, n, &options, &ids, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(vocab_encode(vocab, expected, strlen(expected), VOCAB_SPECIAL, &want, NULL),
                     0);
    char text[2048] = "";
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
#define PROMPT(family, thinking, generation, expected, ...)                                        \
    do {                                                                                           \
        const struct chat_message messages_[] = {__VA_ARGS__};                                     \
        assert_prompt(family, messages_, sizeof(messages_) / sizeof(messages_[0]), thinking,       \
                      generation, expected);                                                       \
    } while (0)

static void test_v3(void **state)
{
    (void)state;
    PROMPT("deepseek-v3", false, true, BOS U "the" A, USER("the"));
    PROMPT("deepseek-v3", true, true, BOS U "the" A, USER("the")); /* it cannot think */
    PROMPT("deepseek-v3", false, false, BOS U "the", USER("the"));
    PROMPT("deepseek-v3", false, true, BOS "a\n\nb" U "the" A, SYSTEM("a"), USER("the"),
           SYSTEM("b"));
    PROMPT("deepseek-v3", false, true, BOS U "1" A "2" EOS U "3" A, USER("1"), ANSWER("2"),
           USER("3"));
    PROMPT("deepseek-v3", false, true, BOS U "1" A "2", USER("1"), PREFIX("2"));
    PROMPT("deepseek-v3", false, true, BOS U "" A, USER(""));
    /* an answer keeps what it says, also about thinking */
    PROMPT("deepseek-v3", false, false, BOS A "a</thin" EOS, ANSWER("a</thin"));
}

static const struct chat_call calls[] = {{"f", "{}"}, {"g", "{\"x\":1}"}};
#define CALL_F "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜>"
#define CALL_G                                                                                     \
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{\"x\":1}\n```<｜tool▁call▁end｜>"
#define CALLS(text)   "<｜tool▁calls▁begin｜>" text "<｜tool▁calls▁end｜>" EOS
#define OUTPUT(text)  "<｜tool▁output▁begin｜>" text "<｜tool▁output▁end｜>"
#define OUTPUTS(text) "<｜tool▁outputs▁begin｜>" text "<｜tool▁outputs▁end｜>"

static void test_tools(void **state)
{
    (void)state;
    static const struct chat_message one = {.role = CHAT_ASSISTANT, .calls = calls, .n_calls = 1};
    static const struct chat_message two = {.role = CHAT_ASSISTANT, .calls = calls, .n_calls = 2};
    static const struct chat_message said = {
        .role = CHAT_ASSISTANT, .content = "so", .bytes = 2, .calls = calls, .n_calls = 1};
    PROMPT("deepseek-v3", false, true, BOS U "q" A CALLS(CALL_F) OUTPUTS(OUTPUT("r")), USER("q"),
           one, TOOL("r"));
    PROMPT("deepseek-v3", false, true,
           BOS U "q" A CALLS(CALL_F "\n" CALL_G) OUTPUTS(OUTPUT("r") "\n" OUTPUT("s")) "so" EOS U
                                                                                       "p" A,
           USER("q"), two, TOOL("r"), TOOL("s"), ANSWER("so"), USER("p"));
    /* each round opens its results anew; a turn goes on without <｜Assistant｜> */
    PROMPT("deepseek-v3", false, true,
           BOS U "q" A CALLS(CALL_F) OUTPUTS(OUTPUT("r")) CALLS(CALL_F) OUTPUTS(OUTPUT("s")),
           USER("q"), one, TOOL("r"), one, TOOL("s"));
    PROMPT("deepseek-v3", false, false, BOS U "q" A "so" CALLS(CALL_F), USER("q"), said,
           SYSTEM("")); /* content and calls; an empty system text prints nothing */
    PROMPT("deepseek-v3", false, true, BOS U "q" OUTPUTS(OUTPUT("r")) U "p" A, USER("q"), TOOL("r"),
           USER("p"));
    /* nothing opens after results: R1 is not sent into thinking in the middle of a turn */
    PROMPT("deepseek-r1", true, true, BOS U "q" A CALLS(CALL_F) OUTPUTS(OUTPUT("r")), USER("q"),
           one, TOOL("r"));
}

static void test_r1(void **state)
{
    (void)state;
    PROMPT("deepseek-r1", false, true, BOS U "the" A "<think>\n", USER("the"));
    PROMPT("deepseek-r1", false, false, BOS U "the", USER("the"));
    PROMPT("deepseek-r1", true, true, BOS U "1" A "\n\n2" EOS U "3" A "<think>\n", USER("1"),
           ANSWER("<think>a</think>b</think>\n\n2"), USER("3"));
    PROMPT("deepseek-r1", true, true, BOS U "1" A "2", USER("1"), PREFIX("2"));
    PROMPT("deepseek-r1-0528", false, true, BOS U "the" A, USER("the"));
    PROMPT("deepseek-r1-0528", true, true, BOS U "the" A "<think>\n", USER("the"));
    PROMPT("deepseek-r1-0528", true, false, BOS U "the", USER("the"));
    PROMPT("deepseek-r1-0528", false, true, BOS "s" U "1" A "2 " EOS U "3" A, SYSTEM("s"),
           USER("1"), ANSWER("a</think>\n\n2 "), USER("3"));
    PROMPT("deepseek-r1-0528", false, true, BOS U "1" A "2" EOS U "3" A, USER("1"), ANSWER(" \n2"),
           USER("3"));
}

static void test_options(void **state)
{
    (void)state;
    const struct chat_family *r1 = chat_by_name("deepseek-r1");
    const struct chat_family *may = chat_by_name("deepseek-r1-0528");
    const struct chat_message user[] = {USER("q")}, prefix[] = {USER("q"), PREFIX("a")},
                              tool[] = {USER("q"), TOOL("r")};
    struct chat_options asked = {.thinking = true, .add_generation_prompt = true};
    struct chat_options got = chat_options_for(r1, user, 1, &asked);
    assert_true(r1->opens_thinking(&got) && may->opens_thinking(&got));
    got = chat_options_for(r1, prefix, 2, &asked);
    assert_false(r1->opens_thinking(&got) || may->opens_thinking(&got));
    got = chat_options_for(r1, tool, 2, &asked);
    assert_false(r1->opens_thinking(&got));
    got = (struct chat_options){.add_generation_prompt = true};
    assert_true(r1->opens_thinking(&got));
    assert_false(may->opens_thinking(&got));
    assert_false(chat_by_name("deepseek-v3")->opens_thinking(&asked));
    assert_true(r1->can_think && may->can_think && !chat_by_name("deepseek-v3")->can_think);
    assert_null(chat_by_name("deepseek-v5"));
    assert_null(chat_by_name("deepseek-v"));
    assert_null(chat_by_name(""));
    assert_ptr_equal(chat_by_name("deepseek-v31"), chat_by_name("deepseek-v3.1"));
    assert_string_equal(chat_by_name("deepseek-v31")->name, "deepseek-v3.1");
}

static void refuse(const struct chat_message *messages, int n, const char *words)
{
    struct chat_options options = {.add_generation_prompt = true};
    struct ids ids = {0};
    struct err err = {0};
    ids_push(&ids, 1);
    assert_int_equal(chat_by_name("deepseek-v3")->render(vocab, messages, n, &options, &ids, &err),
                     -EINVAL);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    assert_int_equal(ids.n, 1);
    ids_fini(&ids);
}
#define REFUSE(words, ...)                                                                         \
    do {                                                                                           \
        const struct chat_message messages_[] = {__VA_ARGS__};                                     \
        refuse(messages_, sizeof(messages_) / sizeof(messages_[0]), words);                        \
    } while (0)

static void test_refused(void **state)
{
    (void)state;
    static const struct chat_call nameless = {"", "{}"}, bare = {"f", NULL};
    refuse(NULL, 0, "no messages");
    REFUSE("messages[1] has no content", USER("q"), {.role = CHAT_USER});
    REFUSE("messages[0] has no content", {.role = CHAT_ASSISTANT});
    REFUSE("messages[0] has the unknown role 9", {.role = (enum chat_role)9, .content = ""});
    REFUSE("messages[0] is a prefix", PREFIX("a"), USER("q"));
    REFUSE("messages[0] is a prefix", {.role = CHAT_USER, .content = "", .prefix = true});
    REFUSE("messages[0] is a prefix",
           {.role = CHAT_ASSISTANT, .calls = calls, .n_calls = 1, .prefix = true});
    REFUSE("messages[0] has tool calls",
           {.role = CHAT_USER, .content = "", .calls = calls, .n_calls = 1});
    REFUSE("messages[0].calls[0] has no name",
           {.role = CHAT_ASSISTANT, .calls = &nameless, .n_calls = 1});
    REFUSE("messages[0].calls[0] has no arguments",
           {.role = CHAT_ASSISTANT, .calls = &bare, .n_calls = 1});
    REFUSE("messages[0] has -1 calls", {.role = CHAT_ASSISTANT, .content = "", .n_calls = -1});

    /* A vocabulary without the marker. */
    OWN(meta) *meta = keys_toy("deepseek-v3");
    for (uint64_t i = 0; i < keys_count(meta, "tokenizer.ggml.tokens"); i++) {
        size_t bytes;
        if (strcmp(meta_str_at(meta, "tokenizer.ggml.tokens", i, &bytes), U) == 0)
            keys_set(meta, "tokenizer.ggml.tokens", i, "<else>");
    }
    struct vocab *made = NULL;
    assert_int_equal(vocab_open(meta, &made, NULL), 0);
    OWN(vocab) *other = made;
    struct chat_options options = {.add_generation_prompt = true};
    const struct chat_message messages[] = {USER("q")};
    struct ids ids = {0};
    struct err err = {0};
    assert_int_equal(chat_by_name("deepseek-v3")->render(other, messages, 1, &options, &ids, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "'" U "'"));
    assert_int_equal(ids.n, 0);
    ids_fini(&ids);
}

/* ---- content and markers */

static int count_special(const struct ids *ids)
{
    int n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += vocab_is_special(vocab, ids->id[i]) || vocab_is_unused(vocab, ids->id[i]);
    return n;
}

/* Puts two texts into every place a conversation has. */
static int render_hostile(const struct chat_family *family, const char *one, size_t one_bytes,
                          const char *two, size_t two_bytes, struct ids *ids)
{
    char first[128], second[128]; /* calls are strings */
    snprintf(first, sizeof(first), "%.*s.", (int)one_bytes, one);
    snprintf(second, sizeof(second), "%.*s.", (int)two_bytes, two);
    const struct chat_call call[] = {{first, second}, {second, first}};
    const struct chat_message messages[] = {
        {.role = CHAT_SYSTEM, .content = one, .bytes = one_bytes},
        {.role = CHAT_SYSTEM, .content = two, .bytes = two_bytes},
        {.role = CHAT_USER, .content = one, .bytes = one_bytes},
        {.role = CHAT_ASSISTANT, .content = two, .bytes = two_bytes, .calls = call, .n_calls = 2},
        {.role = CHAT_TOOL, .content = one, .bytes = one_bytes},
        {.role = CHAT_TOOL, .content = two, .bytes = two_bytes},
        {.role = CHAT_ASSISTANT, .content = one, .bytes = one_bytes},
        {.role = CHAT_USER, .content = two, .bytes = two_bytes},
    };
    struct chat_options options = {.thinking = true, .add_generation_prompt = true};
    ids->n = 0;
    assert_int_equal(family->render(vocab, messages, 8, &options, ids, NULL), 0);
    return count_special(ids);
}

/* Every special token, cut in two at every byte, over every role and over the seams between
 * messages: the prompt has exactly the markers of the template. */
static void test_content_is_never_special(void **state)
{
    (void)state;
    struct ids ids = {0};
    for (int f = 0; chat_table[f]; f++) {
        if (strncmp(chat_table[f]->name, "deepseek", 8) != 0)
            continue; /* test_families has a vocabulary for those */
        if (chat_table[f]->calls == CHAT_CALLS_NONE)
            continue; /* and conversations without calls */
        int plain = render_hostile(chat_table[f], "a", 1, "b", 1, &ids);
        assert_true(plain > 15);
        for (int i = 0; keys_toy_special[i]; i++) {
            const char *text = keys_toy_special[i];
            size_t bytes = strlen(text);
            for (size_t cut = 0; cut <= bytes; cut++) {
                assert_int_equal(
                    render_hostile(chat_table[f], text, cut, text + cut, bytes - cut, &ids), plain);
                assert_int_equal(ids.id[0], vocab_bos(vocab));
            }
        }
    }
    ids_fini(&ids);
}

/* ---- which family */

static const char *recognise(const char *template, const char *arch, const char *name)
{
    OWN(meta) *meta = keys_toy("deepseek-v3");
    if (template)
        keys_str(meta, "tokenizer.chat_template", template);
    keys_str(meta, "general.architecture", arch);
    keys_str(meta, "general.name", name);
    /* The toy vocabulary has ｜DSML｜, which means V4 where there is no template. */
    for (uint64_t i = 0; i < keys_count(meta, "tokenizer.ggml.tokens"); i++) {
        size_t bytes;
        if (strcmp(meta_str_at(meta, "tokenizer.ggml.tokens", i, &bytes), "｜DSML｜") == 0 &&
            strcmp(name, "dsml") != 0)
            keys_set(meta, "tokenizer.ggml.tokens", i, "<other>");
    }
    struct vocab *made = NULL;
    assert_int_equal(vocab_open(meta, &made, NULL), 0);
    OWN(vocab) *v = made;
    const char *found = chat_recognise(meta, v);
    const struct chat_family *family = chat_detect(meta, v);
    if (family)
        assert_string_equal(family->name, found);
    else if (found)
        assert_null(chat_by_name(found));
    return found ? found : "none";
}

#define HEAD                                                                                       \
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '" U "' + m.content }}"
#define TAIL "{% endif %}{% endfor %}"
#define CUT  "m.content.split('</think>')[-1]"

static void test_recognise(void **state)
{
    (void)state;
    static const struct {
        const char *template, *family;
    } cases[] = {
        {HEAD TAIL "{{ '" A "' }}", "deepseek-v3"},
        {"{% set x = '</thin' %}" HEAD TAIL "{{'" A "'}}", "deepseek-v3"},
        /* R1: always */
        {HEAD "{% else %}{{ '" A "' + " CUT " }}" TAIL "{% if add_generation_prompt %}{{'" A
              "<think>\\n'}}{% endif %}",
         "deepseek-r1"},
        {HEAD "{% if '</think>' in m.content %}{% set c = " CUT " %}{% endif %}" TAIL "{{'" A
              "<think>\n'}}",
         "deepseek-r1"},
        {HEAD TAIL "{{ '" A "' }}{{ '<think>\\n' }}", "deepseek-r1"},
        {HEAD TAIL "{{ '" A "' + '<think>\\n' }}", "deepseek-r1"},
        /* R1-0528: cuts, and thinks by itself or when asked */
        {HEAD "{% else %}{{ '" A "' + " CUT " }}" TAIL "{{ '" A "' }}", "deepseek-r1-0528"},
        {HEAD "{% else %}{{ '" A "' + " CUT ".lstrip() + '" EOS "' }}" TAIL "{{ '" A
              "' }}{% if thinking %}{{ '<think>\n' }}{% endif %}",
         "deepseek-r1-0528"},
        {HEAD "{% else %}{% if '</think>' in m.content %}{% set c = " CUT " %}{% endif %}" TAIL
              "{% if thinking %}{{ '" A "<think>\\n' }}{% else %}{{ '" A "' }}{% endif %}",
         "deepseek-r1-0528"},
        {HEAD "{% else %}{{ " CUT " }}" TAIL "{{ '" A "<think>\\n' if thinking else '" A "' }}",
         "deepseek-r1-0528"},
        {HEAD "{% else %}{{ " CUT " if '</think>' in m.content else m.content }}" TAIL "{{'" A
              "'}}",
         "deepseek-r1-0528"},
        /* V3.1: </think> is printed after the marker */
        {HEAD "{% else %}{{ '" A "</think>' }}{{ " CUT " }}" TAIL "{{ '" A "' }}", "deepseek-v3.1"},
        {HEAD TAIL "{{ '" A "' }}{%- if not thinking %}{{ '</think>' }}{%- else %}"
                   "{{ '<think>' }}{%- endif %}",
         "deepseek-v3.1"},
        {HEAD TAIL "{{ \"" A "\" }}{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}"
                   "{% endif %}",
         "deepseek-v3.1"},
        {HEAD TAIL "{{ '" A "' }}{% if p and thinking %}{{ '<think>' }}{% endif %}{{ '</think>' }}",
         "deepseek-v3.1"},
        {HEAD TAIL "{{ '" A "' + ('<think>' if thinking else '</think>') }}", "deepseek-v3.1"},
        {HEAD TAIL A "</think>{{ m.content }}", "deepseek-v3.1"}, /* raw text */
        /* </think> that only closes replayed thinking is no V3.1 */
        {HEAD "{% else %}{{ '" A "<think>' + m.thought + '</think>' + m.content }}" TAIL "{{'" A
              "'}}",
         "deepseek-v3"},
        /* the others */
        {"x ｜DSML｜ <tool_calls> " A, "deepseek-v4"},
        {"x ｜DSML｜ function_calls> " A, "deepseek-v3.2"},
        {"{{ 'User: ' + m.content }}{{ 'Assistant: ' + m.content }}", "deepseek-v2"},
        {"### Instruction:\n{{ m.content }}", "deepseek-coder"},
        {"<|im_user|>user<|im_middle|>", "kimi-k2"},
        {"<|im_middle|>You are a helpful assistant<|im_end|>", "moonlight"},
        {"[gMASK]<sop><|assistant|></think>", "glm-4.7"},
        {"[gMASK]<sop>{{ '/nothink' }}</think>", "glm"}, /* 4.5 */
        {"[gMASK]<sop>{{ x }}", "glm"},
        {"<|im_start|>{{ m.role }}", "none"},
        {"", "none"},
        /* not templates at all */
        {"{{ '" A, "deepseek-v3"},
        {"{% if '</think>" A, "deepseek-r1-0528"},
        {"{{{{{%%%{#" A "\\", "deepseek-v3"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = recognise(cases[i].template, "deepseek2", "");
        if (strcmp(found, cases[i].family) != 0)
            fail_msg("case %zu: '%s' for '%s', expected '%s'", i, found, cases[i].template,
                     cases[i].family);
    }
}

static void test_recognise_deep(void **state)
{
    (void)state;
    static char deep[40 * 1000];
    for (int i = 0; i < 3000; i++)
        strcat(deep + i * 10, "{%if x %}a");
    strcat(deep, A);
    assert_string_equal(recognise(deep, "deepseek2", ""), "deepseek-v3");
}

static void test_without_template(void **state)
{
    (void)state;
    assert_string_equal(recognise(NULL, "deepseek2", "DeepSeek R1 0528"), "deepseek-r1-0528");
    assert_string_equal(recognise(NULL, "deepseek2", "DeepSeek-R1"), "deepseek-r1");
    assert_string_equal(recognise(NULL, "deepseek2", "DeepSeek-V3.1-Terminus"), "deepseek-v3.1");
    assert_string_equal(recognise(NULL, "deepseek2", "DeepSeek-V3.2-Exp"), "deepseek-v3.2");
    assert_string_equal(recognise(NULL, "deepseek2", "some model"), "none");
    assert_string_equal(recognise(NULL, "llama", "DeepSeek-R1"), "none");
    assert_string_equal(recognise(NULL, "deepseek4", ""), "deepseek-v4");
    assert_string_equal(recognise(NULL, "deepseek2", "dsml"), "deepseek-v4");
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
        cmocka_unit_test(test_v3),
        cmocka_unit_test(test_tools),
        cmocka_unit_test(test_r1),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_content_is_never_special),
        cmocka_unit_test(test_recognise),
        cmocka_unit_test(test_recognise_deep),
        cmocka_unit_test(test_without_template),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
