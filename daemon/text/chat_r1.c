/* SPDX-License-Identifier: MIT
 *
 * DeepSeek R1: the format of V3 with thinking.
 *
 * The January release is always sent into its thinking by the prompt. The May release (0528)
 * decides for itself and writes <think>; it is sent there when thinking is asked for. Both forget
 * the thinking of old turns. */
#include "text/chat_deepseek3.h"

static const struct deepseek3_style january = {
    .name = "deepseek-r1", .think = THINK_ALWAYS, .cut_thinking = true};
static const struct deepseek3_style may = {
    .name = "deepseek-r1-0528", .think = THINK_ASKED, .cut_thinking = true, .trim_answer = true};

static int render_january(const struct vocab *vocab, const struct chat_message *messages,
                          int n_messages, const struct chat_options *options, struct ids *ret,
                          struct err *err)
{
    return deepseek3_render(&january, vocab, messages, n_messages, options, ret, err);
}

static int render_may(const struct vocab *vocab, const struct chat_message *messages,
                      int n_messages, const struct chat_options *options, struct ids *ret,
                      struct err *err)
{
    return deepseek3_render(&may, vocab, messages, n_messages, options, ret, err);
}

static bool opens_january(const struct chat_options *options)
{
    return options->add_generation_prompt;
}

static bool opens_may(const struct chat_options *options)
{
    return options->add_generation_prompt && options->thinking;
}

const struct chat_family chat_deepseek_r1 = {
    .name = "deepseek-r1",
    .render = render_january,
    .opens_thinking = opens_january,
    .can_think = true,
    .is_open = deepseek3_is_open,
    .calls = CHAT_CALLS_V3,
    .trims_answer = true,
};

const struct chat_family chat_deepseek_r1_0528 = {
    .name = "deepseek-r1-0528",
    .render = render_may,
    .opens_thinking = opens_may,
    .can_think = true,
    .is_open = deepseek3_is_open,
    .calls = CHAT_CALLS_V3,
    .trims_answer = true,
};
