/* SPDX-License-Identifier: MIT
 *
 * The one door through which bytes of a model file's header come in.
 *
 * A reader walks forward through an open file with a small window of its own; nothing is mapped.
 * It knows how many bytes remain, and every number taken from it has been checked to be there.
 * Counts and lengths are compared with what remains by division or subtraction, never by a sum.
 * Owned by the thread that opens the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* No real header comes near it; a sparse file that promises more is refused before it costs. */
#define READER_HEADER_MAX (UINT64_C(256) << 20)

struct reader {
    int fd;
    const char *label; /* the file, as error messages name it */
    uint64_t size;     /* of the file */
    uint64_t pos;      /* of the next byte; pos ≤ size always */
    struct err *err;
    char where[160]; /* what is being read, as error messages name it; may be empty */
    size_t at, have; /* the window */
    unsigned char window[32 * 1024];
};

void reader_init(struct reader *reader, int fd, const char *label, uint64_t size, struct err *err);

static inline uint64_t reader_remaining(const struct reader *reader)
{
    return reader->size - reader->pos;
}

/* Says what comes next: "key 'general.name'". */
void reader_where(struct reader *reader, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Writes "'file', where, byte N: …" and gives `code` back. `offset` is the byte at fault. A macro,
 * so that the compiler sees which value is returned. */
#define reader_fail(reader, offset, code, ...)                                                     \
    (reader_say((reader), (offset), (code), __VA_ARGS__), (code))
void reader_say(const struct reader *reader, uint64_t offset, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Each fails with -EINVAL when the file (or READER_HEADER_MAX) ends first, -EIO when the file got
 * shorter since it was opened, or what pread said. `what` names the field. */
int reader_bytes(struct reader *reader, void *dst, size_t bytes, const char *what);
int reader_skip(struct reader *reader, uint64_t bytes, const char *what);
int reader_u8(struct reader *reader, const char *what, uint8_t *ret);
int reader_u32(struct reader *reader, const char *what, uint32_t *ret);
int reader_u64(struct reader *reader, const char *what, uint64_t *ret);

/* A u64 that promises entries of at least `least` bytes each (≥ 1): they must fit what remains. */
int reader_count(struct reader *reader, uint64_t least, const char *what, uint64_t *ret);

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool reader_is_utf8(const char *text, size_t bytes);
