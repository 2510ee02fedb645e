/* SPDX-License-Identifier: MIT
 *
 * DeepSeek V3 and its relatives:
 *
 *     BOS {system} <｜User｜> {user} <｜Assistant｜> {answer} EOS <｜User｜> …
 *
 * Two places where the official V3 template contradicts what the model was trained to write are
 * done the model's way: a section of tool calls is closed once, after its last call, and every
 * round of tool results has an opening of its own. */
#include "text/chat_deepseek3.h"

#include <errno.h>
#include <string.h>

#include "text/chat_common.h"

#define EOS "<｜end▁of▁sentence｜>"

static const char think_end[] = "</think>";

bool deepseek3_is_open(const struct chat_message *messages, int n_messages)
{
    const struct chat_message *last = n_messages > 0 ? &messages[n_messages - 1] : NULL;
    return last && (last->role == CHAT_TOOL || last->prefix);
}

/* ---- rendering */

/* Definitions have no place of their own: they follow the system's words, as the model card has
 * them. */
static void render_tools(struct prompt *prompt, const char *tools, bool has_system)
{
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    for (int i = 0; chat_next_tool(&walk, &tool); i++) {
        if (i == 0)
            prompt_string(prompt, has_system ? "\n\n## Tools\n\n" : "## Tools\n\n");
        if (i == 0)
            prompt_string(prompt,
                          "### Function\n\nYou have the following functions available:\n\n");
        prompt_string(prompt, "- `");
        prompt_unquoted(prompt, tool.name.value, tool.name.n);
        prompt_string(prompt, "`:\n```json\n");
        prompt_json(prompt, tool.function, tool.function_n);
        prompt_string(prompt, "\n```\n");
    }
}

static void render_content(struct prompt *prompt, const struct deepseek3_style *style,
                           const struct chat_message *message)
{
    const char *text = message->content;
    if (!text)
        return;
    const char *end = text + message->bytes;
    if (style->cut_thinking && !message->prefix) {
        const size_t n = sizeof(think_end) - 1;
        const char *at;
        while ((at = memmem(text, (size_t)(end - text), think_end, n)))
            text = at + n;
    }
    if (style->trim_answer && !message->prefix)
        while (text < end && strchr(" \t\n\v\f\r", *text) && *text)
            text++;
    prompt_text(prompt, text, (size_t)(end - text));
}

static void render_calls(struct prompt *prompt, const struct chat_message *message)
{
    if (message->n_calls == 0)
        return;
    prompt_mark(prompt, "<｜tool▁calls▁begin｜>");
    for (int i = 0; i < message->n_calls; i++) {
        if (i > 0)
            prompt_string(prompt, "\n");
        prompt_mark(prompt, "<｜tool▁call▁begin｜>");
        prompt_string(prompt, "function");
        prompt_mark(prompt, "<｜tool▁sep｜>");
        prompt_string(prompt, message->calls[i].name);
        prompt_string(prompt, "\n```json\n");
        prompt_string(prompt, message->calls[i].arguments);
        prompt_string(prompt, "\n```");
        prompt_mark(prompt, "<｜tool▁call▁end｜>");
    }
    prompt_mark(prompt, "<｜tool▁calls▁end｜>");
}

static void render_result(struct prompt *prompt, const struct chat_message *message, bool first)
{
    if (first)
        prompt_mark(prompt, "<｜tool▁outputs▁begin｜>");
    else
        prompt_string(prompt, "\n");
    prompt_mark(prompt, "<｜tool▁output▁begin｜>");
    prompt_text(prompt, message->content, message->bytes);
    prompt_mark(prompt, "<｜tool▁output▁end｜>");
}

static void render_turns(struct prompt *prompt, const struct deepseek3_style *style,
                         const struct chat_message *messages, int n)
{
    bool results = false; /* a section of tool results is open */
    for (int i = 0; i < n; i++) {
        const struct chat_message *message = &messages[i];
        if (message->role == CHAT_SYSTEM)
            continue;
        if (message->role == CHAT_TOOL) {
            render_result(prompt, message, !results);
            results = true;
            continue;
        }
        if (results)
            prompt_mark(prompt, "<｜tool▁outputs▁end｜>");
        if (message->role == CHAT_USER) {
            prompt_mark(prompt, "<｜User｜>");
            prompt_text(prompt, message->content, message->bytes);
        } else {
            if (!results) /* after results the same turn goes on */
                prompt_mark(prompt, "<｜Assistant｜>");
            prompt_written(prompt, message->written, message->n_written);
            render_content(prompt, style, message);
            render_calls(prompt, message);
            if (!message->prefix)
                prompt_mark(prompt, EOS);
            prompt_written(prompt, NULL, 0);
        }
        results = false;
    }
    if (results)
        prompt_mark(prompt, "<｜tool▁outputs▁end｜>");
}

int deepseek3_render(const struct deepseek3_style *style, const struct vocab *vocab,
                     const struct chat_message *messages, int n_messages,
                     const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check(style->name, CHAT_CAN_TOOLS, messages, n_messages, options, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    /* All system messages stand at the front, whatever their place was. */
    bool has_system = chat_put_systems(&prompt, messages, n_messages);
    render_tools(&prompt, options->tools, has_system);
    render_turns(&prompt, style, messages, n_messages);
    if (options->add_generation_prompt && !deepseek3_is_open(messages, n_messages)) {
        prompt_mark(&prompt, "<｜Assistant｜>");
        if (style->think == THINK_ALWAYS || (style->think == THINK_ASKED && options->thinking)) {
            prompt_mark(&prompt, "<think>");
            prompt_string(&prompt, "\n");
        }
    }
    return prompt_finish(&prompt);
}

/* ---- the family without thinking: V2.5, V3, V3-0324 */

static const struct deepseek3_style v3_style = {.name = "deepseek-v3", .think = THINK_NEVER};

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    return deepseek3_render(&v3_style, vocab, messages, n_messages, options, ret, err);
}

static bool opens_thinking(const struct chat_options *options)
{
    (void)options;
    return false;
}

const struct chat_family chat_deepseek_v3 = {
    .name = "deepseek-v3",
    .render = render,
    .opens_thinking = opens_thinking,
    .is_open = deepseek3_is_open,
    .calls = CHAT_CALLS_V3,
};

const struct chat_family chat_deepseek_v2_5 = {
    .name = "deepseek-v2.5",
    .render = render,
    .opens_thinking = opens_thinking,
    .is_open = deepseek3_is_open,
    .calls = CHAT_CALLS_V3,
};
