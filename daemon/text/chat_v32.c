/* SPDX-License-Identifier: MIT
 *
 * DeepSeek V3.2: the user's turn opens the answer, tool results reopen it.
 *
 *     BOS {system} <｜User｜> {user} <｜Assistant｜> <think> {reasoning} </think> {answer} EOS
 *
 * Thinking is replayed after the user's last message and forgotten before it. */
#include <errno.h>

#include "text/chat_dsml.h"
#include "text/chat_families.h"

static const char head[] =
    "## Tools\n\n"
    "You have access to a set of tools you can use to answer the user's question.\n"
    "You can invoke functions by writing a \"<｜DSML｜function_calls>\" block like the following "
    "as part of your reply to the user:\n"
    "<｜DSML｜function_calls>\n"
    "<｜DSML｜invoke name=\"$FUNCTION_NAME\">\n"
    "<｜DSML｜parameter name=\"$PARAMETER_NAME\" "
    "string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"$FUNCTION_NAME2\">\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜function_calls>\n\n"
    "String and scalar parameters should be specified as is without any escaping or quotes, while "
    "lists and objects should use JSON format. The \"string\" attribute should be set to \"true\" "
    "for string type parameters and \"false\" for other types (numbers, booleans, arrays, "
    "objects).\n\n"
    "If the thinking_mode is enabled, then after function results you should strongly consider "
    "outputting a thinking block. Here is an example:\n\n"
    "<｜DSML｜function_calls>\n"
    "...\n"
    "</｜DSML｜function_calls>\n\n"
    "<function_results>\n"
    "...\n"
    "</function_results>\n\n"
    "<think>...thinking about results</think>\n\n"
    "Here are the functions available in JSONSchema format:\n"
    "<functions>\n";
static const char tail[] = "</functions>\n";

struct talk {
    const struct chat_message *messages;
    int n, last_user;
    const struct chat_options *options;
};

static void put_extras(struct prompt *prompt, const char *tools, const char *format)
{
    if (chat_has_tools(tools))
        dsml_put_tools(prompt, head, tools, tail);
    dsml_put_format(prompt, format);
}

/* What follows a turn of the user or of the tools. */
static void open_answer(struct prompt *prompt, const struct talk *talk, bool recent)
{
    prompt_mark(prompt, talk->options->thinking && recent ? "<think>" : "</think>");
}

static void render_user(struct prompt *prompt, const struct talk *talk, int at)
{
    const struct chat_message *message = &talk->messages[at];
    prompt_mark(prompt, "<｜User｜>");
    if (message->role == CHAT_DEVELOPER) {
        put_extras(prompt, message->tools, message->response_format);
        prompt_string(prompt, "\n\n# The user's message is: ");
    }
    chat_put_content(prompt, message);
    if (at + 1 == talk->n && !talk->options->add_generation_prompt)
        return;
    prompt_mark(prompt, "<｜Assistant｜>");
    open_answer(prompt, talk, at == talk->last_user);
}

static void render_answer(struct prompt *prompt, const struct talk *talk, int at)
{
    const struct chat_message *message = &talk->messages[at];
    prompt_written(prompt, message->written, message->n_written);
    if (talk->options->thinking && at > talk->last_user) {
        prompt_text(prompt, message->reasoning, message->reasoning_bytes);
        prompt_mark(prompt, "</think>");
    }
    chat_put_content(prompt, message);
    dsml_put_calls(prompt, "function_calls", message);
    if (!message->prefix)
        prompt_mark(prompt, "<｜end▁of▁sentence｜>");
    prompt_written(prompt, NULL, 0);
}

/* A run of results, in the order of the calls they answer. */
static void render_results(struct prompt *prompt, const struct talk *talk, int first, int end)
{
    const struct chat_message *messages = talk->messages;
    int answered[CHAT_MAX_CALLS];
    for (int i = first; i < end; i++)
        answered[i - first] = chat_answered(messages, i, first - 1);
    prompt_string(prompt, "\n\n<function_results>");
    for (int call = 0; call < messages[first - 1].n_calls; call++)
        for (int i = first; i < end; i++) {
            if (answered[i - first] != call)
                continue;
            prompt_string(prompt, "\n<result>");
            chat_put_content(prompt, &messages[i]);
            prompt_string(prompt, "</result>");
        }
    prompt_string(prompt, "\n</function_results>");
    if (end == talk->n && !talk->options->add_generation_prompt)
        return;
    prompt_string(prompt, "\n\n");
    open_answer(prompt, talk, end - 1 >= talk->last_user);
}

static int check_results(const struct chat_message *messages, int n, struct err *err)
{
    for (int i = 0; i < n; i++) {
        int asker = messages[i].role == CHAT_TOOL ? chat_asker(messages, i) : 0;
        if (messages[i].role == CHAT_TOOL && (asker < 0 || chat_answered(messages, i, asker) < 0))
            return err_set(err, -EINVAL, "messages[%d] is the result of no call", i);
    }
    return 0;
}

static void render_turns(struct prompt *prompt, const struct talk *talk)
{
    const struct chat_options *options = talk->options;
    int i = 0;
    if (talk->messages[0].role == CHAT_SYSTEM)
        chat_put_content(prompt, &talk->messages[i++]);
    put_extras(prompt, options->tools, options->response_format);
    if (i > 0)
        put_extras(prompt, talk->messages[0].tools, talk->messages[0].response_format);
    while (i < talk->n) {
        const struct chat_message *message = &talk->messages[i];
        int end = i + 1;
        if (message->role == CHAT_TOOL) {
            while (end < talk->n && talk->messages[end].role == CHAT_TOOL)
                end++;
            render_results(prompt, talk, i, end);
        } else if (message->role == CHAT_ASSISTANT) {
            render_answer(prompt, talk, i);
        } else if (message->role == CHAT_SYSTEM) {
            chat_put_content(prompt, message);
            put_extras(prompt, message->tools, message->response_format);
        } else {
            render_user(prompt, talk, i);
        }
        i = end;
    }
}

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check("deepseek-v3.2", CHAT_CAN_TOOLS | CHAT_CAN_OWN | CHAT_CAN_DEVELOPER,
                       messages, n_messages, options, err);
    if (r == 0)
        r = check_results(messages, n_messages, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    const struct talk talk = {messages, n_messages, chat_last_user(messages, n_messages), options};
    render_turns(&prompt, &talk);
    return prompt_finish(&prompt);
}

static bool opens_thinking(const struct chat_options *options)
{
    return options->add_generation_prompt && options->thinking;
}

/* Only a turn of the user or of the tools opens an answer. */
static bool is_open(const struct chat_message *messages, int n_messages)
{
    enum chat_role last = n_messages > 0 ? messages[n_messages - 1].role : CHAT_SYSTEM;
    return last == CHAT_ASSISTANT || last == CHAT_SYSTEM;
}

const struct chat_family chat_deepseek_v32 = {
    .name = "deepseek-v3.2",
    .render = render,
    .opens_thinking = opens_thinking,
    .can_think = true,
    .is_open = is_open,
    .calls = CHAT_CALLS_V32,
};
