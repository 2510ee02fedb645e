/* SPDX-License-Identifier: MIT
 *
 * How parts add up to a request, on the scripted models.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ban.h"
#include "engine/models.h"
#include "fake_models.h"
#include "service/ask.h"
#include "ttrpc.h"

enum { MAX_PARTS = 8 };

static struct models *models;
static uint8_t bytes[MAX_PARTS][2048];
static struct ask_part parts[MAX_PARTS];
static int n_parts;
static struct err err;

static void nothing(void *arg)
{
    (void)arg;
}

static void part(const Moed__V1__GenerateRequest *request)
{
    parts[n_parts].data = bytes[n_parts];
    parts[n_parts].n = moed__v1__generate_request__pack(request, bytes[n_parts]);
    n_parts++;
}

static int ask(const char *model, struct ask **ret)
{
    err = (struct err){0};
    *ret = NULL;
    int r = ask_new(models_find(models, model)->model, parts, n_parts, ret, &err);
    n_parts = 0;
    return r;
}

#define REQUEST(name) Moed__V1__GenerateRequest name = MOED__V1__GENERATE_REQUEST__INIT

static void assert_prompt(const struct ask *a, const char *text)
{
    assert_int_equal(a->request->n_prompt, 1 + (int)strlen(text));
    assert_int_equal(a->request->prompt[0], 256); /* BOS */
    for (int i = 0; text[i]; i++)
        assert_int_equal(a->request->prompt[i + 1], text[i]);
}

static void test_text_grows_and_scalars_win(void **state)
{
    (void)state;
    REQUEST(one);
    one.text = (char *)"ab";
    one.has_max_tokens = true;
    one.max_tokens = 5;
    part(&one);
    REQUEST(two);
    two.text = (char *)"cd";
    char *stops[] = {(char *)"x"};
    two.stop = stops;
    two.n_stop = 1;
    part(&two);
    REQUEST(three);
    three.has_max_tokens = true;
    three.max_tokens = 7;
    three.stop = stops;
    three.n_stop = 1;
    part(&three);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0);
    assert_prompt(a, "abcd");
    assert_int_equal(a->request->max_tokens, 7);
    assert_int_equal(a->request->n_stops, 2);
    assert_int_equal(a->request->top_logprobs, -1);
    assert_true(a->request->sample.temperature == 0);
    assert_true(a->request->sample.top_p == 1);
    assert_true(a->request->sample.repetition_penalty == 1);
    assert_true(a->request->sample.seed != 0);
    ask_free(a);
}

static void test_a_hole(void **state)
{
    (void)state;
    REQUEST(one);
    one.text = (char *)"ab";
    one.suffix = (char *)"x";
    part(&one);
    REQUEST(two);
    two.suffix = (char *)"yz";
    part(&two);
    part(&one);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0);
    assert_prompt(a, "abab_xyzx");
    ask_free(a);

    one.text = NULL; /* nothing stands before it */
    part(&one);
    assert_int_equal(ask("fake", &a), 0);
    assert_prompt(a, "_x");
    ask_free(a);

    one.suffix = (char *)""; /* as if it were not there */
    one.text = (char *)"a";
    part(&one);
    assert_int_equal(ask("fake", &a), 0);
    assert_prompt(a, "a");
    ask_free(a);

    one.suffix = (char *)"none";
    part(&one);
    assert_int_equal(ask("fake", &a), -ENOTSUP);
    assert_non_null(strstr(err.text, "model 'fake' was not made to fill holes"));

    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    one.chat = &chat;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "suffix goes with text, found chat"));
}

static void test_bos_is_not_doubled(void **state)
{
    (void)state;
    REQUEST(one);
    one.text = (char *)"<bos>a";
    part(&one);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0);
    assert_prompt(a, "a");
    ask_free(a);
}

static void test_tokens_and_messages_append(void **state)
{
    (void)state;
    int32_t ids[] = {1, 2, 3};
    Moed__V1__Tokens tokens = MOED__V1__TOKENS__INIT;
    tokens.ids = ids;
    tokens.n_ids = 3;
    REQUEST(one);
    one.tokens = &tokens;
    part(&one);
    part(&one);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0);
    assert_int_equal(a->request->n_prompt, 6);
    assert_int_equal(a->request->prompt[5], 3);
    ask_free(a);

    Moed__V1__Message message = MOED__V1__MESSAGE__INIT, *list[] = {&message};
    message.content = (char *)"q";
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    chat.messages = list;
    chat.n_messages = 1;
    REQUEST(two);
    two.chat = &chat;
    part(&two);
    chat.has_thinking = chat.thinking = true;
    part(&two);
    assert_int_equal(ask("fake", &a), 0);
    assert_int_equal(a->request->n_prompt, 4); /* <think> q </think> q */
    assert_true(a->options.thinking);
    assert_non_null(a->chat);
    ask_free(a);
    part(&two);
    assert_int_equal(ask("plain", &a), -ENOTSUP);
}

