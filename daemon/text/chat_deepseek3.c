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

#include "text/prompt.h"

#define EOS "<｜end▁of▁sentence｜>"

static const char think_end[] = "</think>";

/* ---- what the format can say */

static int check_calls(const struct chat_message *message, int i, struct err *err)
{
    if (message->n_calls < 0)
        return err_set(err, -EINVAL, "messages[%d] has %d calls", i, message->n_calls);
    if (message->n_calls > 0 && message->role != CHAT_ASSISTANT)
        return err_set(err, -EINVAL, "messages[%d] has tool calls; only the assistant's may", i);
    for (int call = 0; call < message->n_calls; call++) {
        const struct chat_call *c = &message->calls[call];
        if (!c->name || !*c->name || !c->arguments)
            return err_set(err, -EINVAL, "messages[%d].calls[%d] has no %s", i, call,
                           c->name && *c->name ? "arguments" : "name");
    }
    return 0;
}

static int check(const struct chat_message *messages, int n, struct err *err)
{
    if (n < 1)
        return err_set(err, -EINVAL, "no messages, expected at least one");
    for (int i = 0; i < n; i++) {
        const struct chat_message *message = &messages[i];
        if (message->role < CHAT_SYSTEM || message->role > CHAT_TOOL)
            return err_set(err, -EINVAL, "messages[%d] has the unknown role %d", i,
                           (int)message->role);
        int r = check_calls(message, i, err);
        if (r < 0)
            return r;
        if (!message->content && message->n_calls == 0)
            return err_set(err, -EINVAL, "messages[%d] has no content", i);
        if (message->prefix &&
            (message->role != CHAT_ASSISTANT || i + 1 < n || message->n_calls > 0))
            return err_set(err, -EINVAL,
                           "messages[%d] is a prefix; only the last message may be, from the "
                           "assistant and without tool calls",
                           i);
    }
    return 0;
}

bool deepseek3_is_open(const struct chat_message *messages, int n_messages)
{
    const struct chat_message *last = n_messages > 0 ? &messages[n_messages - 1] : NULL;
    return last && (last->role == CHAT_TOOL || last->prefix);
}

/* ---- rendering */

/* All system messages stand at the front, whatever their place was. */
static void render_system(struct prompt *prompt, const struct chat_message *messages, int n)
{
    bool first = true;
    for (int i = 0; i < n; i++) {
        if (messages[i].role != CHAT_SYSTEM)
            continue;
        if (!first)
            prompt_string(prompt, "\n\n");
        prompt_text(prompt, messages[i].content, messages[i].bytes);
        first = false;
    }
}

static void render_content(struct prompt *prompt, const struct deepseek3_style *style,
                           const struct chat_message *message)
{
    const char *text = message->content, *end = text + message->bytes;
    if (!text)
        return;
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
            render_content(prompt, style, message);
            render_calls(prompt, message);
            if (!message->prefix)
                prompt_mark(prompt, EOS);
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
    int r = check(messages, n_messages, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    render_system(&prompt, messages, n_messages);
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

static const struct deepseek3_style v3_style = {.think = THINK_NEVER};

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
    .can_think = false,
    .is_open = deepseek3_is_open,
};
