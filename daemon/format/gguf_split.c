/* SPDX-License-Identifier: MIT
 *
 * GGUF in several files: `NAME-00001-of-00003.gguf` and its siblings, whichever was named.
 *
 * The first part has the model's keys and perhaps tensors, the others tensors and the keys that say
 * which part they are. Together they must be one model: the count, the numbers and the sum of the
 * tensors agree, and no part brings keys of another. Belongs to the thread that opens the file.
 */
#include "format/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "format/format.h"
#include "format/meta.h"
#include "format/reader.h"
#include "format/table.h"

struct split { /* what a part says of itself */
    uint32_t no, count, tensors;
};

static int read_number(const struct meta *meta, const char *key, uint32_t *ret, struct err *err)
{
    int r = meta_u32(meta, key, ret, err);
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "'%s', key '%s': found none, expected one in a split file",
                       meta_path(meta), key);
    return r;
}

static int read_split(const struct meta *meta, struct split *ret, struct err *err)
{
    struct split split = {0};
    int r = read_number(meta, "split.count", &split.count, err);
    if (r == 0)
        r = read_number(meta, "split.no", &split.no, err);
    if (r == 0)
        r = read_number(meta, "split.tensors.count", &split.tensors, err);
    if (r < 0)
        return r;
    if (split.count > FORMAT_MAX_PARTS)
        return err_set(err, -EINVAL,
                       "'%s', key 'split.count': found %" PRIu32 ", expected at most "
                       "%d",
                       meta_path(meta), split.count, FORMAT_MAX_PARTS);
    *ret = split;
    return 0;
}

/* The part's keys against those of the part that was named. */
static int check_split(const struct meta *meta, int index, const struct split *named,
                       struct err *err)
{
    struct split split;
    int r = read_split(meta, &split, err);
    if (r < 0)
        return r;
    const struct {
        const char *key;
        uint32_t found, expected;
    } keys[] = {
        {"split.count", split.count, named->count},
        {"split.no", split.no, (uint32_t)index},
        {"split.tensors.count", split.tensors, named->tensors},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].found != keys[i].expected)
            return err_set(err, -EINVAL,
                           "'%s', key '%s': found %" PRIu32 ", expected %" PRIu32
                           " as the other parts say",
                           meta_path(meta), keys[i].key, keys[i].found, keys[i].expected);
    return 0;
}

/* A later part may repeat a key of the first, but not add or change one. */
static int check_keys(const struct meta *first, const struct meta *meta, struct err *err)
{
    for (int i = 0; i < meta_n_keys(meta); i++) {
        const char *key = meta_key(meta, i);
        if (!strncmp(key, "split.", 6) || !strcmp(key, "general.alignment"))
            continue;
        char found[80], expected[80] = "none";
        meta_text(meta, i, found, sizeof found);
        int same = meta_same(first, meta, i);
        if (same > 0)
            continue;
        for (int k = 0; same == 0 && k < meta_n_keys(first); k++)
            if (!strcmp(meta_key(first, k), key))
                meta_text(first, k, expected, sizeof expected);
        return err_set(err, -EINVAL,
                       "'%s', key '%.100s': found %s, expected %s as in the first "
                       "part: is this part of another model?",
                       meta_path(meta), key, found, expected);
    }
    return 0;
}

static int read_part(struct format *format, int index, const struct split *named, struct err *err)
{
    struct reader in;
    struct gguf_head head;
    int r = gguf_head_read(&format->part[index], &in, &head, err);
    if (r < 0)
        return r;
    OWN(meta) *meta = head.meta;
    r = check_split(meta, index, named, err);
    if (r == 0 && index > 0)
        r = check_keys(format->meta, meta, err);
    if (r == 0)
        r = gguf_tensors_read(&in, &head, format, index);
    if (r < 0)
        return r;
    if (index == 0) {
        snprintf(format->kind, sizeof format->kind, "GGUF v%" PRIu32 " in %" PRIu32 " parts",
                 head.version, named->count);
        format->meta = TAKE(meta);
    }
    return 0;
}

/* The bare name of the part that was named, without "-00001-of-00003.gguf". */
static int cut_name(const struct format *format, const struct split *named, size_t *ret,
                    struct err *err)
{
    const char *slash = strrchr(format->path, '/');
    const char *name = slash ? slash + 1 : format->path;
    char suffix[40];
    int n = snprintf(suffix, sizeof suffix, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", named->no + 1,
                     named->count);
    size_t bytes = strlen(name);
    if (bytes <= (size_t)n || strcmp(name + bytes - (size_t)n, suffix))
        return err_set(err, -EINVAL,
                       "'%s', keys 'split.no' and 'split.count': found part %" PRIu32 " of %" PRIu32
                       " in a file whose "
                       "name does not end in '%s', so the other parts cannot be found",
                       format->part[0].label, named->no + 1, named->count, suffix);
    *ret = bytes - (size_t)n;
    return 0;
}

/* The named part moves to its place, the others are opened beside it. */
static int open_parts(struct format *format, const struct split *named, struct err *err)
{
    size_t prefix = 0;
    int r = cut_name(format, named, &prefix, err);
    if (r < 0)
        return r;
    OWN_FD folder = -1;
    r = format_folder(format, format->path, &folder, err);
    if (r < 0)
        return r;
    struct part *part = calloc(named->count, sizeof *part);
    OWN_MEM char *name = malloc(prefix + 40);
    if (!part || !name) {
        free(part);
        return err_set(err, -ENOMEM, "'%s': no memory for %" PRIu32 " parts", format->part[0].label,
                       named->count);
    }
    for (uint32_t i = 0; i < named->count; i++)
        part[i].fd = -1;
    part[named->no] = format->part[0];
    free(format->part);
    format->part = part;
    format->n_parts = (int)named->count;

    const char *slash = strrchr(format->path, '/');
    const char *base = slash ? slash + 1 : format->path;
    for (uint32_t i = 0; i < named->count; i++) {
        if (i == named->no)
            continue;
        snprintf(name, prefix + 40, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)prefix, base,
                 i + 1, named->count);
        r = part_open_beside(folder, format->path, name, &part[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int gguf_split_open(struct format *format, struct err *err)
{
    OWN(meta) *probe = TAKE(format->meta);
    struct split named;
    int r = read_split(probe, &named, err);
    if (r == 0 && named.no >= named.count)
        r = err_set(err, -EINVAL, "'%s', key 'split.no': found %" PRIu32 ", expected 0 to %" PRIu32,
                    meta_path(probe), named.no, named.count - 1);
    if (r == 0)
        r = open_parts(format, &named, err);
    for (int i = 0; i < format->n_parts && r == 0; i++)
        r = read_part(format, i, &named, err);
    if (r < 0)
        return r;
    if (format->n_tensors != named.tensors)
        return err_set(err, -EINVAL,
                       "'%s', key 'split.tensors.count': found %" PRIu32 ", but the "
                       "%d parts hold %" PRIu32 " tensors",
                       format->part[0].label, named.tensors, format->n_parts, format->n_tensors);
    return 0;
}