static void test_family_and_effort(void **state)
{
    (void)state;
    Moed__V1__Message message = MOED__V1__MESSAGE__INIT, *list[] = {&message};
    message.content = (char *)"q";
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    chat.messages = list;
    chat.n_messages = 1;
    chat.family = (char *)"fake";
    chat.tools = (char *)"[]";
    chat.has_effort = true;
    chat.effort = MOED__V1__EFFORT__EFFORT_HIGH;
    REQUEST(one);
    one.chat = &chat;
    part(&one);
    struct ask *a;
    assert_int_equal(ask("plain", &a), 0); /* named, though the model has none */
    assert_int_equal(a->options.effort, CHAT_EFFORT_HIGH);
    assert_null(a->options.tools); /* they were the request's memory */
    ask_free(a);
    chat.family = (char *)"";
    part(&one);
    assert_int_equal(ask("plain", &a), -ENOTSUP);
    chat.family = (char *)"else";
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "'else'"));
    chat.family = NULL;
    chat.effort = (Moed__V1__Effort)4;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "effort"));
}

/* A chat that thinks, asked so; what became of its limits. */
static int ask_thinking(Moed__V1__Effort effort, int tokens, int soft, struct think_params *ret)
{
    Moed__V1__Message message = MOED__V1__MESSAGE__INIT, *list[] = {&message};
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    REQUEST(one);
    struct ask *a;
    message.content = (char *)"q";
    chat.messages = list;
    chat.n_messages = 1;
    chat.has_thinking = chat.thinking = true;
    chat.has_effort = true;
    chat.effort = effort;
    one.chat = &chat;
    one.has_thinking_tokens = one.has_thinking_soft_tokens = true;
    one.thinking_tokens = tokens;
    one.thinking_soft_tokens = soft;
    part(&one);
    int r = ask("fake", &a);
    if (r == 0)
        *ret = a->request->think;
    ask_free(a);
    return r;
}

static void test_limits_of_thinking(void **state)
{
    (void)state;
    static const struct {
        Moed__V1__Effort effort;
        int tokens, soft, expected_hard, expected_soft;
    } cases[] = {
        {MOED__V1__EFFORT__EFFORT_NONE, 0, 0, 0, 0},
        {MOED__V1__EFFORT__EFFORT_MAX, 0, 0, 0, 0},
        {MOED__V1__EFFORT__EFFORT_LOW, 0, 0, 1024, 512},
        {MOED__V1__EFFORT__EFFORT_HIGH, 0, 0, 32768, 24576},
        {MOED__V1__EFFORT__EFFORT_LOW, 100, 0, 100, 75}, /* its own instead */
        {MOED__V1__EFFORT__EFFORT_HIGH, 0, 7, 0, 7},
        {MOED__V1__EFFORT__EFFORT_NONE, 8, 8, 8, 8},
        {MOED__V1__EFFORT__EFFORT_NONE, 1, 0, 1, 1},
        {MOED__V1__EFFORT__EFFORT_NONE, 1048576, 0, 1048576, 786432},
    };
    struct think_params got;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ask_thinking(cases[i].effort, cases[i].tokens, cases[i].soft, &got), 0);
        assert_int_equal(got.hard, cases[i].expected_hard);
        assert_int_equal(got.soft, cases[i].expected_soft);
        assert_true(got.is_open && got.open == 258 && got.close == 259);
    }
    assert_int_equal(ask_thinking(MOED__V1__EFFORT__EFFORT_NONE, 8, 9, &got), -EINVAL);
    assert_string_equal(err.text, "generate.thinking_soft_tokens is 9, expected at most "
                                  "generate.thinking_tokens, which is 8");
    assert_int_equal(ask_thinking(MOED__V1__EFFORT__EFFORT_NONE, -1, 0, &got), -EINVAL);
    assert_int_equal(ask_thinking(MOED__V1__EFFORT__EFFORT_NONE, 1048577, 0, &got), -EINVAL);
    assert_non_null(strstr(err.text, "generate.thinking_tokens is 1048577"));

    REQUEST(raw);
    raw.text = (char *)"<think>";
    raw.has_thinking_soft_tokens = true;
    raw.thinking_soft_tokens = 5;
    part(&raw);
    struct ask *a;
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_string_equal(err.text,
                        "generate.thinking_soft_tokens goes with chat: in text and tokens "
                        "no thinking is told apart");
}

