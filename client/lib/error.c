/* SPDX-License-Identifier: MIT
 *
 * Words for failures. What a daemon says may quote names from files, so control characters are
 * replaced before anyone can print them.
 */
#include "lib/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ttrpc.h"

static size_t character_bytes(unsigned char lead)
{
    return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
}

/* C0, DEL, and C1 (two bytes in UTF-8) become '?'. */
static void make_printable(char *text)
{
    char *to = text;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
            c++;
            *to++ = '?';
        } else {
            *to++ = (char)(*c < 0x20 || *c == 0x7f ? '?' : *c);
        }
    }
    *to = '\0';
}

/* vsnprintf may cut inside a character: drop what is left of it. */
static void drop_cut_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && length - (start - 1) < character_bytes((unsigned char)text[start - 1]))
        text[start - 1] = '\0';
}

int error_set(struct moed_error *error, int code, int status, const char *fmt, ...)
{
    if (!error || error->size < sizeof *error)
        return code;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(error->message, sizeof error->message, fmt, args);
    va_end(args);
    if (n >= (int)sizeof error->message)
        drop_cut_character(error->message, sizeof error->message - 1);
    make_printable(error->message);
    error->code = code;
    error->status = status;
    error->retry_after_ms = 0;
    return code;
}

int error_give(const struct moed_error *from, struct moed_error *ret)
{
    if (ret && ret != from && ret->size >= sizeof *ret) {
        ret->code = from->code;
        ret->status = from->status;
        memcpy(ret->message, from->message, sizeof ret->message);
        ret->retry_after_ms = from->retry_after_ms;
    }
    return from->code;
}

int error_of_status(int status)
{
    static const int table[] = {
        [MOED_OK] = 0,
        [MOED_CANCELLED] = -ECANCELED,
        [MOED_UNKNOWN] = -EIO,
        [MOED_INVALID_ARGUMENT] = -EINVAL,
        [MOED_DEADLINE_EXCEEDED] = -ETIMEDOUT,
        [MOED_NOT_FOUND] = -ENOENT,
        [MOED_ALREADY_EXISTS] = -EEXIST,
        [MOED_PERMISSION_DENIED] = -EACCES,
        [MOED_RESOURCE_EXHAUSTED] = -EBUSY,
        [MOED_FAILED_PRECONDITION] = -ENXIO,
        [MOED_ABORTED] = -ECONNABORTED,
        [MOED_OUT_OF_RANGE] = -ERANGE,
        [MOED_UNIMPLEMENTED] = -EOPNOTSUPP,
        [MOED_INTERNAL] = -EREMOTEIO,
        [MOED_UNAVAILABLE] = -ESHUTDOWN,
        [MOED_DATA_LOSS] = -EBADMSG,
        [MOED_UNAUTHENTICATED] = -EACCES,
    };
    if (status < 0 || status >= (int)(sizeof table / sizeof *table))
        return -EIO;
    return table[status];
}

const char *moed_status_name(int status)
{
    return ttrpc_code_name(status);
}
