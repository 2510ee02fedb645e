/* SPDX-License-Identifier: MIT
 *
 * GLM-4.7: roles are markers without line breaks, arguments are pairs of markers, not JSON.
 *
 * An answer's thinking is replayed only after the user's last message. */
#include <errno.h>
#include <string.h>

#include "text/chat_common.h"
#include "text/chat_families.h"

static const char head[] =
    "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n";
static const char tail[] =
    "</tools>\n\nFor each function call, output the function name and arguments within the "
    "following XML format:\n"
    "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
    "<arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>";

static void render_tools(struct prompt *prompt, const char *tools)
{
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    prompt_mark(prompt, "<|system|>");
    prompt_template(prompt, head);
    while (chat_next_tool(&walk, &tool)) {
        if (tool.bare)
            prompt_string(prompt, "{\"type\": \"function\", \"function\": ");
        prompt_json(prompt, tool.whole, tool.whole_n);
        prompt_string(prompt, tool.bare ? "}\n" : "\n");
    }
    prompt_template(prompt, tail);
}

static int check_arguments(const struct chat_message *messages, int n, struct err *err)
{
    int r = 0;
    for (int i = 0; i < n && r == 0; i++)
        for (int call = 0; call < messages[i].n_calls && r == 0; call++) {
            const char *arguments = messages[i].calls[call].arguments;
            r = jtext_check(arguments, strlen(arguments), JTEXT_OBJECT, "a call's arguments", err);
            if (r == -EINVAL && err)
                err_set(err, r, "messages[%d].calls[%d].arguments are not a JSON object", i, call);
        }
    return r;
}

static void render_call(struct prompt *prompt, const struct chat_call *call)
{
    struct jtext_walk walk = jtext_open(call->arguments, strlen(call->arguments));
    struct jtext_item item;
    prompt_template(prompt, "<tool_call>");
    prompt_string(prompt, call->name);
    while (jtext_next(&walk, &item)) {
        prompt_template(prompt, "<arg_key>");
        prompt_unquoted(prompt, item.key, item.key_n);
        prompt_template(prompt, "</arg_key><arg_value>");
        if (*item.value == '"')
            prompt_unquoted(prompt, item.value, item.n);
        else
            prompt_json(prompt, item.value, item.n);
        prompt_template(prompt, "</arg_value>");
    }
    prompt_template(prompt, "</tool_call>");
}

static void render_answer(struct prompt *prompt, const struct chat_message *message, bool replays)
{
    prompt_mark(prompt, "<|assistant|>");
    prompt_written(prompt, message->written, message->n_written);
    if (replays && message->reasoning_bytes > 0) {
        prompt_mark(prompt, "<think>");
        prompt_text(prompt, message->reasoning, message->reasoning_bytes);
    }
    prompt_mark(prompt, "</think>");
    chat_put_content(prompt, message);
    for (int i = 0; i < message->n_calls; i++)
        render_call(prompt, &message->calls[i]);
    prompt_written(prompt, NULL, 0);
}

static void render_turns(struct prompt *prompt, const struct chat_message *messages, int n)
{
    int last_user = chat_last_user(messages, n);
    for (int i = 0; i < n; i++) {
        const struct chat_message *message = &messages[i];
        if (message->role == CHAT_ASSISTANT) {
            render_answer(prompt, message, i > last_user);
            continue;
        }
        if (message->role != CHAT_TOOL)
            prompt_mark(prompt, message->role == CHAT_USER ? "<|user|>" : "<|system|>");
        else if (i == 0 || messages[i - 1].role != CHAT_TOOL)
            prompt_mark(prompt, "<|observation|>");
        if (message->role == CHAT_TOOL)
            prompt_template(prompt, "<tool_response>");
        chat_put_content(prompt, message);
        if (message->role == CHAT_TOOL)
            prompt_template(prompt, "</tool_response>");
    }
}

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check("glm-4.7", CHAT_CAN_TOOLS, messages, n_messages, options, err);
    if (r == 0)
        r = check_arguments(messages, n_messages, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_mark(&prompt, "[gMASK]");
    prompt_mark(&prompt, "<sop>");
    if (chat_has_tools(options->tools))
        render_tools(&prompt, options->tools);
    render_turns(&prompt, messages, n_messages);
    if (options->add_generation_prompt && !chat_ends_in_prefix(messages, n_messages)) {
        prompt_mark(&prompt, "<|assistant|>");
        prompt_mark(&prompt, options->thinking ? "<think>" : "</think>");
    }
    return prompt_finish(&prompt);
}

static bool opens_thinking(const struct chat_options *options)
{
    return options->add_generation_prompt && options->thinking;
}

const struct chat_family chat_glm_4_7 = {
    .name = "glm-4.7",
    .render = render,
    .opens_thinking = opens_thinking,
    .can_think = true,
    .is_open = chat_ends_in_prefix,
    .calls = CHAT_CALLS_GLM,
    .trims_answer = true,
};
