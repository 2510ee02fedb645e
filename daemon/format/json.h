/* SPDX-License-Identifier: MIT
 *
 * JSON as a walk, without a tree: the files beside safetensors are read value by value.
 *
 *     struct json json;
 *     json_init(&json, label, text, bytes, err);
 *     int r = json_object(&json);
 *     while (r == 0 && (r = json_key(&json, &key)) > 0)
 *         r = is_known(key) ? json_u64(&json, &value) : json_skip(&json);
 *     if (r == 0)
 *         r = json_end(&json);
 *
 * Strict: RFC 8259, UTF-8, no NUL in strings, no key twice in one object, whether or not anybody
 * asks for it. Strings are unescaped where they lie, so the text is the caller's to lose, is walked
 * once, and what is handed out borrows from it. Memory: eight bytes for each key of the objects
 * that are open. One thread owns a walk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    JSON_MAX_DEPTH = 64,
    JSON_MAX_KEYS = 1 << 19, /* of the objects that are open at a time */
};

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_OBJECT, JSON_ARRAY };

struct json {
    const char *label; /* the file, as error messages name it */
    char *text;
    size_t bytes, at;
    size_t base; /* where the text starts in its file, for the messages; 0 unless set */
    struct err *err;
    int depth;
    struct {
        bool is_object;
        bool begun; /* it had an element */
        size_t first_key;
    } level[JSON_MAX_DEPTH];
    uint64_t *key; /* hashes of the keys of all open objects, level after level */
    size_t n_keys, room;
};

struct json_text { /* UTF-8 without NUL inside, ended by NUL; lies in the text walked */
    const char *at;
    size_t bytes;
};

void json_init(struct json *json, const char *label, char *text, size_t bytes, struct err *err);
void json_fini(struct json *json);

/* Each below: -EINVAL with words naming file and byte for what is no JSON or not what was asked
 * for, -ENOMEM. After a failure nothing more may be asked. */
int json_peek(struct json *json, enum json_kind *ret);  /* the kind of the value that comes */
int json_object(struct json *json);                     /* enters; then json_key() until it is 0 */
int json_array(struct json *json);                      /* enters; then json_item() until it is 0 */
int json_key(struct json *json, struct json_text *ret); /* 1 a key, its value comes; 0 the end */
int json_item(struct json *json);                       /* 1 a value comes; 0 the end */
int json_string(struct json *json, struct json_text *ret);
int json_u64(struct json *json, uint64_t *ret);  /* digits alone */
int json_i64(struct json *json, int64_t *ret);   /* the same with a sign */
int json_double(struct json *json, double *ret); /* finite */
int json_bool(struct json *json, bool *ret);
int json_null(struct json *json);
int json_skip(struct json *json); /* any value, checked like one that is asked for */
int json_end(struct json *json);  /* nothing but space follows */

/* Writes "'file', byte N: …" about where the walk stands, and gives `code` back. */
#define json_fail(json, code, ...) (json_say((json), (code), __VA_ARGS__), (code))
void json_say(const struct json *json, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static inline bool json_is(const struct json_text *text, const char *word)
{
    return __builtin_strcmp(text->at, word) == 0;
}
