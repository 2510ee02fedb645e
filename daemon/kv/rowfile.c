/* SPDX-License-Identifier: MIT */
#include "kv/rowfile.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>
#include <zstd.h>

#include "kv/page.h"

enum {
    VERSION = 1,
    LEVEL = 1, /* latents are half noise: higher ones take longer and find nothing more */
};

static const char magic[8] = "moedkv\n\x1a";

struct head {
    char magic[8];
    uint32_t version, head_bytes; /* with everything up to the first block */
    struct rowfile_key key;
    uint32_t n_tokens, n_rows, page_tokens, n_name;
};
_Static_assert(sizeof(struct head) == 72, "no gaps on the disk");

enum coding { CODING_PLAIN, CODING_ZSTD };
struct rowfile_block {
    uint64_t sum; /* of the bytes in the file */
    uint32_t bytes;
    uint32_t coding;
};
_Static_assert(sizeof(struct rowfile_block) == 16, "no gaps on the disk");

/* Where the parts of a head begin. */
struct layout {
    size_t block, token, answer, name, sum, end;
};

static size_t bits_bytes(int n_rows)
{
    return ((size_t)n_rows + 7) / 8;
}

int rowfile_pages(int n_rows)
{
    return (n_rows + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

static struct layout layout_of(int n_tokens, int n_rows, size_t n_name)
{
    struct layout at = {.block = sizeof(struct head)};
    at.token = at.block + (size_t)rowfile_pages(n_rows) * sizeof(struct rowfile_block);
    at.answer = at.token + (size_t)n_tokens * sizeof(int32_t);
    at.name = at.answer + bits_bytes(n_rows);
    at.sum = (at.name + n_name + 1 + 7) / 8 * 8; /* the name's NUL is there */
    at.end = at.sum + 2 * sizeof(uint64_t);
    return at;
}

uint64_t rowfile_most_bytes(const struct rowfile_key *key, const struct rowfile_text *text)
{
    struct layout at = layout_of(text->n_tokens, text->n_rows, strlen(text->name));
    return at.end + (uint64_t)rowfile_pages(text->n_rows) * key->page_bytes;
}

static void sum_of(const void *head, size_t bytes, uint64_t sum[2])
{
    XXH128_hash_t hash = XXH3_128bits(head, bytes);
    sum[0] = hash.low64;
    sum[1] = hash.high64;
}

/* ------------------------------------------------------------------ writing */

static int write_all(int fd, const void *data, size_t bytes, uint64_t offset, struct err *err)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t n = pwrite(fd, from, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        int code = n < 0 ? -errno : -EIO;
        if (n <= 0)
            return err_set(err, code, "cannot write at byte %llu: %s", (unsigned long long)offset,
                           strerror(-code));
        from += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* An eighth is worth unpacking. */
static bool pays(size_t packed, size_t plain)
{
    return !ZSTD_isError(packed) && packed < plain - plain / 8;
}

static int write_blocks(int fd, const struct rowfile_key *key, struct rowfile_block *block,
                        int n_pages, void *const *page, uint64_t offset, struct err *err)
{
    size_t room = ZSTD_compressBound(key->page_bytes);
    OWN_MEM char *packed = malloc(room);
    ZSTD_CCtx *zstd = packed ? ZSTD_createCCtx() : NULL;
    if (!zstd)
        return err_set(err, -ENOMEM, "no memory to pack pages of %u bytes", key->page_bytes);
    int r = 0;
    for (int i = 0; i < n_pages && r == 0; i++) {
        const void *bytes = page[i];
        block[i] = (struct rowfile_block){.bytes = key->page_bytes, .coding = CODING_PLAIN};
        size_t n = ZSTD_compressCCtx(zstd, packed, room, page[i], key->page_bytes, LEVEL);
        if (pays(n, key->page_bytes)) {
            bytes = packed;
            block[i] = (struct rowfile_block){.bytes = (uint32_t)n, .coding = CODING_ZSTD};
        }
        block[i].sum = XXH3_64bits(bytes, block[i].bytes);
        r = write_all(fd, bytes, block[i].bytes, offset, err);
        offset += block[i].bytes;
    }
    ZSTD_freeCCtx(zstd);
    return r;
}

int rowfile_write(int fd, const struct rowfile_key *key, const struct rowfile_text *text,
                  void *const *page, struct err *err)
{
    size_t n_name = strlen(text->name);
    assert(text->n_rows >= 1 && text->n_rows <= text->n_tokens);
    assert(text->n_tokens <= ROWFILE_MOST_TOKENS && n_name <= ROWFILE_MOST_NAME);
    assert(key->page_bytes >= 1 && key->page_bytes <= ROWFILE_MOST_PAGE);
    struct layout at = layout_of(text->n_tokens, text->n_rows, n_name);
    OWN_MEM char *memory = calloc(1, at.end);
    if (!memory)
        return err_set(err, -ENOMEM, "no memory for the head of %d tokens", text->n_tokens);

    struct head head = {
        .version = VERSION,
        .head_bytes = (uint32_t)at.end,
        .key = *key,
        .n_tokens = (uint32_t)text->n_tokens,
        .n_rows = (uint32_t)text->n_rows,
        .page_tokens = PAGE_TOKENS,
        .n_name = (uint32_t)n_name,
    };
    memcpy(head.magic, magic, sizeof magic);
    memcpy(memory, &head, sizeof head);
    memcpy(memory + at.token, text->token, (size_t)text->n_tokens * sizeof *text->token);
    memcpy(memory + at.answer, text->answer, bits_bytes(text->n_rows));
    if (text->n_rows % 8) /* nothing undefined gets to the disk */
        memory[at.answer + bits_bytes(text->n_rows) - 1] &= (char)((1 << text->n_rows % 8) - 1);
    memcpy(memory + at.name, text->name, n_name);

    int r = write_blocks(fd, key, (struct rowfile_block *)(memory + at.block),
                         rowfile_pages(text->n_rows), page, at.end, err);
    if (r < 0)
        return r;
    uint64_t sum[2];
    sum_of(memory, at.sum, sum);
    memcpy(memory + at.sum, sum, sizeof sum);
    r = write_all(fd, memory, at.end, 0, err);
    if (r < 0)
        return r;
    /* Final: the kernel forgets what it could not write, so that a second try would succeed. */
    if (fsync(fd) < 0)
        return err_set(err, -errno, "cannot sync: %s", strerror(errno));
    return 0;
}

/* ------------------------------------------------------------------ reading */

static int read_all(int fd, void *data, size_t bytes, uint64_t offset, struct err *err)
{
    char *to = data;
    while (bytes > 0) {
        ssize_t n = pread(fd, to, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, -errno, "cannot read at byte %llu: %s", (unsigned long long)offset,
                           strerror(errno));
        if (n == 0)
            return err_set(err, -EBADMSG, "ends at byte %llu, %zu more expected",
                           (unsigned long long)offset, bytes);
        to += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* What must be known before memory is asked for. */
static int check_counts(const struct head *h, uint64_t bytes, struct err *err)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return err_set(err, -ESTALE, "does not begin as a file of rows");
    if (h->version != VERSION)
        return err_set(err, -ESTALE, "is of version %u, expected %d", h->version, VERSION);
    if (h->page_tokens != PAGE_TOKENS)
        return err_set(err, -ESTALE, "has %u tokens a page, expected %d", h->page_tokens,
                       PAGE_TOKENS);
    if (h->n_tokens > ROWFILE_MOST_TOKENS || h->n_rows < 1 || h->n_rows > h->n_tokens)
        return err_set(err, -EBADMSG, "has %u rows and %u tokens, expected 1 to %d", h->n_rows,
                       h->n_tokens, ROWFILE_MOST_TOKENS);
    if (h->n_name > ROWFILE_MOST_NAME)
        return err_set(err, -EBADMSG, "has a name of %u bytes, expected at most %d", h->n_name,
                       ROWFILE_MOST_NAME);
    if (h->key.page_bytes < 1 || h->key.page_bytes > ROWFILE_MOST_PAGE)
        return err_set(err, -EBADMSG, "has pages of %u bytes, expected 1 to %d", h->key.page_bytes,
                       ROWFILE_MOST_PAGE);
    size_t end = layout_of((int)h->n_tokens, (int)h->n_rows, h->n_name).end;
    if (h->head_bytes != end || end > bytes)
        return err_set(err, -EBADMSG, "has a head of %u bytes, expected %zu in a file of %llu",
                       h->head_bytes, end, (unsigned long long)bytes);
    return 0;
}

static int check_blocks(const struct rowfile *file, struct err *err)
{
    uint64_t left = file->bytes - file->head_bytes;
    uint32_t plain = file->key.page_bytes;
    for (int i = 0; i < file->n_pages; i++) {
        const struct rowfile_block *b = &file->block[i];
        if (b->coding == CODING_PLAIN  ? b->bytes != plain
            : b->coding == CODING_ZSTD ? b->bytes < 1 || b->bytes >= plain
                                       : true)
            return err_set(err, -EBADMSG, "block %d has %u bytes in coding %u for a page of %u", i,
                           b->bytes, b->coding, plain);
        if (b->bytes > left)
            return err_set(err, -EBADMSG, "block %d has %u bytes, %llu are left", i, b->bytes,
                           (unsigned long long)left);
        left -= b->bytes;
    }
    if (left > 0)
        return err_set(err, -EBADMSG, "goes on for %llu bytes behind the last block",
                       (unsigned long long)left);
    return 0;
}

static int check_text(const struct rowfile_text *text, size_t n_name, struct err *err)
{
    for (int i = 0; i < text->n_tokens; i++)
        if (text->token[i] < 0)
            return err_set(err, -EBADMSG, "token %d is %d", i, text->token[i]);
    if (strlen(text->name) != n_name)
        return err_set(err, -EBADMSG, "has a NUL in its name");
    return 0;
}

int rowfile_open(int fd, struct rowfile **ret, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set(err, -errno, "cannot ask for its size: %s", strerror(errno));
    struct head head;
    int r = read_all(fd, &head, sizeof head, 0, err);
    if (r == 0)
        r = check_counts(&head, (uint64_t)st.st_size, err);
    if (r < 0)
        return r;

    struct layout at = layout_of((int)head.n_tokens, (int)head.n_rows, head.n_name);
    OWN(rowfile) *file = calloc(1, sizeof *file);
    char *memory = file ? file->memory = malloc(at.end) : NULL;
    if (!memory)
        return err_set(err, -ENOMEM, "no memory for a head of %zu bytes", at.end);
    memcpy(memory, &head, sizeof head); /* read once: these counts are the ones that were checked */
    r = read_all(fd, memory + sizeof head, at.end - sizeof head, sizeof head, err);
    if (r < 0)
        return r;
    uint64_t found[2];
    memcpy(found, memory + at.sum, sizeof found);
    sum_of(memory, at.sum, file->sum);
    if (memcmp(found, file->sum, sizeof found) != 0)
        return err_set(err, -EBADMSG, "its head does not have the sum that it says");

    file->key = head.key;
    file->bytes = (uint64_t)st.st_size;
    file->head_bytes = at.end;
    file->n_pages = rowfile_pages((int)head.n_rows);
    file->block = (const struct rowfile_block *)(memory + at.block);
    memory[at.name + head.n_name] = '\0'; /* as a sound file has it */
    file->text = (struct rowfile_text){
        .token = (const int32_t *)(memory + at.token),
        .n_tokens = (int)head.n_tokens,
        .n_rows = (int)head.n_rows,
        .answer = (const uint8_t *)(memory + at.answer),
        .name = memory + at.name,
    };
    r = check_blocks(file, err);
    if (r == 0)
        r = check_text(&file->text, head.n_name, err);
    if (r < 0)
        return r;
    *ret = TAKE(file);
    return 0;
}

void rowfile_close(struct rowfile *file)
{
    if (!file)
        return;
    free(file->memory);
    free(file);
}

struct unpacker {
    ZSTD_DCtx *zstd;
    char *packed; /* [page_bytes] */
};

static int read_block(const struct rowfile *file, int fd, int i, uint64_t offset, void *page,
                      struct unpacker *u, struct err *err)
{
    const struct rowfile_block *b = &file->block[i];
    size_t plain = file->key.page_bytes;
    void *bytes = b->coding == CODING_PLAIN ? page : u->packed;
    int r = read_all(fd, bytes, b->bytes, offset, err);
    if (r < 0)
        return r;
    if (XXH3_64bits(bytes, b->bytes) != b->sum)
        return err_set(err, -EBADMSG, "block %d does not have the sum that the head says", i);
    if (b->coding == CODING_ZSTD &&
        ZSTD_decompressDCtx(u->zstd, page, plain, u->packed, b->bytes) != plain)
        return err_set(err, -EBADMSG, "block %d does not unpack to %zu bytes", i, plain);
    return 0;
}

int rowfile_read(const struct rowfile *file, int fd, int from, int n_pages, void *const *page,
                 struct err *err)
{
    assert(n_pages <= file->n_pages);
    OWN_MEM char *packed = malloc(file->key.page_bytes);
    struct unpacker u = {.packed = packed, .zstd = packed ? ZSTD_createDCtx() : NULL};
    int r =
        u.zstd ? 0 : err_set(err, -ENOMEM, "no memory to unpack %u bytes", file->key.page_bytes);
    uint64_t offset = file->head_bytes;
    for (int i = 0; i < n_pages && r == 0; i++) {
        if (i >= from)
            r = read_block(file, fd, i, offset, page[i], &u, err);
        offset += file->block[i].bytes;
    }
    ZSTD_freeDCtx(u.zstd);
    for (int i = from; i < n_pages && r < 0; i++)
        explicit_bzero(page[i], file->key.page_bytes);
    return r;
}
