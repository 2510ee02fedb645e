/* SPDX-License-Identifier: MIT */
#include "format/reader.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void reader_init(struct reader *reader, int fd, const char *label, uint64_t size, struct err *err)
{
    reader->fd = fd;
    reader->label = label;
    reader->size = size;
    reader->pos = 0;
    reader->err = err;
    reader->where[0] = '\0';
    reader->at = reader->have = 0;
}

void reader_where(struct reader *reader, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(reader->where, sizeof reader->where, fmt, args);
    va_end(args);
}

void reader_say(const struct reader *reader, uint64_t offset, int code, const char *fmt, ...)
{
    char words[320];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    err_set(reader->err, code, "'%s', %s%sbyte %" PRIu64 ": %s", reader->label, reader->where,
            reader->where[0] ? ", " : "", offset, words);
}

/* That many bytes are in the file, and the header stays within its bound. */
static int need(const struct reader *reader, uint64_t bytes, const char *what)
{
    uint64_t remaining = reader_remaining(reader);
    if (bytes > remaining)
        return reader_fail(reader, reader->pos, -EINVAL,
                           "the file ends inside %s: found %" PRIu64 " bytes, expected %" PRIu64,
                           what, remaining, bytes);
    if (reader->pos > READER_HEADER_MAX || bytes > READER_HEADER_MAX - reader->pos)
        return reader_fail(reader, reader->pos, -EINVAL,
                           "%s makes the header longer than %" PRIu64 " MiB, the most accepted",
                           what, READER_HEADER_MAX >> 20);
    return 0;
}

static int refill(struct reader *reader)
{
    size_t want = sizeof reader->window;
    if (want > reader_remaining(reader))
        want = reader_remaining(reader);
    ssize_t got;
    do
        got = pread(reader->fd, reader->window, want, (off_t)reader->pos);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        int code = -errno;
        return reader_fail(reader, reader->pos, code, "cannot read: %s", strerror(-code));
    }
    if (got == 0)
        return reader_fail(reader, reader->pos, -EIO,
                           "the file became shorter while it was read: expected %" PRIu64 " bytes",
                           reader->size);
    reader->at = 0;
    reader->have = (size_t)got;
    return 0;
}

int reader_bytes(struct reader *reader, void *dst, size_t bytes, const char *what)
{
    int r = need(reader, bytes, what);
    if (r < 0)
        return r;
    unsigned char *to = dst;
    while (bytes > 0) {
        if (reader->at == reader->have) {
            r = refill(reader);
            if (r < 0)
                return r;
        }
        size_t part = reader->have - reader->at;
        if (part > bytes)
            part = bytes;
        memcpy(to, reader->window + reader->at, part);
        reader->at += part;
        reader->pos += part;
        to += part;
        bytes -= part;
    }
    return 0;
}

int reader_skip(struct reader *reader, uint64_t bytes, const char *what)
{
    int r = need(reader, bytes, what);
    if (r < 0)
        return r;
    if (bytes <= reader->have - reader->at) {
        reader->at += (size_t)bytes;
    } else {
        reader->at = reader->have = 0;
    }
    reader->pos += bytes;
    return 0;
}

int reader_u8(struct reader *reader, const char *what, uint8_t *ret)
{
    return reader_bytes(reader, ret, sizeof *ret, what);
}

int reader_u32(struct reader *reader, const char *what, uint32_t *ret)
{
    uint32_t raw;
    int r = reader_bytes(reader, &raw, sizeof raw, what);
    if (r < 0)
        return r;
    *ret = le32toh(raw);
    return 0;
}

int reader_u64(struct reader *reader, const char *what, uint64_t *ret)
{
    uint64_t raw;
    int r = reader_bytes(reader, &raw, sizeof raw, what);
    if (r < 0)
        return r;
    *ret = le64toh(raw);
    return 0;
}

int reader_count(struct reader *reader, uint64_t least, const char *what, uint64_t *ret)
{
    uint64_t offset = reader->pos;
    uint64_t count;
    int r = reader_u64(reader, what, &count);
    if (r < 0)
        return r;
    uint64_t most = reader_remaining(reader) / least;
    if (count > most)
        return reader_fail(reader, offset, -EINVAL,
                           "%s is %" PRIu64 ", but the %" PRIu64
                           " bytes that remain hold at most %" PRIu64,
                           what, count, reader_remaining(reader), most);
    *ret = count;
    return 0;
}

bool reader_is_utf8(const char *text, size_t bytes)
{
    const unsigned char *c = (const unsigned char *)text;
    const unsigned char *end = c + bytes;
    while (c < end) {
        if (*c < 0x80) {
            c++;
            continue;
        }
        unsigned char low = 0x80, high = 0xbf; /* of the second byte */
        size_t more;
        if (*c >= 0xc2 && *c <= 0xdf) {
            more = 1;
        } else if (*c >= 0xe0 && *c <= 0xef) {
            more = 2;
            low = *c == 0xe0 ? 0xa0 : low;
            high = *c == 0xed ? 0x9f : high;
        } else if (*c >= 0xf0 && *c <= 0xf4) {
            more = 3;
            low = *c == 0xf0 ? 0x90 : low;
            high = *c == 0xf4 ? 0x8f : high;
        } else {
            return false;
        }
        if ((size_t)(end - c) <= more || c[1] < low || c[1] > high)
            return false;
        for (size_t i = 2; i <= more; i++)
            if ((c[i] & 0xc0) != 0x80)
                return false;
        c += more + 1;
    }
    return true;
}