static void test_several_answers(void **state)
{
    (void)state;
    static const struct {
        int n, best_of, more, told;
    } cases[] = {{0, 0, 0, 1}, {1, 0, 0, 1}, {3, 0, 2, 3},
                 {3, 3, 2, 3}, {2, 5, 4, 2}, {0, 2, 1, 1}};
    char *stops[] = {(char *)"x"}, *banned[] = {(char *)"y"};
    Moed__V1__LogitBias bias = MOED__V1__LOGIT_BIAS__INIT, *biases[] = {&bias};
    Moed__V1__Sampling sampling = MOED__V1__SAMPLING__INIT;
    sampling.has_seed = true;
    sampling.seed = UINT64_MAX - 2;
    sampling.banned = banned;
    sampling.logit_bias = biases;
    sampling.n_banned = sampling.n_logit_bias = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ask *a;
        REQUEST(one);
        one.text = (char *)"abc";
        one.sampling = &sampling;
        one.stop = stops;
        one.n_stop = 1;
        one.has_n = one.has_best_of = one.has_prompt_logprobs = one.prompt_logprobs = true;
        one.n = cases[i].n;
        one.best_of = cases[i].best_of;
        part(&one);
        assert_int_equal(ask("fake", &a), 0);
        assert_int_equal(a->n_more, cases[i].more);
        assert_int_equal(a->n_told, cases[i].told);
        assert_int_equal(a->request->is_followed, a->n_more > 0);
        assert_int_equal(a->request->top_logprobs, a->n_more >= a->n_told ? 0 : -1);
        for (int j = 0; j < a->n_more; j++) {
            const struct engine_request *q = a->more[j];
            uint64_t seed = sampling.seed + (uint64_t)j + 1;
            assert_true(q->sample.seed == (j < 2 ? seed : seed + 1)); /* 0 is none */
            assert_int_equal(q->n_prompt, a->request->n_prompt);
            assert_memory_equal(q->prompt, a->request->prompt,
                                (size_t)q->n_prompt * sizeof *q->prompt);
            assert_string_equal(q->stops[0], "x");
            assert_true(q->sample.n_bias == 1 && q->sample.ban && !q->prompt_logprobs);
            assert_int_equal(q->top_logprobs, a->request->top_logprobs);
        }
        ask_free(a);
    }
    REQUEST(few);
    few.text = (char *)"abc";
    few.has_n = few.has_best_of = true;
    few.n = 3;
    few.best_of = 2;
    part(&few);
    struct ask *a;
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_string_equal(err.text,
                        "generate.best_of is 2, expected at least generate.n, which is 3");
    assert_int_equal(fake_n_requests(), 0);
}

static void test_special_tokens_of_content_stay_content(void **state)
{
    (void)state;
    Moed__V1__Message message = MOED__V1__MESSAGE__INIT, *list[] = {&message};
    message.content = (char *)"<eos>";
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    chat.messages = list;
    chat.n_messages = 1;
    REQUEST(one);
    one.chat = &chat;
    part(&one);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0);
    assert_int_equal(a->request->n_prompt, 5);
    for (int i = 0; i < 5; i++)
        assert_true(a->request->prompt[i] < 256);
    ask_free(a);
}

static void test_bias_bans(void **state)
{
    (void)state;
    Moed__V1__LogitBias bias = MOED__V1__LOGIT_BIAS__INIT, *list[] = {&bias};
    Moed__V1__Sampling sampling = MOED__V1__SAMPLING__INIT;
    REQUEST(one);
    one.text = (char *)"a";
    one.sampling = &sampling;
    sampling.logit_bias = list;
    sampling.n_logit_bias = 1;
    bias.has_id = bias.has_bias = true;
    bias.id = 9;
    bias.bias = -100;
    part(&one);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0);
    assert_true(isinf(a->request->sample.bias[0].bias));
    ask_free(a);
    bias.id = 512;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "512"));
}

