/* SPDX-License-Identifier: MIT
 *
 * Token ids and token bytes against other implementations.
 *
 *     test_tokenizer VOCABULARY.gguf VECTORS.jsonl …
 *
 * A line is {"text":…,"ids":[…]} (special tokens parsed, no BOS) or {"ids":[…],
 * "token_bytes_hex":[…]}. Every line is checked; where each comes from: vectors/README.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/format.h"
#include "text/token.h"

static int n_lines, n_wrong;

static void wrong(const char *path, int line, const char *what)
{
    n_wrong++;
    printf("%s:%d: %s\n", path, line, what);
}

static bool ids_match(const struct ids *ids, const json_t *expected)
{
    if (ids->n != json_array_size(expected))
        return false;
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] != json_integer_value(json_array_get(expected, i)))
            return false;
    return true;
}

static void check_encode(const struct vocab *vocab, const json_t *text, const json_t *expected,
                         const char *path, int line)
{
    struct ids ids = {0};
    struct err err = {0};
    const char *s = json_string_value(text);
    size_t bytes = json_string_length(text);
    if (vocab_encode(vocab, s, bytes, VOCAB_SPECIAL, &ids, &err) < 0)
        wrong(path, line, err.text);
    else if (!ids_match(&ids, expected))
        wrong(path, line, "other ids");

    char *back = malloc(bytes + 1);
    size_t n = 0, part;
    for (size_t i = 0; i < ids.n; i++) {
        const char *piece = vocab_bytes(vocab, ids.id[i], &part);
        if (part > bytes - n)
            break;
        memcpy(back + n, piece, part);
        n += part;
    }
    if (n != bytes || memcmp(back, s, n) != 0)
        wrong(path, line, "the ids do not decode to the text");
    free(back);
    ids_fini(&ids);
}

static void check_decode(const struct vocab *vocab, const json_t *ids, const json_t *expected,
                         const char *path, int line)
{
    for (size_t i = 0; i < json_array_size(ids); i++) {
        size_t bytes;
        const char *s =
            vocab_bytes(vocab, (int32_t)json_integer_value(json_array_get(ids, i)), &bytes);
        char hex[512] = "";
        for (size_t b = 0; b < bytes && b < 255; b++)
            sprintf(hex + 2 * b, "%02x", (unsigned char)s[b]);
        if (strcmp(hex, json_string_value(json_array_get(expected, i))) != 0)
            wrong(path, line, hex);
    }
}

static void check_file(const struct vocab *vocab, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        wrong(path, 0, strerror(errno));
        return;
    }
    char *text = NULL;
    size_t room = 0;
    for (int line = 1; getline(&text, &room, f) > 0; line++) {
        json_error_t error;
        json_t *object = json_loads(text, JSON_ALLOW_NUL, &error);
        const json_t *ids = json_object_get(object, "ids");
        const json_t *hex = json_object_get(object, "token_bytes_hex");
        n_lines++;
        if (!json_is_array(ids))
            wrong(path, line, object ? "no ids" : error.text);
        else if (hex)
            check_decode(vocab, ids, hex, path, line);
        else
            check_encode(vocab, json_object_get(object, "text"), ids, path, line);
        json_decref(object);
    }
    free(text);
    fclose(f);
}

int main(int argc, char **argv)
{
    OWN(format) *format = NULL;
    OWN(vocab) *vocab = NULL;
    struct err err = {0};
    if (argc < 3 || format_open(argv[1], &format, &err) < 0 ||
        vocab_open(format_meta(format), &vocab, &err) < 0) {
        printf("%s\n", argc < 3 ? "usage: test_tokenizer GGUF JSONL …" : err.text);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        check_file(vocab, argv[i]);
    printf("%d lines, %d wrong\n", n_lines, n_wrong);
    return n_wrong > 0 || n_lines == 0;
}
