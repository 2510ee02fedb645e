/* SPDX-License-Identifier: MIT
 *
 * JSON: any bytes as a text. What the walk takes, a walk in other steps takes as well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "target.h"

/* A value by the functions that callers use; one level deep at a time. */
static int take(struct json *json)
{
    enum json_kind kind;
    struct json_text text;
    double number;
    bool flag;
    int r = json_peek(json, &kind);
    if (r < 0)
        return r;
    switch (kind) {
    case JSON_NULL:
        return json_null(json);
    case JSON_BOOL:
        return json_bool(json, &flag);
    case JSON_NUMBER:
        return json_double(json, &number);
    case JSON_STRING:
        r = json_string(json, &text);
        PROMISE(r < 0 || strlen(text.at) == text.bytes);
        return r;
    case JSON_OBJECT:
        r = json_object(json);
        while (r == 0 && (r = json_key(json, &text)) > 0) {
            PROMISE(strlen(text.at) == text.bytes);
            r = json_skip(json);
        }
        return r;
    case JSON_ARRAY:
        break;
    }
    r = json_array(json);
    while (r == 0 && (r = json_item(json)) > 0)
        r = json_skip(json);
    return r;
}

static int walk(const uint8_t *data, size_t bytes, bool whole, struct err *err)
{
    struct json json;
    char *text = malloc(bytes + (bytes == 0));
    PROMISE(text);
    if (bytes)
        memcpy(text, data, bytes);
    json_init(&json, "input", text, bytes, err);
    int r = whole ? json_skip(&json) : take(&json);
    if (r == 0)
        r = json_end(&json);
    PROMISE(json.at <= json.bytes && (r < 0 || json.depth == 0));
    json_fini(&json);
    free(text);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct err err = {0}, other = {0};
    int r = walk(data, bytes, true, &err);
    PROMISE(r <= 0 && r == err.code);
    int s = walk(data, bytes, false, &other);
    /* a number alone may be too large for a double, which a skip does not ask */
    PROMISE(s == r || (r == 0 && strstr(other.text, "number")));
    return 0;
}