static void test_what_sampling_takes(void **state)
{
    (void)state;
    Moed__V1__Sampling sampling = MOED__V1__SAMPLING__INIT;
    REQUEST(one);
    one.text = (char *)"a";
    one.sampling = &sampling;
    part(&one);
    struct ask *a;
    assert_int_equal(ask("fake", &a), 0); /* what is missing is off */
    const struct sample_params *p = &a->request->sample;
    assert_true(p->top_n_sigma == 0 && p->mirostat_tau == 0 && p->mirostat_eta == 0.1f);
    assert_true(p->dry.multiplier == 0 && p->dry.base == 1.75f);
    assert_int_equal(p->dry.allowed_length, 2);
    assert_int_equal(p->dry.range, 0);
    assert_null(p->ban);
    assert_int_equal(p->dry.n_breakers, 4);
    assert_string_equal(p->dry.breakers[1], ":");
    ask_free(a);

    sampling.has_temperature = sampling.has_top_n_sigma = sampling.has_mirostat_tau = true;
    sampling.temperature = 0.5f;
    sampling.top_n_sigma = 1.5f;
    sampling.mirostat_tau = 5;
    part(&one);
    assert_int_equal(ask("fake", &a), 0);
    p = &a->request->sample;
    assert_true(p->top_n_sigma == 1.5f && p->mirostat_tau == 5);
    ask_free(a);

    char *none[] = {(char *)""}, *two[] = {(char *)"\n", (char *)"x"};
    sampling.dry_breakers = none;
    sampling.n_dry_breakers = 1;
    part(&one);
    assert_int_equal(ask("fake", &a), 0); /* and with it no usual ones */
    assert_int_equal(a->request->sample.dry.n_breakers, 1);
    assert_string_equal(a->request->sample.dry.breakers[0], "");
    ask_free(a);
    part(&one);
    sampling.dry_breakers = two;
    sampling.n_dry_breakers = 2;
    part(&one);
    assert_int_equal(ask("fake", &a), 0); /* those of all parts */
    assert_int_equal(a->request->sample.dry.n_breakers, 3);
    assert_string_equal(a->request->sample.dry.breakers[2], "x");
    ask_free(a);
    char long_one[66] = "";
    memset(long_one, 'x', 65);
    two[1] = long_one;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "dry_breakers.bytes has a length of 65"));
    sampling.n_dry_breakers = 0;
    sampling.banned = two;
    sampling.n_banned = 1;
    part(&one);
    part(&one);
    assert_int_equal(ask("fake", &a), 0);
    assert_int_equal(ban_count(a->request->sample.ban), 2);
    assert_true(ban_has(a->request->sample.ban, '\n'));
    assert_false(ban_has(a->request->sample.ban, 'n'));
    ask_free(a);
    two[0] = (char *)"";
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "banned.bytes has a length of 0"));
    sampling.n_banned = 0;
    sampling.has_dry_base = true;
    sampling.dry_base = 0.5f;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "dry_base is 0.5, expected 1 to 10"));
    sampling.has_dry_base = false;

    sampling.temperature = 0;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_string_equal(err.text,
                        "generate.sampling.mirostat_tau is 5, which needs a temperature above 0");
    sampling.mirostat_tau = NAN;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "mirostat_tau is nan"));
    sampling.mirostat_tau = 0;
    sampling.top_n_sigma = INFINITY;
    part(&one);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "top_n_sigma is inf"));
}

static void test_refusals_give_everything_back(void **state)
{
    (void)state;
    struct ask *a;
    REQUEST(none);
    part(&none);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_int_equal(ask("fake", &a), -EINVAL); /* no part at all */
    REQUEST(both);
    Moed__V1__Tokens tokens = MOED__V1__TOKENS__INIT;
    both.text = (char *)"a";
    both.tokens = &tokens;
    part(&both);
    assert_int_equal(ask("fake", &a), -EINVAL);
    char *stops[] = {(char *)"good", (char *)""};
    REQUEST(stop);
    stop.text = (char *)"a";
    stop.stop = stops;
    stop.n_stop = 2;
    part(&stop);
    assert_int_equal(ask("fake", &a), -EINVAL);
    assert_non_null(strstr(err.text, "generate.stop"));
    parts[0] = (struct ask_part){.data = (const uint8_t *)"\xff", .n = 1};
    n_parts = 1;
    assert_int_equal(ask("fake", &a), -EBADMSG);
    assert_int_equal(fake_n_requests(), 0);
}

static int set_up(void **state)
{
    (void)state;
    return models_new(NULL, nothing, NULL, &models, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    models_free(models);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_grows_and_scalars_win),
        cmocka_unit_test(test_a_hole),
        cmocka_unit_test(test_bos_is_not_doubled),
        cmocka_unit_test(test_tokens_and_messages_append),
        cmocka_unit_test(test_family_and_effort),
        cmocka_unit_test(test_limits_of_thinking),
        cmocka_unit_test(test_several_answers),
        cmocka_unit_test(test_special_tokens_of_content_stay_content),
        cmocka_unit_test(test_bias_bans),
        cmocka_unit_test(test_what_sampling_takes),
        cmocka_unit_test(test_refusals_give_everything_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
