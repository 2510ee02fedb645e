/* SPDX-License-Identifier: MIT
 *
 * From spelling to bytes. See alphabet.h.
 *
 * Printable bytes of Latin-1 (but for the soft hyphen) are themselves; the other 68 follow each
 * other from U+0100 on. All of it lies below U+0144, so a character has one or two bytes. */
#include "text/alphabet.h"

#include <errno.h>
#include <stdbool.h>

static bool is_itself(int byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The byte that stands n-th among those which are not themselves; -1: there are fewer. */
static int hidden_byte(int n)
{
    if (n <= 0x20)
        return n;
    if (n <= 0x21 + (0xA0 - 0x7F)) /* 0x7F … 0xA0 */
        return 0x7F + (n - 0x21);
    return n == 67 ? 0xAD : -1;
}

long alphabet_decode(const char *text, size_t bytes, char *dst)
{
    const unsigned char *s = (const unsigned char *)text;
    long n = 0;
    for (size_t at = 0; at < bytes;) {
        int point = s[at++];
        if (point >= 0x80) {
            if (point < 0xC2 || point > 0xC5 || at == bytes || (s[at] & 0xC0) != 0x80)
                return -EINVAL;
            point = (point & 0x1F) << 6 | (s[at++] & 0x3F);
        }
        int byte = point < 0x100 ? (is_itself(point) ? point : -1) : hidden_byte(point - 0x100);
        if (byte < 0)
            return -EINVAL;
        dst[n++] = (char)byte;
    }
    return n;
}
