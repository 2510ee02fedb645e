/* SPDX-License-Identifier: MIT
 *
 * Kimi-K2 and Moonlight: every message is a marker, a role in letters, a marker, text, a marker.
 *
 * Calls are numbered over the whole conversation, and a result says which call it answers by that
 * number. */
#include <errno.h>
#include <stdio.h>

#include "text/chat_common.h"
#include "text/chat_families.h"

static void open_message(struct prompt *prompt, const char *marker, const char *role)
{
    prompt_mark(prompt, marker);
    prompt_string(prompt, role);
    prompt_mark(prompt, "<|im_middle|>");
}

static void put_call_name(struct prompt *prompt, const struct chat_call *call, int number)
{
    char text[16];
    snprintf(text, sizeof(text), ":%d", number);
    prompt_string(prompt, "functions.");
    prompt_string(prompt, call->name);
    prompt_string(prompt, text);
}

static void render_calls(struct prompt *prompt, const struct chat_message *message, int number)
{
    if (message->n_calls == 0)
        return;
    prompt_mark(prompt, "<|tool_calls_section_begin|>");
    for (int i = 0; i < message->n_calls; i++) {
        prompt_mark(prompt, "<|tool_call_begin|>");
        put_call_name(prompt, &message->calls[i], number + i);
        prompt_mark(prompt, "<|tool_call_argument_begin|>");
        prompt_string(prompt, message->calls[i].arguments);
        prompt_mark(prompt, "<|tool_call_end|>");
    }
    prompt_mark(prompt, "<|tool_calls_section_end|>");
}

static int check_results(const struct chat_message *messages, int n, struct err *err)
{
    for (int i = 0; i < n; i++) {
        if (messages[i].role != CHAT_TOOL)
            continue;
        int asker = chat_asker(messages, i);
        if (asker < 0 || chat_answered(messages, i, asker) < 0)
            return err_set(err, -EINVAL, "messages[%d] is the result of no call", i);
    }
    return 0;
}

static void render_message(struct prompt *prompt, const struct chat_message *messages, int at,
                           int number)
{
    const struct chat_message *message = &messages[at];
    if (message->role == CHAT_USER)
        open_message(prompt, "<|im_user|>", "user");
    else if (message->role == CHAT_SYSTEM)
        open_message(prompt, "<|im_system|>", "system");
    else if (message->role == CHAT_ASSISTANT)
        open_message(prompt, "<|im_assistant|>", "assistant");
    else
        open_message(prompt, "<|im_system|>", "tool");
    if (message->role == CHAT_TOOL) {
        int asker = chat_asker(messages, at);
        const struct chat_message *asking = &messages[asker];
        int call = chat_answered(messages, at, asker);
        prompt_string(prompt, "## Return of ");
        put_call_name(prompt, &asking->calls[call], number - asking->n_calls + call);
        prompt_string(prompt, "\n");
    }
    prompt_written(prompt, message->written, message->n_written);
    chat_put_content(prompt, message);
    render_calls(prompt, message, number);
    if (!message->prefix)
        prompt_mark(prompt, "<|im_end|>");
    prompt_written(prompt, NULL, 0);
}

static void render_tools(struct prompt *prompt, const char *tools)
{
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    open_message(prompt, "<|im_system|>", "tool_declare");
    for (int i = 0; chat_next_tool(&walk, &tool); i++) {
        prompt_string(prompt, i == 0 ? "[" : ", ");
        if (tool.bare)
            prompt_string(prompt, "{\"type\": \"function\", \"function\": ");
        prompt_json(prompt, tool.whole, tool.whole_n);
        if (tool.bare)
            prompt_string(prompt, "}");
    }
    prompt_string(prompt, "]");
    prompt_mark(prompt, "<|im_end|>");
}

static int render(const char *family, const char *system, const char *after,
                  const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check(family, CHAT_CAN_TOOLS, messages, n_messages, options, err);
    if (r == 0)
        r = check_results(messages, n_messages, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    if (chat_has_tools(options->tools))
        render_tools(&prompt, options->tools);
    if (messages[0].role != CHAT_SYSTEM) {
        open_message(&prompt, "<|im_system|>", "system");
        prompt_string(&prompt, system);
        prompt_mark(&prompt, "<|im_end|>");
        prompt_string(&prompt, after);
    }
    int number = 0; /* of the next call */
    for (int i = 0; i < n_messages; i++) {
        render_message(&prompt, messages, i, number);
        number += messages[i].n_calls;
    }
    if (options->add_generation_prompt && !chat_ends_in_prefix(messages, n_messages))
        open_message(&prompt, "<|im_assistant|>", "assistant");
    return prompt_finish(&prompt);
}

static int render_kimi(const struct vocab *vocab, const struct chat_message *messages,
                       int n_messages, const struct chat_options *options, struct ids *ret,
                       struct err *err)
{
    return render("kimi-k2", "You are Kimi, an AI assistant created by Moonshot AI.", "\n", vocab,
                  messages, n_messages, options, ret, err);
}

static int render_moonlight(const struct vocab *vocab, const struct chat_message *messages,
                            int n_messages, const struct chat_options *options, struct ids *ret,
                            struct err *err)
{
    return render("moonlight", "You are a helpful assistant", "", vocab, messages, n_messages,
                  options, ret, err);
}

static bool opens_thinking(const struct chat_options *options)
{
    (void)options;
    return false;
}

const struct chat_family chat_kimi_k2 = {
    .name = "kimi-k2",
    .render = render_kimi,
    .opens_thinking = opens_thinking,
    .is_open = chat_ends_in_prefix,
    .calls = CHAT_CALLS_KIMI,
};

const struct chat_family chat_moonlight = {
    .name = "moonlight",
    .render = render_moonlight,
    .opens_thinking = opens_thinking,
    .is_open = chat_ends_in_prefix,
    .calls = CHAT_CALLS_KIMI,
};
