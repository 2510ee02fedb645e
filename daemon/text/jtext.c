/* SPDX-License-Identifier: MIT
 *
 * JSON as text. See jtext.h. Nothing recurses but jansson's check, which stops at its own depth. */
#include "text/jtext.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ---- the buffer */

void jtext_put(struct jtext_out *out, const char *text, size_t n)
{
    if (out->failed || n == 0) /* nothing is added to NULL */
        return;
    if (n > out->room - out->n) {
        size_t room = out->n + n; /* cannot wrap: both lie in memory */
        room += room / 2 + 16;
        char *grown = realloc(out->data, room);
        if (!grown) {
            out->failed = true;
            return;
        }
        out->data = grown;
        out->room = room;
    }
    memcpy(out->data + out->n, text, n);
    out->n += n;
}

void jtext_fini(struct jtext_out *out)
{
    free(out->data);
    *out = (struct jtext_out){0};
}

/* ---- the check */

int jtext_check(const char *text, size_t n, enum jtext_kind kind, const char *what, struct err *err)
{
    json_error_t error;
    /* Whole numbers of any length pass as reals; their text is what counts. */
    json_t *value = json_loadb(text, n,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL |
                                   JSON_ALLOW_NUL,
                               &error);
    if (!value) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return err_set(err, -ENOMEM, "%s: no memory to read it", what);
        return err_set(err, -EINVAL, "%s: not JSON: %s, at byte %d", what, error.text,
                       error.position);
    }
    bool fits = kind == JTEXT_ANY || (kind == JTEXT_OBJECT && json_is_object(value)) ||
                (kind == JTEXT_ARRAY && json_is_array(value));
    json_decref(value);
    if (!fits)
        return err_set(err, -EINVAL, "%s: not %s", what,
                       kind == JTEXT_OBJECT ? "a JSON object" : "a JSON array");
    return 0;
}

/* ---- walking */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\' && at + 1 < end)
            at++;
    return at < end ? at + 1 : end;
}

static const char *skip_value(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            if (depth == 0)
                return at;
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']' || c == '}' || c == ':' || is_space(c)))
            return at;
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return end;
}

struct jtext_walk jtext_open(const char *text, size_t n)
{
    const char *end = text + n, *at = skip_space(text, end);
    if (at == end || (*at != '{' && *at != '['))
        return (struct jtext_walk){end, end, false};
    return (struct jtext_walk){at + 1, end, *at == '{'};
}

bool jtext_next(struct jtext_walk *walk, struct jtext_item *ret)
{
    const char *at = skip_space(walk->at, walk->end);
    *ret = (struct jtext_item){0};
    if (at < walk->end && *at == ',')
        at = skip_space(at + 1, walk->end);
    if (at == walk->end || *at == '}' || *at == ']')
        return false;
    if (walk->members) {
        ret->key = at;
        at = skip_string(at, walk->end);
        ret->key_n = (size_t)(at - ret->key);
        at = skip_space(at, walk->end);
        if (at < walk->end)
            at = skip_space(at + 1, walk->end); /* the colon */
    }
    ret->value = at;
    walk->at = skip_value(at, walk->end);
    ret->n = (size_t)(walk->at - at);
    return true;
}

bool jtext_member(const char *text, size_t n, const char *key, struct jtext_item *ret)
{
    struct jtext_walk walk = jtext_open(text, n);
    while (jtext_next(&walk, ret)) {
        struct jtext_out name = {0};
        if (!ret->key)
            return false;
        jtext_unquote(&name, ret->key, ret->key_n);
        bool same = name.n == strlen(key) && (name.n == 0 || memcmp(name.data, key, name.n) == 0);
        jtext_fini(&name);
        if (same)
            return true;
    }
    return false;
}

/* ---- strings */

static unsigned hex4(const char *at)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        value = value << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static void put_point(struct jtext_out *out, unsigned point)
{
    char bytes[4];
    size_t n = 0;
    if (point < 0x80) {
        bytes[n++] = (char)point;
    } else if (point < 0x800) {
        bytes[n++] = (char)(0xC0 | point >> 6);
        bytes[n++] = (char)(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
        bytes[n++] = (char)(0xE0 | point >> 12);
        bytes[n++] = (char)(0x80 | (point >> 6 & 0x3F));
        bytes[n++] = (char)(0x80 | (point & 0x3F));
    } else {
        bytes[n++] = (char)(0xF0 | point >> 18);
        bytes[n++] = (char)(0x80 | (point >> 12 & 0x3F));
        bytes[n++] = (char)(0x80 | (point >> 6 & 0x3F));
        bytes[n++] = (char)(0x80 | (point & 0x3F));
    }
    jtext_put(out, bytes, n);
}

/* One escape after the backslash; returns how many bytes it took. The check has seen that pairs of
 * surrogates are whole. */
static size_t put_escape(struct jtext_out *out, const char *at, const char *end)
{
    static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
    if (*at == 'u' && end - at >= 5) {
        unsigned point = hex4(at + 1);
        if (point >= 0xD800 && point < 0xDC00 && end - at >= 11) {
            point = 0x10000 + ((point - 0xD800) << 10) + (hex4(at + 7) - 0xDC00);
            put_point(out, point);
            return 11;
        }
        put_point(out, point);
        return 5;
    }
    const char *letter = strchr(letters, *at);
    jtext_put(out, letter && *letter ? &controls[letter - letters] : at, 1);
    return 1;
}

void jtext_unquote(struct jtext_out *out, const char *text, size_t n)
{
    const char *at = text + 1, *end = text + n - 1;
    while (at < end) {
        const char *slash = memchr(at, '\\', (size_t)(end - at));
        jtext_put(out, at, (size_t)((slash ? slash : end) - at));
        if (!slash || slash + 1 >= end)
            break;
        at = slash + 1;
        at += put_escape(out, at, end);
    }
}

void jtext_escape(struct jtext_out *out, const char *text, size_t n)
{
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = text, *end = text + n;
    for (; at < end; at++) {
        unsigned char c = (unsigned char)*at;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        jtext_put(out, text, (size_t)(at - text));
        text = at + 1;
        const char *name = c ? strchr(names, *at) : NULL;
        char escape[8];
        int used = name ? snprintf(escape, sizeof(escape), "\\%c", letters[name - names])
                        : snprintf(escape, sizeof(escape), "\\u%04x", c);
        jtext_put(out, escape, (size_t)used);
    }
    jtext_put(out, text, (size_t)(end - text));
}

void jtext_quote(struct jtext_out *out, const char *text, size_t n)
{
    jtext_put(out, "\"", 1);
    jtext_escape(out, text, n);
    jtext_put(out, "\"", 1);
}

void jtext_space(struct jtext_out *out, const char *text, size_t n)
{
    const char *at = text, *end = text + n;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            const char *close = skip_string(at, end);
            struct jtext_out said = {0};
            jtext_unquote(&said, at, (size_t)(close - at));
            jtext_quote(out, said.data ? said.data : "", said.n);
            out->failed = out->failed || said.failed;
            jtext_fini(&said);
            at = close;
            continue;
        }
        if (c == ',' || c == ':')
            jtext_put(out, c == ',' ? ", " : ": ", 2);
        else if (!is_space(c))
            jtext_put(out, at, 1);
        at++;
    }
}
