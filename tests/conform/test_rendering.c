/* SPDX-License-Identifier: MIT
 *
 * Prompts of whole conversations, id for id, against what the families' own templates print.
 *
 *     test_rendering MODEL.gguf DETECTED VECTORS.json...
 *
 * DETECTED is the family the file itself must get; each vector names its own. An entry of the
 * vectors is {"family","case","messages","options","rendered"}; `rendered` is compared as text and
 * as the ids a tokenizer makes of it with special tokens parsed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/format.h"
#include "text/chat.h"
#include "text/token.h"

enum { MAX_MESSAGES = 64, MAX_CALLS = 32 };

struct talk {
    struct chat_message messages[MAX_MESSAGES];
    struct chat_call calls[MAX_MESSAGES][MAX_CALLS];
    char *made[MAX_MESSAGES * (MAX_CALLS + 2)]; /* texts of JSON values */
    int n, n_made;
};

static enum chat_role role_of(const char *name)
{
    static const char *const names[] = {"system", "user",      "assistant",
                                        "tool",   "developer", "latest_reminder"};
    for (int i = 0; i < 6; i++)
        if (strcmp(names[i], name) == 0)
            return (enum chat_role)i;
    printf("unknown role '%s'\n", name);
    exit(2);
}

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* A value as JSON text, tightly set, so that the renderer's own spacing shows; NULL: absent. */
static const char *text_of(struct talk *talk, const json_t *value, size_t flags)
{
    if (!value || json_is_null(value))
        return NULL;
    return talk->made[talk->n_made++] = json_dumps(value, JSON_ENCODE_ANY | flags);
}

static void read_calls(const json_t *calls, struct talk *ret, int i)
{
    for (int call = 0; call < ret->messages[i].n_calls; call++) {
        const json_t *item = json_array_get(calls, (size_t)call);
        const json_t *function = json_object_get(item, "function");
        const json_t *arguments = json_object_get(function, "arguments");
        ret->calls[i][call] = (struct chat_call){
            string_of(function, "name"),
            json_is_string(arguments) ? json_string_value(arguments) : text_of(ret, arguments, 0),
            string_of(item, "id")};
    }
}

static void read_talk(const json_t *messages, struct talk *ret)
{
    ret->n = (int)json_array_size(messages);
    ret->n_made = 0;
    if (ret->n > MAX_MESSAGES)
        exit(2);
    for (int i = 0; i < ret->n; i++) {
        const json_t *message = json_array_get(messages, (size_t)i);
        const json_t *content = json_object_get(message, "content");
        const json_t *calls = json_object_get(message, "tool_calls");
        const json_t *reasoning = json_object_get(message, "reasoning_content");
        if (!reasoning)
            reasoning = json_object_get(message, "reasoning");
        ret->messages[i] = (struct chat_message){
            .role = role_of(string_of(message, "role")),
            .content = json_string_value(content),
            .bytes = json_string_length(content),
            .calls = ret->calls[i],
            .n_calls = (int)json_array_size(calls),
            .prefix = json_is_true(json_object_get(message, "prefix")),
            .reasoning = json_string_value(reasoning),
            .reasoning_bytes = json_string_length(reasoning),
            .call_id = string_of(message, "tool_call_id"),
            .tools = text_of(ret, json_object_get(message, "tools"), JSON_COMPACT),
            .response_format =
                text_of(ret, json_object_get(message, "response_format"), JSON_INDENT(3)),
            .task = string_of(message, "task")};
        if (ret->messages[i].n_calls > MAX_CALLS)
            exit(2);
        read_calls(calls, ret, i);
    }
}

/* Templates and encoders name their switches differently. */
static struct chat_options read_options(const json_t *asked, bool is_glm, struct talk *talk)
{
    const json_t *enabled = json_object_get(asked, "enable_thinking"); /* GLM: unless told */
    const char *mode = string_of(asked, "thinking_mode"), *effort;
    const json_t *generation = json_object_get(asked, "add_generation_prompt");
    effort = string_of(asked, "reasoning_effort");
    return (struct chat_options){
        .thinking = mode ? strcmp(mode, "thinking") == 0
                         : json_is_true(json_object_get(asked, "thinking")) ||
                               (is_glm && !(enabled && json_is_false(enabled))),
        .add_generation_prompt = !generation || json_is_true(generation),
        .effort = effort && strcmp(effort, "max") == 0 ? CHAT_EFFORT_MAX : CHAT_EFFORT_NONE,
        .tools = text_of(talk, json_object_get(asked, "tools"), JSON_COMPACT)};
}

