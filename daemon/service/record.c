/* SPDX-License-Identifier: MIT */
#include "service/record.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "ttrpc.h"

static const char magic[8] = {'m', 'o', 'e', 'd', 't', 'a', 'l', 'k'};
enum { VERSION = 2, FIRST_VERSION = 1 };

enum { PINNED = 1, PARKED = 2 }; /* flags */

struct head {
    char magic[8];
    uint32_t version; /* another byte order is another version */
    uint32_t uid;
    uint64_t bytes; /* of the file */
    uint64_t id, revision, vocabulary;
    int64_t created_s, used_s;
    uint32_t n_name, n_model, n_settings, n_lines;
    /* since version 2 */
    uint32_t flags, none;
    uint64_t parked_bytes;
};

struct line_head {
    uint32_t kind, n_tokens;
    uint64_t n;
};

void record_fini(struct record *record)
{
    transcript_fini(&record->transcript);
    *record = (struct record){0};
}

bool record_is_id(const char *text, uint64_t *ret)
{
    if (strlen(text) != RECORD_ID_DIGITS || strspn(text, "0123456789abcdef") != RECORD_ID_DIGITS)
        return false;
    *ret = strtoull(text, NULL, 16);
    return true;
}

bool record_is_name(const char *name)
{
    uint64_t id;
    size_t n = strlen(name);
    if (n == 0 || n > RECORD_MOST_NAME || !ttrpc_is_utf8(name, n) || record_is_id(name, &id))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

/* ---- packing */
static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

static size_t size_of(const struct record *record)
{
    const struct transcript *t = &record->transcript;
    size_t n = sizeof(struct head) + strlen(record->name) + strlen(record->model) +
               (t->settings ? t->settings->n : 0) + sizeof(XXH128_hash_t);
    for (int i = 0; i < t->n; i++)
        n += sizeof(struct line_head) + t->line[i]->n;
    return n;
}

int record_pack(const struct record *record, uint8_t **ret, size_t *n_ret)
{
    const struct transcript *t = &record->transcript;
    size_t n = size_of(record);
    uint8_t *data = malloc(n), *at = data;
    if (!data)
        return -ENOMEM;
    struct head head = {
        .version = VERSION,
        .uid = record->uid,
        .bytes = n,
        .id = record->id,
        .revision = record->revision,
        .vocabulary = record->vocabulary,
        .created_s = record->created_s,
        .used_s = record->used_s,
        .n_name = (uint32_t)strlen(record->name),
        .n_model = (uint32_t)strlen(record->model),
        .n_settings = t->settings ? (uint32_t)t->settings->n : 0,
        .n_lines = (uint32_t)t->n,
        .flags = (record->is_pinned ? PINNED : 0) | (record->is_parked ? PARKED : 0),
        .parked_bytes = record->parked_bytes,
    };
    memcpy(head.magic, magic, sizeof magic);
    at = put(at, &head, sizeof head);
    at = put(at, record->name, head.n_name);
    at = put(at, record->model, head.n_model);
    at = put(at, t->settings ? t->settings->data : NULL, head.n_settings);
    for (int i = 0; i < t->n; i++) {
        const struct line *line = t->line[i];
        struct line_head lh = {(uint32_t)line->kind, line->n_tokens, line->n};
        at = put(at, &lh, sizeof lh);
        at = put(at, line->data, line->n);
    }
    XXH128_hash_t sum = XXH3_128bits(data, (size_t)(at - data));
    put(at, &sum, sizeof sum);
    *ret = data;
    *n_ret = n;
    return 0;
}

/* ---- parsing */
struct bytes {
    const uint8_t *at;
    size_t left;
};

static bool take(struct bytes *from, void *dst, size_t n)
{
    if (n > from->left)
        return false;
    memcpy(dst, from->at, n);
    from->at += n;
    from->left -= n;
    return true;
}

static bool take_string(struct bytes *from, char *dst, size_t n, size_t most)
{
    if (n > most || !take(from, dst, n))
        return false;
    dst[n] = '\0';
    return strlen(dst) == n && ttrpc_is_utf8(dst, n);
}

/* A line that is no request would make every request that comes after it fail. */
static int take_line(struct bytes *from, enum line_kind kind, uint32_t n_tokens, uint64_t n,
                     struct line **ret)
{
    if (n > from->left ||
        ttrpc_check(&moed__v1__generate_request__descriptor, from->at, (size_t)n, NULL) < 0)
        return -EBADMSG;
    *ret = line_new(kind, n_tokens, from->at, (size_t)n);
    if (!*ret)
        return -ENOMEM;
    from->at += n;
    from->left -= (size_t)n;
    return 0;
}

static int take_lines(struct bytes *from, const struct head *head, struct transcript *t)
{
    struct line *line;
    int r;
    if (head->n_settings > 0) {
        r = take_line(from, LINE_MESSAGE, 0, head->n_settings, &line);
        if (r < 0)
            return r;
        transcript_set(t, line);
    }
    for (uint32_t i = 0; i < head->n_lines; i++) {
        struct line_head lh;
        if (!take(from, &lh, sizeof lh) || lh.kind >= N_LINE_KINDS)
            return -EBADMSG;
        r = take_line(from, (enum line_kind)lh.kind, lh.n_tokens, lh.n, &line);
        if (r == 0)
            r = transcript_add(t, line);
        if (r < 0)
            return r;
    }
    return from->left == 0 ? 0 : -EBADMSG;
}

static size_t head_bytes(uint32_t version)
{
    return version == FIRST_VERSION ? offsetof(struct head, flags) : sizeof(struct head);
}

static int parse(struct bytes *from, size_t n_head, struct record *ret)
{
    struct head head = {0};
    take(from, &head, n_head);
    *ret = (struct record){
        .id = head.id,
        .uid = head.uid,
        .revision = head.revision,
        .vocabulary = head.vocabulary,
        .created_s = head.created_s,
        .used_s = head.used_s,
        .is_pinned = head.flags & PINNED,
        .is_parked = head.flags & PARKED,
        .parked_bytes = head.parked_bytes,
    };
    if (head.flags & ~(uint32_t)(PINNED | PARKED) || head.none ||
        head.n_lines > RECORD_MOST_LINES ||
        !take_string(from, ret->name, head.n_name, RECORD_MOST_NAME) ||
        !take_string(from, ret->model, head.n_model, RECORD_MOST_MODEL) ||
        (head.n_name > 0 && !record_is_name(ret->name)))
        return -EBADMSG;
    return take_lines(from, &head, &ret->transcript);
}

int record_parse(const uint8_t *data, size_t n, struct record *ret, struct err *err)
{
    struct head head;
    XXH128_hash_t sum;
    if (n < head_bytes(FIRST_VERSION) || memcmp(data, magic, sizeof magic) != 0)
        return err_set(err, -ESTALE, "it is no session");
    memcpy(&head, data, head_bytes(FIRST_VERSION));
    if (head.version < FIRST_VERSION || head.version > VERSION)
        return err_set(err, -ESTALE, "its version is %u, expected %d to %d", head.version,
                       FIRST_VERSION, VERSION);
    size_t n_head = head_bytes(head.version);
    if (head.bytes != n || n < n_head + sizeof sum)
        return err_set(err, -EBADMSG, "it has %zu bytes, expected %llu", n,
                       (unsigned long long)head.bytes);
    memcpy(&sum, data + n - sizeof sum, sizeof sum);
    if (!XXH128_isEqual(sum, XXH3_128bits(data, n - sizeof sum)))
        return err_set(err, -EBADMSG, "its sum is another");
    struct bytes from = {data, n - sizeof sum};
    struct record record;
    int r = parse(&from, n_head, &record);
    if (r < 0) {
        record_fini(&record);
        return err_set(err, r, r == -ENOMEM ? "no memory for it" : "it is not what a session is");
    }
    *ret = record;
    return 0;
}
