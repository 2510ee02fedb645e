/* SPDX-License-Identifier: MIT
 *
 * A session's file: any bytes as one. The sum would stop nearly all of them at the door, so each
 * input is tried as it is and once more with a sum and a size that are right. What is taken is
 * packed again to the same bytes, or if it is of the first version, to what is taken again. The
 * seeds are what record_pack() makes, or once made, of those of tests/unit/sessions.h.
 */
#include <string.h>

#include <xxhash.h>

#include "service/record.h"
#include "target.h"

enum { VERSION_AT = 8, BYTES_AT = 16 };

static bool is_first_version(const uint8_t *data)
{
    uint32_t version;
    memcpy(&version, data + VERSION_AT, sizeof version);
    return version == 1;
}

static bool is_taken(const uint8_t *data, size_t bytes)
{
    struct record record = {0};
    int r = record_parse(data, bytes, &record, NULL);
    record_fini(&record);
    return r == 0;
}

static void try_bytes(const uint8_t *data, size_t bytes)
{
    struct record record = {0};
    struct err err = {0};
    int r = record_parse(data, bytes, &record, &err);
    PROMISE(r == err.code);
    if (r < 0) {
        PROMISE(record.transcript.n == 0 && !record.transcript.settings);
        return;
    }
    uint8_t *again = NULL;
    size_t n = 0;
    PROMISE(record_pack(&record, &again, &n) == 0);
    if (is_first_version(data))
        PROMISE(n > bytes && is_taken(again, n));
    else
        PROMISE(n == bytes && memcmp(again, data, n) == 0);
    PROMISE(strlen(record.name) <= RECORD_MOST_NAME && strlen(record.model) <= RECORD_MOST_MODEL);
    free(again);
    record_fini(&record);
}

static void mend(uint8_t *data, size_t bytes)
{
    XXH128_hash_t sum;
    uint64_t size = bytes;
    if (bytes < BYTES_AT + sizeof size + sizeof sum)
        return;
    memcpy(data + BYTES_AT, &size, sizeof size);
    sum = XXH3_128bits(data, bytes - sizeof sum);
    memcpy(data + bytes - sizeof sum, &sum, sizeof sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    try_bytes(data, bytes);
    uint8_t *mended = malloc(bytes + (bytes == 0));
    PROMISE(mended);
    if (bytes)
        memcpy(mended, data, bytes);
    mend(mended, bytes);
    try_bytes(mended, bytes);
    free(mended);
    return 0;
}
