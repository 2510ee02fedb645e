/* SPDX-License-Identifier: MIT
 *
 * Prompts of whole conversations, id for id, against what the families' own templates print.
 *
 *     test_rendering MODEL.gguf DETECTED VECTORS.json
 *
 * DETECTED is the family the file itself must get; each vector names its own. An entry of the
 * vectors is {"family","case","messages","options","rendered"}; `rendered` is compared as the ids
 * a tokenizer makes of it with special tokens parsed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/format.h"
#include "text/chat.h"
#include "text/token.h"

enum { MAX_MESSAGES = 32, MAX_CALLS = 8 };

struct talk {
    struct chat_message messages[MAX_MESSAGES];
    struct chat_call calls[MAX_MESSAGES][MAX_CALLS];
    int n;
};

static enum chat_role role_of(const char *name)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], name) == 0)
            return (enum chat_role)i;
    printf("unknown role '%s'\n", name);
    exit(2);
}

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void read_talk(const json_t *messages, struct talk *ret)
{
    ret->n = (int)json_array_size(messages);
    if (ret->n > MAX_MESSAGES)
        exit(2);
    for (int i = 0; i < ret->n; i++) {
        const json_t *message = json_array_get(messages, (size_t)i);
        const json_t *content = json_object_get(message, "content");
        const json_t *calls = json_object_get(message, "tool_calls");
        ret->messages[i] = (struct chat_message){.role = role_of(string_of(message, "role")),
                                                 .content = json_string_value(content),
                                                 .bytes = json_string_length(content),
                                                 .calls = ret->calls[i],
                                                 .n_calls = (int)json_array_size(calls)};
        if (ret->messages[i].n_calls > MAX_CALLS)
            exit(2);
        for (int call = 0; call < ret->messages[i].n_calls; call++) {
            const json_t *function =
                json_object_get(json_array_get(calls, (size_t)call), "function");
            ret->calls[i][call] =
                (struct chat_call){string_of(function, "name"), string_of(function, "arguments")};
        }
    }
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

static bool check(const struct vocab *vocab, const json_t *entry)
{
    const struct chat_family *family = chat_by_name(string_of(entry, "family"));
    const json_t *asked = json_object_get(entry, "options");
    struct chat_options options = {
        .thinking = json_is_true(json_object_get(asked, "thinking")),
        .add_generation_prompt = json_is_true(json_object_get(asked, "add_generation_prompt"))};
    struct talk talk;
    struct ids ids = {0}, want = {0};
    struct err err = {0};
    read_talk(json_object_get(entry, "messages"), &talk);
    char *expected = expected_text(entry);
    bool good = family && family->render(vocab, talk.messages, talk.n, &options, &ids, &err) == 0 &&
                vocab_encode(vocab, expected, strlen(expected), VOCAB_SPECIAL, &want, &err) == 0 &&
                ids.n == want.n && memcmp(ids.id, want.id, ids.n * sizeof(*ids.id)) == 0;
    if (!good) {
        printf("%s / %s: %s\n  expected %s\n  found    ", string_of(entry, "family"),
               string_of(entry, "case"), err.text, expected);
        for (size_t i = 0; i < ids.n; i++) {
            size_t bytes;
            const char *s = vocab_bytes(vocab, ids.id[i], &bytes);
            printf("%.*s", (int)bytes, s);
        }
        printf("\n");
    }
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
    if (argc != 4 || format_open(argv[1], &format, &err) < 0 ||
        vocab_open(format_meta(format), &vocab, &err) < 0) {
        printf("%s\n", argc != 4 ? "usage: test_rendering GGUF FAMILY JSON" : err.text);
        return 2;
    }
    int n_wrong = 0;
    const struct chat_family *own = chat_detect(format_meta(format), vocab);
    if (!own || strcmp(own->name, argv[2]) != 0) {
        printf("%s is taken for %s, expected %s\n", argv[1], own ? own->name : "no chat model",
               argv[2]);
        n_wrong++;
    }
    json_error_t error;
    json_t *entries = json_load_file(argv[3], 0, &error);
    size_t n = json_array_size(entries);
    for (size_t i = 0; i < n; i++)
        n_wrong += !check(vocab, json_array_get(entries, i));
    printf("%zu conversations, %d wrong\n", n, n_wrong);
    json_decref(entries);
    return n_wrong > 0 || n == 0;
}
