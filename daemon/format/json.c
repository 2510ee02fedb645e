/* SPDX-License-Identifier: MIT
 *
 * See json.h. Every byte is taken by a function that has compared `at` with `bytes`.
 */
#include "format/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/reader.h"

void json_init(struct json *json, const char *label, char *text, size_t bytes, struct err *err)
{
    json->label = label;
    json->text = text;
    json->bytes = bytes;
    json->at = json->base = 0;
    json->err = err;
    json->depth = 0;
    json->key = NULL;
    json->n_keys = json->room = 0;
}

void json_fini(struct json *json)
{
    free(json->key);
    json->key = NULL;
}

void json_say(const struct json *json, int code, const char *fmt, ...)
{
    char words[320];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    err_set(json->err, code, "'%s', byte %zu: %s", json->label, json->base + json->at, words);
}

/* ------------------------------------------------------------------ bytes */

/* The next byte that is no space, or -1 at the end. */
static int next(struct json *json)
{
    while (json->at < json->bytes) {
        char c = json->text[json->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return (unsigned char)c;
        json->at++;
    }
    return -1;
}

static int unexpected(const struct json *json, int found, const char *expected)
{
    if (found < 0)
        return json_fail(json, -EINVAL, "the text ends here, expected %s", expected);
    if (found < 0x20 || found > 0x7e)
        return json_fail(json, -EINVAL, "found byte 0x%02x, expected %s", (unsigned)found,
                         expected);
    return json_fail(json, -EINVAL, "found '%c', expected %s", found, expected);
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static int at_offset(const struct json *json, size_t offset)
{
    return offset < json->bytes - json->at ? (unsigned char)json->text[json->at + offset] : -1;
}

/* ------------------------------------------------------------------ strings */

static int hex4(struct json *json, uint32_t *ret)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int c = at_offset(json, 0);
        uint32_t digit;
        if (is_digit(c))
            digit = (uint32_t)c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)c - 'A' + 10;
        else
            return unexpected(json, c, "a hexadecimal digit");
        value = value << 4 | digit;
        json->at++;
    }
    *ret = value;
    return 0;
}

/* After "\u"; a surrogate pair is one character. */
static int unicode(struct json *json, uint32_t *ret)
{
    uint32_t high, low;
    int r = hex4(json, &high);
    if (r < 0)
        return r;
    if (high == 0)
        return json_fail(json, -EINVAL, "found a NUL in a string, expected text");
    if (high < 0xd800 || high > 0xdfff) {
        *ret = high;
        return 0;
    }
    if (high > 0xdbff || at_offset(json, 0) != '\\' || at_offset(json, 1) != 'u')
        return json_fail(json, -EINVAL, "found half a surrogate pair, expected both");
    json->at += 2;
    r = hex4(json, &low);
    if (r < 0)
        return r;
    if (low < 0xdc00 || low > 0xdfff)
        return json_fail(json, -EINVAL, "found half a surrogate pair, expected both");
    *ret = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

static size_t put_utf8(char *dst, uint32_t c)
{
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        dst[i] = (char)(unsigned char)(0x80 | (c & 0x3f));
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    dst[0] = (char)(unsigned char)(lead[n] | c);
    return n;
}

/* After the backslash: what it stands for, at dst, which lies before `at`. */
static int escape(struct json *json, char *dst, size_t *ret)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = at_offset(json, 0);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    if (known) {
        json->at++;
        *dst = to[known - from];
        *ret = 1;
        return 0;
    }
    if (c != 'u')
        return unexpected(json, c, "one of \"\\/bfnrtu after a backslash");
    json->at++;
    uint32_t point;
    int r = unicode(json, &point);
    if (r == 0)
        *ret = put_utf8(dst, point);
    return r;
}

int json_string(struct json *json, struct json_text *ret)
{
    int c = next(json);
    if (c != '"')
        return unexpected(json, c, "a string");
    json->at++;
    size_t start = json->at, to = start;
    for (;;) {
        c = at_offset(json, 0);
        if (c < 0x20)
            return unexpected(json, c, "the end of the string");
        if (c == '"')
            break;
        if (c == '\\') {
            json->at++;
            size_t n = 0;
            int r = escape(json, json->text + to, &n); /* at least as long as what it makes */
            if (r < 0)
                return r;
            to += n;
            continue;
        }
        json->text[to++] = json->text[json->at++];
    }
    json->text[to] = '\0'; /* on the quote or before it */
    json->at++;
    if (!reader_is_utf8(json->text + start, to - start))
        return json_fail(json, -EINVAL, "found a string that is not UTF-8");
    *ret = (struct json_text){.at = json->text + start, .bytes = to - start};
    return 0;
}

/* ------------------------------------------------------------------ numbers */

