/* SPDX-License-Identifier: MIT
 *
 * DSML in prompts. See chat_dsml.h; chat_block.c reads it in replies. */
#include "text/chat_dsml.h"

#include <string.h>

void dsml_put_tools(struct prompt *prompt, const char *head, const char *tools, const char *tail)
{
    struct jtext_walk walk = chat_open_tools(tools);
    struct chat_tool tool;
    prompt_string(prompt, "\n\n");
    prompt_template(prompt, head);
    while (chat_next_tool(&walk, &tool)) {
        prompt_json(prompt, tool.function, tool.function_n);
        prompt_string(prompt, "\n");
    }
    prompt_template(prompt, tail);
}

void dsml_put_format(struct prompt *prompt, const char *schema)
{
    if (!schema)
        return;
    prompt_string(prompt, "\n\n## Response Format:\n\n"
                          "You MUST strictly adhere to the following schema to reply:\n");
    prompt_json(prompt, schema, strlen(schema));
}

static void put_parameter(struct prompt *prompt, const struct jtext_item *item)
{
    bool is_string = *item->value == '"';
    prompt_template(prompt, "<｜DSML｜parameter name=\"");
    prompt_unquoted(prompt, item->key, item->key_n);
    prompt_string(prompt, is_string ? "\" string=\"true\">" : "\" string=\"false\">");
    if (is_string)
        prompt_unquoted(prompt, item->value, item->n);
    else
        prompt_json(prompt, item->value, item->n);
    prompt_template(prompt, "</｜DSML｜parameter>\n");
}

static void put_call(struct prompt *prompt, const struct chat_call *call)
{
    size_t n = strlen(call->arguments);
    prompt_template(prompt, "<｜DSML｜invoke name=\"");
    prompt_string(prompt, call->name);
    prompt_string(prompt, "\">\n");
    if (jtext_check(call->arguments, n, JTEXT_OBJECT, "arguments", NULL) == 0) {
        struct jtext_walk walk = jtext_open(call->arguments, n);
        struct jtext_item item;
        while (jtext_next(&walk, &item))
            put_parameter(prompt, &item);
    } else { /* what the model once wrote wrongly is shown to it as it was */
        prompt_template(prompt, "<｜DSML｜parameter name=\"arguments\" string=\"true\">");
        prompt_text(prompt, call->arguments, n);
        prompt_template(prompt, "</｜DSML｜parameter>\n");
    }
    prompt_template(prompt, "</｜DSML｜invoke>\n");
}

void dsml_put_calls(struct prompt *prompt, const char *block, const struct chat_message *message)
{
    if (message->n_calls == 0)
        return;
    prompt_template(prompt, "\n\n<｜DSML｜");
    prompt_string(prompt, block);
    prompt_string(prompt, ">\n");
    for (int i = 0; i < message->n_calls; i++)
        put_call(prompt, &message->calls[i]);
    prompt_template(prompt, "</｜DSML｜");
    prompt_string(prompt, block);
    prompt_string(prompt, ">");
}
