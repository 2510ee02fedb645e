/* SPDX-License-Identifier: MIT
 *
 * DeepSeek V4: messages become turns, turns a prompt.
 *
 * Tool results are parts of the user's turn, which gathers all that comes between two answers. In a
 * conversation with tools all thinking is replayed, in others what follows the user's last turn. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_dsml.h"
#include "text/chat_families.h"

static const char head[] =
    "## Tools\n\n"
    "You have access to a set of tools to help answer the user's question. You can invoke tools by "
    "writing a \"<｜DSML｜tool_calls>\" block like the following:\n\n"
    "<｜DSML｜tool_calls>\n"
    "<｜DSML｜invoke name=\"$TOOL_NAME\">\n"
    "<｜DSML｜parameter name=\"$PARAMETER_NAME\" "
    "string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>\n\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all other types "
    "(numbers, booleans, arrays, objects), pass the value in JSON format and set "
    "`string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning "
    "inside <think>...</think> BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";
static const char tail[] =
    "\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool "
    "calls.\n";
static const char effort_max[] =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to "
    "resolve the root cause, rigorously stress-testing your logic against all potential paths, "
    "edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, "
    "considered alternative, and rejected hypothesis to ensure absolutely no assumption is left "
    "unchecked.\n\n";

/* Internal tasks; a message names one, and its token ends the prompt. */
static const char *const tasks[][2] = {
    {"action", "<｜action｜>"}, {"query", "<｜query｜>"}, {"authority", "<｜authority｜>"},
    {"domain", "<｜domain｜>"}, {"title", "<｜title｜>"}, {"read_url", "<｜read_url｜>"},
};

struct turn {
    enum chat_role role;
    int first, end; /* messages */
    const char *task;
    int asker; /* CHAT_USER: the message whose calls its results answer; -1: none */
};

struct talk {
    const struct chat_message *messages;
    const struct chat_options *options;
    struct turn *turns;
    int n, last_user; /* turns */
    bool replays;     /* all thinking */
};

static const char *task_marker(const char *task)
{
    for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
        if (strcmp(tasks[i][0], task) == 0)
            return tasks[i][1];
    return NULL;
}

/* ---- turns */

static int gather(struct talk *talk, int n_messages, struct err *err)
{
    int asker = -1;
    talk->last_user = -1;
    talk->replays = chat_has_tools(talk->options->tools);
    for (int i = 0; i < n_messages; i++) {
        const struct chat_message *message = &talk->messages[i];
        bool users = message->role == CHAT_USER || message->role == CHAT_TOOL;
        struct turn *last = talk->n > 0 ? &talk->turns[talk->n - 1] : NULL;
        if (message->task && !task_marker(message->task))
            return err_set(err, -EINVAL, "messages[%d] has the unknown task '%s'", i,
                           message->task);
        if (users && last && last->role == CHAT_USER && !last->task) {
            last->end = i + 1;
            last->task = message->task;
        } else {
            talk->turns[talk->n++] =
                (struct turn){users ? CHAT_USER : message->role, i, i + 1, message->task, asker};
        }
        if (users || message->role == CHAT_DEVELOPER)
            talk->last_user = talk->n - 1;
        if (message->role == CHAT_ASSISTANT && message->n_calls > 0)
            asker = i;
        talk->replays = talk->replays || chat_has_tools(message->tools);
    }
    return 0;
}

/* Where a result stands among those of its turn: the place of its call, 0 if nothing tells. */
static int rank(const struct talk *talk, const struct turn *turn, int at)
{
    const struct chat_message *asking = turn->asker < 0 ? NULL : &talk->messages[turn->asker];
    const char *id = talk->messages[at].call_id;
    for (int i = 0; asking && id && i < asking->n_calls; i++)
        if (asking->calls[i].id && strcmp(asking->calls[i].id, id) == 0)
            return i;
    return 0;
}

/* The results of a turn in the order of their calls, those of one rank as they came. */
static void order_results(const struct talk *talk, const struct turn *turn, int *ret)
{
    int ranks[CHAT_MAX_CALLS], n = 0;
    for (int i = turn->first; i < turn->end; i++) {
        if (talk->messages[i].role != CHAT_TOOL)
            continue;
        int mine = rank(talk, turn, i), at = n++;
        for (; at > 0 && ranks[at - 1] > mine; at--) {
            ranks[at] = ranks[at - 1];
            ret[at] = ret[at - 1];
        }
        ranks[at] = mine;
        ret[at] = i;
    }
}

/* Results take the places of results; the user's words stay where they are. */
static void render_user(struct prompt *prompt, const struct talk *talk, const struct turn *turn)
{
    int results[CHAT_MAX_CALLS], next = 0;
    order_results(talk, turn, results);
    prompt_mark(prompt, "<｜User｜>");
    for (int i = turn->first; i < turn->end; i++) {
        if (i > turn->first)
            prompt_string(prompt, "\n\n");
        if (talk->messages[i].role != CHAT_TOOL) {
            chat_put_content(prompt, &talk->messages[i]);
            continue;
        }
        prompt_string(prompt, "<tool_result>");
        chat_put_content(prompt, &talk->messages[results[next++]]);
        prompt_string(prompt, "</tool_result>");
    }
}

