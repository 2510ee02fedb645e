/* SPDX-License-Identifier: MIT
 *
 * A file of rows: any bytes as one. Sums would stop nearly all of them at the door, so each input
 * is tried as it is and once more with sums that are right.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "kv/rowfile.h"
#include "target.h"

enum { MOST_PAGES = 64, MOST_PAGE = 1 << 16, BLOCKS_AT = 72, BLOCK = 16 };

static uint32_t u32_at(const uint8_t *data, size_t at)
{
    uint32_t value;
    memcpy(&value, data + at, sizeof value);
    return value;
}

/* See rowfile.h; counts are believed as far as there are bytes. */
static void mend(uint8_t *data, size_t bytes)
{
    if (bytes < BLOCKS_AT + 16)
        return;
    size_t head = u32_at(data, 12), offset = head;
    if (head < BLOCKS_AT + 16 || head > bytes)
        return;
    int n_pages = rowfile_pages((int)(u32_at(data, 60) & 0xffffff));
    for (int i = 0; i < n_pages; i++) {
        size_t at = BLOCKS_AT + (size_t)i * BLOCK;
        if (at + BLOCK > head)
            break;
        uint32_t n = u32_at(data, at + 8);
        if (n > bytes - offset)
            break;
        uint64_t sum = XXH3_64bits(data + offset, n);
        memcpy(data + at, &sum, sizeof sum);
        offset += n;
    }
    XXH128_hash_t sum = XXH3_128bits(data, head - 16);
    memcpy(data + head - 16, &sum.low64, 8);
    memcpy(data + head - 8, &sum.high64, 8);
}

static int file = -1;

static void try_file(const uint8_t *data, size_t bytes)
{
    PROMISE(ftruncate(file, 0) == 0);
    PROMISE(pwrite(file, data, bytes, 0) == (ssize_t)bytes);
    struct rowfile *rows = NULL;
    struct err err = {0};
    int r = rowfile_open(file, &rows, &err);
    PROMISE(r == err.code && !r == (rows != NULL));
    if (r < 0)
        return;
    const struct rowfile_text *text = &rows->text;
    PROMISE(text->n_rows >= 1 && text->n_rows <= text->n_tokens);
    PROMISE(strlen(text->name) <= ROWFILE_MOST_NAME && rows->bytes == bytes);
    PROMISE(rows->n_pages == rowfile_pages(text->n_rows));
    for (int i = 0; i < text->n_tokens; i++)
        PROMISE(text->token[i] >= 0);
    if (rows->n_pages <= MOST_PAGES && rows->key.page_bytes <= MOST_PAGE) {
        size_t plain = rows->key.page_bytes;
        void *page[MOST_PAGES];
        char *memory = malloc((size_t)rows->n_pages * plain);
        PROMISE(memory);
        for (int i = 0; i < rows->n_pages; i++)
            page[i] = memory + (size_t)i * plain;
        r = rowfile_read(rows, file, 0, rows->n_pages, page, &err);
        PROMISE(r == err.code);
        for (size_t i = 0; r < 0 && i < (size_t)rows->n_pages * plain; i++)
            PROMISE(memory[i] == 0);
        free(memory);
    }
    rowfile_close(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (file < 0)
        file = memfd_create("rows", MFD_CLOEXEC);
    PROMISE(file >= 0);
    try_file(data, bytes);
    uint8_t *mended = malloc(bytes + (bytes == 0));
    PROMISE(mended);
    if (bytes)
        memcpy(mended, data, bytes);
    mend(mended, bytes);
    try_file(mended, bytes);
    free(mended);
    return 0;
}
