/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

/* vsnprintf may cut inside a UTF-8 sequence: drop what is left of it. */
static void drop_cut_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (length - (start - 1) < want)
        text[start - 1] = '\0';
}

static void print(char *text, size_t size, const char *fmt, va_list args)
{
    int n = vsnprintf(text, size, fmt, args);
    if (n >= (int)size)
        drop_cut_character(text, size - 1);
    make_printable(text);
}

void err_write(struct err *err, int code, const char *fmt, ...)
{
    if (!err)
        return;
    va_list args;
    va_start(args, fmt);
    print(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->code = code;
}

int err_prefix(struct err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    struct err old = *err;
    char where[256];
    va_list args;
    va_start(args, fmt);
    print(where, sizeof where, fmt, args);
    va_end(args);
    return err_set(err, code, "%s: %s", where, old.text);
}