/* A number's extent, by the grammar; `at` stays. */
static int number(struct json *json, size_t *ret, bool *whole)
{
    int c = next(json);
    size_t n = c == '-';
    if (!is_digit(at_offset(json, n)))
        return unexpected(json, c, "a number");
    if (at_offset(json, n) == '0')
        n++;
    else
        while (is_digit(at_offset(json, n)))
            n++;
    *whole = true;
    if (at_offset(json, n) == '.') {
        *whole = false;
        if (!is_digit(at_offset(json, ++n)))
            return json_fail(json, -EINVAL, "found a number that ends in its point");
        while (is_digit(at_offset(json, n)))
            n++;
    }
    if (at_offset(json, n) == 'e' || at_offset(json, n) == 'E') {
        *whole = false;
        n++;
        if (at_offset(json, n) == '+' || at_offset(json, n) == '-')
            n++;
        if (!is_digit(at_offset(json, n)))
            return json_fail(json, -EINVAL, "found a number without digits in its exponent");
        while (is_digit(at_offset(json, n)))
            n++;
    }
    c = at_offset(json, n);
    if (is_digit(c) || (c >= 'a' && c <= 'z') || c == '.' || c == '-' || c == '+')
        return json_fail(json, -EINVAL, "found a number followed by '%c'", c);
    *ret = n;
    return 0;
}

static int magnitude(struct json *json, bool signed_too, bool *negative, uint64_t *ret)
{
    size_t n;
    bool whole;
    int r = number(json, &n, &whole);
    if (r < 0)
        return r;
    const char *digits = json->text + json->at;
    *negative = digits[0] == '-';
    if (!whole || (*negative && !signed_too))
        return json_fail(json, -EINVAL, "found %.*s, expected a whole number%s",
                         n < 40 ? (int)n : 40, digits, signed_too ? "" : " of at least 0");
    uint64_t value = 0;
    for (size_t i = *negative; i < n; i++)
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(digits[i] - '0'), &value))
            return json_fail(json, -EINVAL, "found %.*s, expected a number of 64 bits",
                             n < 40 ? (int)n : 40, digits);
    json->at += n;
    *ret = value;
    return 0;
}

int json_u64(struct json *json, uint64_t *ret)
{
    bool negative;
    return magnitude(json, false, &negative, ret);
}

int json_i64(struct json *json, int64_t *ret)
{
    bool negative;
    uint64_t value;
    int r = magnitude(json, true, &negative, &value);
    if (r < 0)
        return r;
    if (value > INT64_MAX)
        return json_fail(json, -EINVAL, "found a number of 64 bits, expected one of 63 and a sign");
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return 0;
}

int json_double(struct json *json, double *ret)
{
    enum { LONGEST = 64 };
    size_t n;
    bool whole;
    int r = number(json, &n, &whole);
    if (r < 0)
        return r;
    if (n > LONGEST)
        return json_fail(json, -EINVAL, "found a number of %zu characters, expected at most %d", n,
                         LONGEST);
    char digits[LONGEST + 1];
    memcpy(digits, json->text + json->at, n);
    digits[n] = '\0';
    double value = strtod(digits, NULL);
    if (!isfinite(value))
        return json_fail(json, -EINVAL, "found %s, expected a finite number", digits);
    json->at += n;
    *ret = value;
    return 0;
}

/* ------------------------------------------------------------------ words */

static int word(struct json *json, const char *expected)
{
    size_t n = strlen(expected);
    if (n > json->bytes - json->at || memcmp(json->text + json->at, expected, n))
        return unexpected(json, at_offset(json, 0), expected);
    json->at += n;
    return 0;
}

int json_bool(struct json *json, bool *ret)
{
    int c = next(json);
    if (c != 't' && c != 'f')
        return unexpected(json, c, "true or false");
    *ret = c == 't';
    return word(json, *ret ? "true" : "false");
}

int json_null(struct json *json)
{
    next(json);
    return word(json, "null");
}

int json_peek(struct json *json, enum json_kind *ret)
{
    int c = next(json);
    switch (c) {
    case '{':
        *ret = JSON_OBJECT;
        return 0;
    case '[':
        *ret = JSON_ARRAY;
        return 0;
    case '"':
        *ret = JSON_STRING;
        return 0;
    case 't':
    case 'f':
        *ret = JSON_BOOL;
        return 0;
    case 'n':
        *ret = JSON_NULL;
        return 0;
    default:
        break;
    }
    if (c != '-' && !is_digit(c))
        return unexpected(json, c, "a value");
    *ret = JSON_NUMBER;
    return 0;
}

/* ------------------------------------------------------------------ objects and arrays */

