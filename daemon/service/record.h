/* SPDX-License-Identifier: MIT
 *
 * A session as it is at a revision, in memory and as the bytes of a file.
 *
 *     head      struct head of record.c: magic, version, whose, counts
 *     strings   name, model, settings
 *     lines     kind, tokens and size of each, then its bytes
 *     sum       XXH3, 128 bits, of all that
 *
 * A file of the first version is read, too. Numbers are in the machine's byte order: a file never
 * leaves it. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/transcript.h"

enum {
    RECORD_MOST_NAME = 63,
    RECORD_MOST_MODEL = 255,
    RECORD_MOST_LINES = 1 << 20,
    RECORD_ID_DIGITS = 16,
};

struct record { /* zeroed is empty */
    uint64_t id;
    uint32_t uid;
    uint64_t revision;
    uint64_t vocabulary; /* digest of the one that raw text and a cut answer are of; 0: neither */
    int64_t created_s, used_s;
    bool is_pinned, is_parked;
    uint64_t parked_bytes; /* on the disk, of what it has in an engine's memory else */
    char name[RECORD_MOST_NAME + 1];
    char model[RECORD_MOST_MODEL + 1];
    struct transcript transcript;
};
void record_fini(struct record *record);

/* A name: at least one byte of UTF-8, no control characters, and not what an id looks like. */
bool record_is_name(const char *name);
/* 16 hexadecimal digits of one spelling. */
bool record_is_id(const char *text, uint64_t *ret);

/* *ret is the caller's to free. -ENOMEM. */
int record_pack(const struct record *record, uint8_t **ret, size_t *n);
/**
 * Read what record_pack() wrote.
 *
 *   ret     written on success only
 *   fails   -ESTALE   of another kind, version or byte order: none of our business
 *           -EBADMSG  ours, but cut or changed
 *           -ENOMEM
 */
int record_parse(const uint8_t *data, size_t n, struct record *ret, struct err *err);
