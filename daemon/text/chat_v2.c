/* SPDX-License-Identifier: MIT
 *
 * DeepSeek V2-Chat, V2-Lite-Chat and Coder-V2-Instruct: roles are words, not markers.
 *
 *     BOS {system}⏎⏎ User: {user}⏎⏎ Assistant: {answer} EOS User: …
 *
 * The generation prompt ends in the colon; the space after it is the model's, and a reply begins
 * with it. There is no form for tools. */
#include "text/chat_common.h"
#include "text/chat_families.h"

static void render_message(struct prompt *prompt, const struct chat_message *message)
{
    prompt_written(prompt, message->written, message->n_written);
    if (message->role == CHAT_USER)
        prompt_string(prompt, "User: ");
    if (message->role == CHAT_ASSISTANT)
        prompt_string(prompt, message->bytes > 0 ? "Assistant: " : "Assistant:");
    chat_put_content(prompt, message);
    if (message->role != CHAT_ASSISTANT)
        prompt_string(prompt, "\n\n");
    else if (!message->prefix)
        prompt_mark(prompt, "<｜end▁of▁sentence｜>");
    prompt_written(prompt, NULL, 0);
}

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check("deepseek-v2", 0, messages, n_messages, options, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    for (int i = 0; i < n_messages; i++)
        render_message(&prompt, &messages[i]);
    if (options->add_generation_prompt && !chat_ends_in_prefix(messages, n_messages))
        prompt_string(&prompt, "Assistant:");
    return prompt_finish(&prompt);
}

static bool opens_thinking(const struct chat_options *options)
{
    (void)options;
    return false;
}

const struct chat_family chat_deepseek_v2 = {
    .name = "deepseek-v2",
    .render = render,
    .opens_thinking = opens_thinking,
    .is_open = chat_ends_in_prefix,
    .trims_space = true,
};