static int enter(struct json *json, bool is_object)
{
    int c = next(json);
    if (c != (is_object ? '{' : '['))
        return unexpected(json, c, is_object ? "an object" : "an array");
    if (json->depth == JSON_MAX_DEPTH)
        return json_fail(json, -EINVAL, "values are nested deeper than %d, the most accepted",
                         JSON_MAX_DEPTH);
    json->level[json->depth].is_object = is_object;
    json->level[json->depth].begun = false;
    json->level[json->depth].first_key = json->n_keys;
    json->depth++;
    json->at++;
    return 0;
}

int json_object(struct json *json)
{
    return enter(json, true);
}

int json_array(struct json *json)
{
    return enter(json, false);
}

/* 1 if an element comes, after its comma; 0 if the container ended, which leaves it. */
static int step(struct json *json, char close, const char *expected)
{
    bool begun = json->level[json->depth - 1].begun;
    int c = next(json);
    if (c == close) {
        json->at++;
        json->depth--;
        return 0;
    }
    if (begun) {
        if (c != ',')
            return unexpected(json, c, expected);
        json->at++;
    }
    json->level[json->depth - 1].begun = true;
    return 1;
}

int json_item(struct json *json)
{
    return step(json, ']', "',' or ']'");
}

static uint64_t hash(const struct json_text *text)
{
    /* FNV-1a, then mixed; products wrap on purpose */
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text->bytes; i++)
        (void)__builtin_mul_overflow(h ^ (unsigned char)text->at[i], UINT64_C(0x100000001b3), &h);
    h ^= h >> 32;
    (void)__builtin_mul_overflow(h, UINT64_C(0x9e3779b97f4a7c15), &h);
    return h ^ h >> 29;
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int note_key(struct json *json, const struct json_text *key)
{
    if (json->n_keys == JSON_MAX_KEYS)
        return json_fail(json, -EINVAL, "found more than %d keys, the most accepted",
                         JSON_MAX_KEYS);
    if (json->n_keys == json->room) {
        size_t room = json->room ? json->room * 2 : 64;
        uint64_t *grown = realloc(json->key, room * sizeof *grown);
        if (!grown)
            return json_fail(json, -ENOMEM, "no memory for %zu keys", room);
        json->key = grown;
        json->room = room;
    }
    json->key[json->n_keys++] = hash(key);
    return 0;
}

/* The keys of the object that just ended, whose first is key[first]. That two keys of one hash are
 * the same is as good as certain, and else a sound file is refused. */
static int check_keys(struct json *json, size_t first)
{
    size_t n = json->n_keys - first;
    json->n_keys = first;
    if (n < 2)
        return 0;
    uint64_t *key = json->key + first;
    qsort(key, n, sizeof *key, compare_hashes);
    for (size_t i = 1; i < n; i++)
        if (key[i] == key[i - 1])
            return json_fail(json, -EINVAL, "the object that ends here has a key twice");
    return 0;
}

int json_key(struct json *json, struct json_text *ret)
{
    int r = step(json, '}', "',' or '}'");
    if (r < 0)
        return r;
    if (r == 0)
        return check_keys(json, json->level[json->depth].first_key);
    int c = next(json);
    if (c != '"')
        return unexpected(json, c, "a key");
    r = json_string(json, ret);
    if (r == 0)
        r = note_key(json, ret);
    if (r < 0)
        return r;
    c = next(json);
    if (c != ':')
        return unexpected(json, c, "':'");
    json->at++;
    return 1;
}

/* ------------------------------------------------------------------ whole values */

static int skip_plain(struct json *json, enum json_kind kind)
{
    struct json_text text;
    bool flag;
    size_t n;
    int r;
    switch (kind) {
    case JSON_STRING:
        return json_string(json, &text);
    case JSON_BOOL:
        return json_bool(json, &flag);
    case JSON_NUMBER:
        r = number(json, &n, &flag);
        if (r == 0)
            json->at += n;
        return r;
    default:
        return json_null(json);
    }
}

int json_skip(struct json *json)
{
    int outside = json->depth;
    do {
        if (json->depth > outside) { /* in a container: on to its next value, or out of it */
            struct json_text key;
            int more =
                json->level[json->depth - 1].is_object ? json_key(json, &key) : json_item(json);
            if (more < 0)
                return more;
            if (more == 0)
                continue;
        }
        enum json_kind kind;
        int r = json_peek(json, &kind);
        if (r == 0)
            r = kind == JSON_OBJECT || kind == JSON_ARRAY ? enter(json, kind == JSON_OBJECT)
                                                          : skip_plain(json, kind);
        if (r < 0)
            return r;
    } while (json->depth > outside);
    return 0;
}

int json_end(struct json *json)
{
    int c = next(json);
    return c < 0 ? 0 : unexpected(json, c, "the end of the text");
}