/* ---- the prompt */

static void put_extras(struct prompt *prompt, const char *tools, const char *format)
{
    if (chat_has_tools(tools))
        dsml_put_tools(prompt, head, tools, tail);
    dsml_put_format(prompt, format);
}

/* What follows a user's turn, unless another follows it. */
static void open_answer(struct prompt *prompt, const struct talk *talk, int at)
{
    const struct turn *turn = &talk->turns[at];
    bool last = at + 1 == talk->n;
    if (last ? !talk->options->add_generation_prompt
             : turn[1].role != CHAT_ASSISTANT && turn[1].role != CHAT_REMINDER)
        return;
    bool thinks = talk->options->thinking && (talk->replays || at >= talk->last_user);
    const char *task = turn->task ? task_marker(turn->task) : NULL;
    if (!task || strcmp(turn->task, "action") == 0) {
        prompt_mark(prompt, "<｜Assistant｜>");
        prompt_mark(prompt, thinks ? "<think>" : "</think>");
    }
    if (task)
        prompt_mark(prompt, task);
}

static void render_answer(struct prompt *prompt, const struct talk *talk, int at)
{
    const struct chat_message *message = &talk->messages[talk->turns[at].first];
    bool after_task = at > 0 && talk->turns[at - 1].task;
    prompt_written(prompt, message->written, message->n_written);
    if (talk->options->thinking && !after_task && (talk->replays || at > talk->last_user)) {
        prompt_text(prompt, message->reasoning, message->reasoning_bytes);
        prompt_mark(prompt, "</think>");
    }
    chat_put_content(prompt, message);
    dsml_put_calls(prompt, "tool_calls", message);
    if (!message->prefix)
        prompt_mark(prompt, "<｜end▁of▁sentence｜>");
    prompt_written(prompt, NULL, 0);
}

static void render_turn(struct prompt *prompt, const struct talk *talk, int at)
{
    const struct turn *turn = &talk->turns[at];
    const struct chat_message *message = &talk->messages[turn->first];
    switch (turn->role) {
    case CHAT_ASSISTANT:
        render_answer(prompt, talk, at);
        return;
    case CHAT_SYSTEM:
        chat_put_content(prompt, message);
        if (at == 0)
            put_extras(prompt, talk->options->tools, talk->options->response_format);
        put_extras(prompt, message->tools, message->response_format);
        return;
    case CHAT_REMINDER:
        prompt_mark(prompt, "<｜latest_reminder｜>");
        chat_put_content(prompt, message);
        return;
    case CHAT_DEVELOPER:
        prompt_mark(prompt, "<｜User｜>");
        chat_put_content(prompt, message);
        put_extras(prompt, message->tools, message->response_format);
        break;
    default:
        render_user(prompt, talk, turn);
    }
    open_answer(prompt, talk, at);
}

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    int r = chat_check("deepseek-v4",
                       CHAT_CAN_TOOLS | CHAT_CAN_OWN | CHAT_CAN_DEVELOPER | CHAT_CAN_REMIND,
                       messages, n_messages, options, err);
    if (r < 0)
        return r;
    OWN_MEM struct turn *turns = calloc((size_t)n_messages, sizeof(*turns));
    if (!turns)
        return err_set(err, -ENOMEM, "no memory for %d messages", n_messages);
    struct talk talk = {.messages = messages, .options = options, .turns = turns};
    r = gather(&talk, n_messages, err);
    if (r < 0)
        return r;
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    if (options->thinking && options->effort == CHAT_EFFORT_MAX)
        prompt_string(&prompt, effort_max);
    if (messages[0].role != CHAT_SYSTEM)
        put_extras(&prompt, options->tools, options->response_format);
    for (int i = 0; i < talk.n; i++)
        render_turn(&prompt, &talk, i);
    return prompt_finish(&prompt);
}

static bool opens_thinking(const struct chat_options *options)
{
    return options->add_generation_prompt && options->thinking;
}

/* Only a turn of the user opens an answer; a reminder may stand behind that. */
static bool is_open(const struct chat_message *messages, int n_messages)
{
    int last = n_messages - 1;
    while (last > 0 && messages[last].role == CHAT_REMINDER)
        last--;
    if (last < 0)
        return true;
    enum chat_role role = messages[last].role;
    bool opens = role == CHAT_USER || role == CHAT_DEVELOPER || role == CHAT_TOOL;
    return !opens || (messages[last].task && strcmp(messages[last].task, "action") != 0);
}

const struct chat_family chat_deepseek_v4 = {
    .name = "deepseek-v4",
    .render = render,
    .opens_thinking = opens_thinking,
    .can_think = true,
    .is_open = is_open,
    .calls = CHAT_CALLS_V4,
};
