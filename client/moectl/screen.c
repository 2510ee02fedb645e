/* SPDX-License-Identifier: MIT
 *
 * Output. UTF-8 is taken apart here and not by the C library, so that the locale has no say.
 */
#include "moectl/screen.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

bool screen_has_color(const struct options *o, FILE *to)
{
    if (o->color != COLOR_AUTO)
        return o->color == COLOR_ALWAYS;
    const char *no = getenv("NO_COLOR");
    if (no && *no)
        return false;
    const char *force = getenv("CLICOLOR_FORCE");
    if (force && *force && strcmp(force, "0") != 0)
        return true;
    const char *term = getenv("TERM");
    if (!term || !*term || strcmp(term, "dumb") == 0)
        return false;
    return isatty(fileno(to));
}

/* Bytes of the character at the front, its code point in *ret; 0: what is there is not UTF-8, and
 * *skip bytes of it are one broken character. The bounds of the second byte are Unicode's table
 * 3-7: no overlong forms, no surrogates, nothing above U+10FFFF. */
static size_t decode(const unsigned char *s, size_t n, uint32_t *ret, size_t *skip)
{
    *skip = 1;
    *ret = s[0];
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    size_t want = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    unsigned char least = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char most = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    *ret = s[0] & (0x7fu >> want);
    for (size_t i = 1; i < want; i++) {
        *skip = i;
        if (i >= n || s[i] < least || s[i] > most)
            return 0;
        *ret = *ret << 6 | (s[i] & 0x3fu);
        least = 0x80;
        most = 0xbf;
    }
    return want;
}

static bool is_control(uint32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
}

static void write_safely(FILE *to, const unsigned char *s, size_t n)
{
    while (n > 0) {
        uint32_t c = 0;
        size_t skip, took = decode(s, n, &c, &skip);
        if (took == 0)
            fputs("\xef\xbf\xbd", to);
        else if (is_control(c))
            fprintf(to, "\\x%02" PRIx32, c);
        else
            fwrite(s, 1, took, to);
        took = took ? took : skip;
        s += took;
        n -= took;
    }
}

void screen_text(FILE *to, const char *text, size_t bytes)
{
    if (isatty(fileno(to)))
        write_safely(to, (const unsigned char *)text, bytes);
    else
        fwrite(text, 1, bytes, to);
}

void screen_word(FILE *to, const char *text)
{
    screen_text(to, text, strlen(text));
}

int screen_width(const char *text)
{
    int width = 0;
    size_t n = strlen(text);
    while (n > 0) {
        uint32_t c = 0;
        size_t skip, took = decode((const unsigned char *)text, n, &c, &skip);
        int columns = took ? wcwidth((wchar_t)c) : 1;
        width += columns < 0 ? 4 : columns;
        took = took ? took : skip;
        text += took;
        n -= took;
    }
    return width;
}

void screen_cell(const char *text, int width)
{
    screen_word(stdout, text);
    for (int i = screen_width(text); i < width + 2; i++)
        putchar(' ');
}

/* ---- JSON */
void screen_json(json_t *object)
{
    if (!object)
        abort(); /* out of memory for a small object */
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

bool screen_is_utf8(const char *text, size_t bytes)
{
    uint32_t c;
    size_t skip, took;
    for (; bytes > 0; text += took, bytes -= took)
        if (!(took = decode((const unsigned char *)text, bytes, &c, &skip)))
            return false;
    return true;
}

json_t *screen_json_text(const char *text, size_t bytes)
{
    if (screen_is_utf8(text, bytes))
        return json_stringn_nocheck(text, bytes);
    char *fixed = malloc(bytes * 3 + 1);
    if (!fixed)
        abort();
    size_t n = 0;
    for (size_t took; bytes > 0; text += took, bytes -= took) {
        uint32_t c;
        size_t skip;
        took = decode((const unsigned char *)text, bytes, &c, &skip);
        memcpy(fixed + n, took ? text : "\xef\xbf\xbd", took ? took : 3);
        n += took ? took : 3;
        took = took ? took : skip;
    }
    json_t *string = json_stringn_nocheck(fixed, n);
    free(fixed);
    return string;
}

json_t *screen_json_word(const char *text)
{
    return screen_json_text(text ? text : "", text ? strlen(text) : 0);
}

json_t *screen_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *screen_json_hex(const uint8_t *bytes, size_t n)
{
    char *hex = malloc(2 * n + 1);
    if (!hex)
        abort();
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    json_t *string = json_stringn_nocheck(hex, 2 * n);
    free(hex);
    return string;
}

json_t *screen_json_ids(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

const char *screen_bytes(char *buffer, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(buffer, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buffer;
}
