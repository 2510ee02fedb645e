/* SPDX-License-Identifier: MIT
 *
 * GGUF, versions 2 and 3: header, keys (gguf_keys.c), tensor infos, padding, data.
 *
 * Only struct reader touches the bytes; what it hands out is checked here and stored in struct
 * meta and struct format. Belongs to the thread that opens the file.
 */
#include "format/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "format/gguf.h"
#include "format/gguf_keys.h"
#include "format/meta.h"
#include "format/reader.h"

enum {
    MAGIC_BYTES = 4,
    DEFAULT_ALIGNMENT = 32,
    LEAST_KEY_BYTES = 8 + 1 + 4 + 1,            /* length, one character, type, one byte */
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* length, name, n_dims, one dim, type, offset */
};

/* ------------------------------------------------------------------ keys */

/* What the keys say about the container itself. */
static int read_alignment(struct part *part, const struct meta *meta, struct err *err)
{
    uint32_t alignment = DEFAULT_ALIGNMENT;
    int r = meta_u32(meta, "general.alignment", &alignment, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (alignment == 0 || (alignment & (alignment - 1)))
        return err_set(err, -EINVAL,
                       "'%s', key 'general.alignment': found %" PRIu32 ", expected a power of two",
                       part->label, alignment);
    part->alignment = alignment;
    return 0;
}

/* ------------------------------------------------------------------ tensors */

/* Types that GGUF knows and this program does not: for the message. Ids from the format's list. */
static const struct {
    uint32_t id;
    const char *name;
} other_types[] = {
    {9, "Q8_1"}, {15, "Q8_K"}, {24, "I8"},    {25, "I16"},   {26, "I32"},
    {27, "I64"}, {28, "F64"},  {34, "TQ1_0"}, {35, "TQ2_0"},
};

static const uint32_t removed_types[] = {4, 5, 31, 32, 33, 36, 37, 38};

enum { FIRST_IK_TYPE = 97 };

static int refuse_type(const struct reader *in, uint64_t offset, const char *name, uint32_t id)
{
    char list[256] = "";
    size_t at = 0;
    for (int i = 0; i < MK_TYPE_COUNT && at < sizeof list; i++)
        if (mk_type_info[i].gguf_id != MK_NO_GGUF_ID)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "",
                                   mk_type_info[i].name);
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++)
        if (other_types[i].id == id)
            return reader_fail(in, offset, -ENOTSUP,
                               "tensor '%s' has type %s (id %" PRIu32
                               "), which is not supported yet; supported: %s",
                               name, other_types[i].name, id, list);
    for (size_t i = 0; i < sizeof removed_types / sizeof *removed_types; i++)
        if (removed_types[i] == id)
            return reader_fail(in, offset, -EINVAL,
                               "tensor '%s' has type id %" PRIu32
                               ", which was removed from GGUF; supported: %s",
                               name, id, list);
    if (id >= FIRST_IK_TYPE && id < 1000)
        return reader_fail(in, offset, -ENOTSUP,
                           "tensor '%s' has type id %" PRIu32
                           ", one that only ik_llama.cpp writes; supported: %s",
                           name, id, list);
    return reader_fail(in, offset, -EINVAL,
                       "tensor '%s' has type id %" PRIu32 ", which is unknown; supported: %s", name,
                       id, list);
}

static int read_tensor_name(struct reader *in, char *name, size_t *bytes)
{
    uint64_t offset = in->pos;
    uint64_t length;
    int r = reader_count(in, 1, "the length of the name", &length);
    if (r < 0)
        return r;
    if (length == 0 || length >= FORMAT_NAME_BYTES)
        return reader_fail(in, offset, -EINVAL,
                           "found a name of %" PRIu64 " bytes, expected 1 to %d", length,
                           FORMAT_NAME_BYTES - 1);
    *bytes = (size_t)length;
    r = reader_bytes(in, name, *bytes, "the name");
    if (r < 0)
        return r;
    name[*bytes] = '\0';
    return 0;
}

static int read_tensor(struct reader *in, struct format *format, int part)
{
    reader_where(in, "tensor %u", format->n_tensors);
    char name[FORMAT_NAME_BYTES];
    size_t name_bytes = 0;
    int r = read_tensor_name(in, name, &name_bytes);
    if (r < 0)
        return r;
    r = format_check_name(format, part, name, name_bytes, in->err);
    if (r < 0)
        return r;
    reader_where(in, "tensor %u '%s'", format->n_tensors, name);

    uint64_t offset = in->pos;
    uint32_t n_dims;
    r = reader_u32(in, "the number of dimensions", &n_dims);
    if (r < 0)
        return r;
    if (n_dims < 1 || n_dims > TENSOR_MAX_DIMS)
        return reader_fail(in, offset, -EINVAL, "found %" PRIu32 " dimensions, expected 1 to %d",
                           n_dims, TENSOR_MAX_DIMS);
    uint64_t dims[TENSOR_MAX_DIMS];
    for (uint32_t i = 0; i < n_dims; i++) {
        r = reader_u64(in, "a dimension", &dims[i]);
        if (r < 0)
            return r;
    }

    uint64_t type_offset = in->pos;
    uint32_t id;
    r = reader_u32(in, "the type", &id);
    if (r < 0)
        return r;
    enum mk_type type = mk_type_of_gguf(id);
    if (type == MK_TYPE_COUNT)
        return refuse_type(in, type_offset, name, id);

    uint64_t data_offset;
    r = reader_u64(in, "the offset", &data_offset);
    if (r < 0)
        return r;
    return format_add_tensor(format, part, name, name_bytes, type, dims, (int)n_dims, data_offset,
                             in->err);
}