/* The official V3 template leaves a single call open; here a section is closed after its last call,
 * as the model writes it itself. That changes one case. */
static char *expected_text(const json_t *entry)
{
    const char *text = string_of(entry, "rendered");
    const char *open = strstr(text, "<｜tool▁outputs▁begin｜>");
    if (strcmp(string_of(entry, "case"), "one-tool") != 0 || !open)
        return strdup(text);
    char *closed = NULL;
    if (asprintf(&closed, "%.*s<｜tool▁calls▁end｜><｜end▁of▁sentence｜>%s", (int)(open - text),
                 text, open) < 0)
        exit(2);
    return closed;
}

/* The prompt as text, specials as their letters. */
static char *text_of_ids(const struct vocab *vocab, const struct ids *ids)
{
    size_t room = ids->n * vocab_max_bytes(vocab) + 1, n = 0;
    char *text = malloc(room);
    for (size_t i = 0; i < ids->n; i++) {
        size_t bytes;
        const char *s = vocab_bytes(vocab, ids->id[i], &bytes);
        memcpy(text + n, s, bytes);
        n += bytes;
    }
    text[n] = '\0';
    return text;
}

static bool check(const struct vocab *vocab, const json_t *entry)
{
    static struct talk talk;
    const char *name = string_of(entry, "family");
    bool is_glm = strncmp(name, "glm-4.7", 7) == 0; /* the vectors name the model */
    const struct chat_family *family = chat_by_name(is_glm ? "glm-4.7" : name);
    struct ids ids = {0}, want = {0};
    struct err err = {0};
    read_talk(json_object_get(entry, "messages"), &talk);
    struct chat_options options = read_options(json_object_get(entry, "options"), is_glm, &talk);
    char *expected = expected_text(entry);
    bool good = family && family->render(vocab, talk.messages, talk.n, &options, &ids, &err) == 0 &&
                vocab_encode(vocab, expected, strlen(expected), VOCAB_SPECIAL, &want, &err) == 0;
    char *text = text_of_ids(vocab, &ids);
    good = good && strcmp(text, expected) == 0 && ids.n == want.n &&
           memcmp(ids.id, want.id, ids.n * sizeof(*ids.id)) == 0;
    if (!good) {
        size_t at = 0;
        while (text[at] && text[at] == expected[at])
            at++;
        printf("%s / %s: %s\n  from byte %zu expected %.400s\n  found    %.400s\n", name,
               string_of(entry, "case"), err.text, at, expected + at, text + at);
    }
    for (int i = 0; i < talk.n_made; i++)
        free(talk.made[i]);
    free(text);
    free(expected);
    ids_fini(&ids);
    ids_fini(&want);
    return good;
}

int main(int argc, char **argv)
{
    OWN(format) *format = NULL;
    OWN(vocab) *vocab = NULL;
    struct err err = {0};
    if (argc < 4 || format_open(argv[1], &format, &err) < 0 ||
        vocab_open(format_meta(format), &vocab, &err) < 0) {
        printf("%s\n", argc < 4 ? "usage: test_rendering GGUF FAMILY JSON..." : err.text);
        return 2;
    }
    int n_wrong = 0;
    const struct chat_family *own = chat_detect(format_meta(format), vocab);
    if (!own || strcmp(own->name, argv[2]) != 0) {
        printf("%s is taken for %s, expected %s\n", argv[1], own ? own->name : "no chat model",
               argv[2]);
        n_wrong++;
    }
    size_t n_all = 0;
    for (int file = 3; file < argc; file++) {
        json_error_t error;
        json_t *entries = json_load_file(argv[file], 0, &error);
        size_t n = json_array_size(entries);
        for (size_t i = 0; i < n; i++)
            n_wrong += !check(vocab, json_array_get(entries, i));
        if (n == 0)
            printf("%s holds no conversation\n", argv[file]);
        n_wrong += n == 0;
        n_all += n;
        json_decref(entries);
    }
    printf("%zu conversations, %d wrong\n", n_all, n_wrong);
    return n_wrong > 0;
}
