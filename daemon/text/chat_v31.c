/* SPDX-License-Identifier: MIT
 *
 * DeepSeek V3.1: V3's turns, and a reply that thinks or does not, as the prompt says.
 *
 *     BOS {system} <｜User｜> {user} <｜Assistant｜></think> {answer} EOS …
 *
 * Old answers carry </think> whatever mode they were written in; what was thought is not replayed.
 * Tool results stand back to back and the turn goes on after them without a marker. */
#include <string.h>

#include "text/chat_common.h"
#include "text/chat_deepseek3.h"
#include "text/chat_families.h"

static const char head[] = "\n\n## Tools\nYou have access to the following tools:\n";
static const char tail[] =
    "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments"
    "<｜tool▁call▁end｜>{{additional_tool_calls}}<｜tool▁calls▁end｜>\n\n"
    "Where:\n\n"
    "- `tool_call_name` must be an exact match to one of the available tools\n"
    "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters "
    "Schema\n"
    "- For multiple tool calls, chain them directly without separators or spaces\n";

static void render_tools(struct prompt *prompt, const char *tools)
{
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    prompt_template(prompt, head);
    while (chat_next_tool(&walk, &tool)) {
        prompt_string(prompt, "\n### ");
        prompt_unquoted(prompt, tool.name.value, tool.name.n);
        prompt_string(prompt, "\nDescription: ");
        if (tool.description.value && *tool.description.value == '"')
            prompt_unquoted(prompt, tool.description.value, tool.description.n);
        prompt_string(prompt, "\n\nParameters: ");
        if (tool.parameters.value)
            prompt_json(prompt, tool.parameters.value, tool.parameters.n);
        else
            prompt_string(prompt, "{}");
        prompt_string(prompt, "\n");
    }
    prompt_template(prompt, tail);
}

static void render_calls(struct prompt *prompt, const struct chat_message *message)
{
    if (message->n_calls == 0)
        return;
    prompt_mark(prompt, "<｜tool▁calls▁begin｜>");
    for (int i = 0; i < message->n_calls; i++) {
        prompt_mark(prompt, "<｜tool▁call▁begin｜>");
        prompt_string(prompt, message->calls[i].name);
        prompt_mark(prompt, "<｜tool▁sep｜>");
        prompt_string(prompt, message->calls[i].arguments);
        prompt_mark(prompt, "<｜tool▁call▁end｜>");
    }
    prompt_mark(prompt, "<｜tool▁calls▁end｜>");
}

/* A prefix that carries no finished thinking is itself a piece of it. */
static bool is_thought(const struct chat_message *message, const struct chat_options *options)
{
    return message->prefix && options->thinking && !message->reasoning;
}

static void render_answer(struct prompt *prompt, const struct chat_message *message,
                          bool after_results, const struct chat_options *options)
{
    static const char close[] = "</think>";
    const char *text = message->content;
    size_t bytes = text ? message->bytes : 0;
    if (!after_results) {
        bool thinks = message->prefix && options->thinking;
        prompt_mark(prompt, "<｜Assistant｜>");
        prompt_mark(prompt, thinks ? "<think>" : close);
        if (thinks && message->reasoning) {
            prompt_text(prompt, message->reasoning, message->reasoning_bytes);
            prompt_mark(prompt, close);
        }
    }
    const char *cut = text ? memmem(text, bytes, close, sizeof(close) - 1) : NULL;
    if (cut && !message->prefix) {
        bytes -= (size_t)(cut - text) + sizeof(close) - 1;
        text = cut + sizeof(close) - 1;
    }
    prompt_written(prompt, message->written, message->n_written);
    prompt_text(prompt, text, bytes);
    render_calls(prompt, message);
    if (!message->prefix)
        prompt_mark(prompt, "<｜end▁of▁sentence｜>");
    prompt_written(prompt, NULL, 0);
}

static void render_turns(struct prompt *prompt, const struct chat_message *messages, int n,
                         const struct chat_options *options)
{
    bool after_results = false;
    for (int i = 0; i < n; i++) {
        const struct chat_message *message = &messages[i];
        if (message->role == CHAT_SYSTEM)
            continue;
        if (message->role == CHAT_USER) {
            prompt_mark(prompt, "<｜User｜>");
            chat_put_content(prompt, message);
        } else if (message->role == CHAT_TOOL) {
            prompt_mark(prompt, "<｜tool▁output▁begin｜>");
            chat_put_content(prompt, message);
            prompt_mark(prompt, "<｜tool▁output▁end｜>");
        } else {
            render_answer(prompt, message, after_results, options);
        }
        after_results = message->role == CHAT_TOOL;
    }
}

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check("deepseek-v3.1", CHAT_CAN_TOOLS, messages, n_messages, options, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    chat_put_systems(&prompt, messages, n_messages);
    if (chat_has_tools(options->tools))
        render_tools(&prompt, options->tools);
    render_turns(&prompt, messages, n_messages, options);
    if (options->add_generation_prompt && !deepseek3_is_open(messages, n_messages)) {
        prompt_mark(&prompt, "<｜Assistant｜>");
        prompt_mark(&prompt, options->thinking ? "<think>" : "</think>");
    }
    return prompt_finish(&prompt);
}

static bool opens_thinking(const struct chat_options *options)
{
    return options->add_generation_prompt && options->thinking;
}

static bool is_open_thinking(const struct chat_message *messages, int n_messages,
                             const struct chat_options *options)
{
    bool after_results = n_messages > 1 && messages[n_messages - 2].role == CHAT_TOOL;
    return n_messages > 0 && is_thought(&messages[n_messages - 1], options) && !after_results;
}

const struct chat_family chat_deepseek_v31 = {
    .name = "deepseek-v3.1",
    .render = render,
    .opens_thinking = opens_thinking,
    .can_think = true,
    .is_open = deepseek3_is_open,
    .is_open_thinking = is_open_thinking,
    .calls = CHAT_CALLS_V31,
};
