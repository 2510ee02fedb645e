/* SPDX-License-Identifier: MIT
 *
 * UTF-8 by the byte. See utf8.h. */
#include "text/utf8.h"

#include <stdint.h>
#include <string.h>

const char utf8_replacement[4] = "\xEF\xBF\xBD";

/* How long a character is by its first byte; 0: it cannot begin one. */
static int length_of(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF)
        return 3;
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

enum utf8_state utf8_state(const unsigned char *s, int n)
{
    int length = length_of(s[0]);
    if (length == 0)
        return UTF8_BAD;
    if (n > 1) {
        unsigned char least = 0x80, most = 0xBF;
        if (n == 2) { /* only the second byte has narrower ranges */
            if (s[0] == 0xE0)
                least = 0xA0; /* overlong below */
            else if (s[0] == 0xED)
                most = 0x9F; /* surrogates above */
            else if (s[0] == 0xF0)
                least = 0x90;
            else if (s[0] == 0xF4)
                most = 0x8F; /* beyond U+10FFFF */
        }
        if (n > length || s[n - 1] < least || s[n - 1] > most)
            return UTF8_BAD;
    }
    return n == length ? UTF8_WHOLE : UTF8_PART;
}

size_t utf8_valid(const char *s, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t at = 0;
    while (at < bytes) {
        uint64_t eight;
        while (bytes - at >= sizeof(eight)) { /* most text is ASCII */
            memcpy(&eight, p + at, sizeof(eight));
            if (eight & 0x8080808080808080u)
                break;
            at += sizeof(eight);
        }
        if (at == bytes)
            break;
        int n = 1;
        enum utf8_state state;
        while ((state = utf8_state(p + at, n)) == UTF8_PART && bytes - at > (size_t)n)
            n++;
        if (state != UTF8_WHOLE)
            return at;
        at += (size_t)n;
    }
    return at;
}

int utf8_quote(const char *s, size_t bytes)
{
    enum { MOST = 64 };
    return (int)utf8_valid(s, bytes < MOST ? bytes : MOST);
}