/* ------------------------------------------------------------------ file */

static bool gguf_sniff(const void *head, size_t bytes)
{
    return bytes >= MAGIC_BYTES && memcmp(head, "GGUF", MAGIC_BYTES) == 0;
}

static int read_version(struct reader *in, uint32_t *ret)
{
    uint64_t offset = in->pos;
    uint32_t version;
    int r = reader_u32(in, "the version", &version);
    if (r < 0)
        return r;
    if (version != 0 && (version & 0xffff) == 0)
        return reader_fail(in, offset, -ENOTSUP,
                           "found version 0x%08" PRIx32 ": this is a big-endian GGUF file, "
                           "expected a little-endian one",
                           version);
    if (version == 1)
        return reader_fail(in, offset, -ENOTSUP,
                           "found GGUF version 1, expected 2 or 3: convert the file again");
    if (version != 2 && version != 3)
        return reader_fail(in, offset, version > 3 ? -ENOTSUP : -EINVAL,
                           "found GGUF version %" PRIu32 ", expected 2 or 3", version);
    *ret = version;
    return 0;
}

static int read_counts(struct reader *in, uint64_t *n_tensors, uint64_t *n_keys)
{
    uint64_t offset = in->pos;
    int r = reader_count(in, LEAST_TENSOR_BYTES, "the number of tensors", n_tensors);
    if (r < 0)
        return r;
    if (*n_tensors > FORMAT_MAX_TENSORS)
        return reader_fail(in, offset, -EINVAL, "found %" PRIu64 " tensors, expected at most %d",
                           *n_tensors, FORMAT_MAX_TENSORS);
    offset = in->pos;
    r = reader_count(in, LEAST_KEY_BYTES, "the number of keys", n_keys);
    if (r < 0)
        return r;
    if (*n_keys > META_MAX_KEYS)
        return reader_fail(in, offset, -EINVAL, "found %" PRIu64 " keys, expected at most %d",
                           *n_keys, META_MAX_KEYS);
    return 0;
}

int gguf_head_read(const struct part *part, struct reader *in, struct gguf_head *ret,
                   struct err *err)
{
    reader_init(in, part->fd, part->label, part->bytes, err);
    char magic[MAGIC_BYTES];
    int r = reader_bytes(in, magic, sizeof magic, "the magic");
    if (r < 0)
        return r;
    if (!gguf_sniff(magic, sizeof magic))
        return reader_fail(in, 0, -EINVAL, "found no GGUF file, expected one");
    struct gguf_head head = {0};
    r = read_version(in, &head.version);
    if (r < 0)
        return r;
    uint64_t n_keys = 0;
    r = read_counts(in, &head.n_tensors, &n_keys);
    if (r < 0)
        return r;
    r = gguf_keys_read(in, n_keys, &head.meta);
    if (r == 0)
        *ret = head;
    return r;
}

int gguf_tensors_read(struct reader *in, const struct gguf_head *head, struct format *format,
                      int index)
{
    struct part *part = &format->part[index];
    int r = read_alignment(part, head->meta, in->err);
    if (r < 0)
        return r;
    r = format_expect_tensors(format, index, head->n_tensors, in->err);
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < head->n_tensors; i++) {
        r = read_tensor(in, format, index);
        if (r < 0)
            return r;
    }
    /* pos ≤ 2^63 and alignment ≤ 2^31, so the round-up cannot wrap. */
    uint64_t up = head->n_tensors ? part->alignment - 1 : 0;
    part->data = (in->pos + up) & ~up;
    return 0;
}

static int gguf_open(const char *path, struct format *format, struct err *err)
{
    (void)path; /* the descriptor in format is already that of the one file */
    struct reader in;
    struct gguf_head head;
    int r = gguf_head_read(&format->part[0], &in, &head, err);
    if (r < 0)
        return r;
    format->meta = head.meta;
    uint32_t parts = 1;
    r = meta_u32(format->meta, "split.count", &parts, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (parts == 0)
        return err_set(err, -EINVAL, "'%s', key 'split.count': found 0, expected at least 1",
                       format->part[0].label);
    if (parts > 1)
        return gguf_split_open(format, err);
    snprintf(format->kind, sizeof format->kind, "GGUF v%" PRIu32, head.version);
    return gguf_tensors_read(&in, &head, format, 0);
}

const struct format_reader format_gguf = {
    .name = "gguf",
    .sniff = gguf_sniff,
    .open = gguf_open,
};
