/* SPDX-License-Identifier: MIT
 *
 * Opening a model file, whatever its container: the checks that all of them share.
 *
 * The container's reader says what the file claims; this file compares the claims with each other
 * and with the bytes that are there. Opening belongs to one thread; reading is free to any.
 */
#include "format/format.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "format/experts.h"
#include "format/meta.h"
#include "format/reader.h"
#include "format/stack.h"
#include "format/table.h"

/* A new container: its file, and a line here. */
static const struct format_reader *const format_table[] = {
    &format_gguf,
    &format_safetensors,
};

enum { SNIFF_BYTES = 16 };

/* ------------------------------------------------------------------ tensors */

int format_expect_tensors(struct format *format, int part, uint64_t n, struct err *err)
{
    const char *label = format->part[part].label;
    if (n > FORMAT_MAX_TENSORS - format->room)
        return err_set(err, -EINVAL,
                       "'%s': found %" PRIu64 " tensors after %u, expected at most %d in all",
                       label, n, format->room, FORMAT_MAX_TENSORS);
    size_t room = (size_t)format->room + (size_t)n;
    struct tensor *tensor = realloc(format->tensor, (room + 1) * sizeof *tensor);
    if (tensor)
        format->tensor = tensor;
    char(*name)[FORMAT_NAME_BYTES] = realloc(format->name, (room + 1) * sizeof *name);
    if (name)
        format->name = name;
    if (!tensor || !name)
        return err_set(err, -ENOMEM, "'%s': no memory for %zu tensors", label, room);
    format->room = (uint32_t)room;
    return 0;
}

int format_check_name(const struct format *format, int part, const char *name, size_t bytes,
                      struct err *err)
{
    const char *label = format->part[part].label;
    if (bytes == 0 || bytes >= FORMAT_NAME_BYTES)
        return err_set(err, -EINVAL, "'%s', tensor %u: found a name of %zu bytes, expected 1 to %d",
                       label, format->n_tensors, bytes, FORMAT_NAME_BYTES - 1);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f)
            return err_set(err, -EINVAL,
                           "'%s', tensor %u: found byte 0x%02x in its name, expected text", label,
                           format->n_tensors, c);
    }
    if (!reader_is_utf8(name, bytes))
        return err_set(err, -EINVAL, "'%s', tensor %u: its name is not UTF-8", label,
                       format->n_tensors);
    return 0;
}

int format_add_tensor(struct format *format, int part, const char *name, size_t name_bytes,
                      enum mk_type type, const uint64_t *dims, int n_dims, uint64_t offset,
                      struct err *err)
{
    const char *label = format->part[part].label;
    assert(format->n_tensors < format->room && (unsigned)type < MK_TYPE_COUNT);
    int r = format_check_name(format, part, name, name_bytes, err);
    if (r < 0)
        return r;
    char *kept = format->name[format->n_tensors];
    memcpy(kept, name, name_bytes);
    kept[name_bytes] = '\0';

    if (n_dims < 1 || n_dims > TENSOR_MAX_DIMS)
        return err_set(err, -EINVAL, "'%s', tensor '%s': found %d dimensions, expected 1 to %d",
                       label, kept, n_dims, TENSOR_MAX_DIMS);
    struct tensor tensor = {.type = type, .n_dims = n_dims, .offset = offset, .part = part};
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) {
        tensor.dims[i] = i < n_dims ? dims[i] : 1;
        if (tensor.dims[i] == 0)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': dimension %d is 0, expected at least 1", label, kept,
                           i);
    }
    const struct mk_type_info *info = &mk_type_info[type];
    if (tensor.dims[0] % info->block_elements)
        return err_set(err, -EINVAL,
                       "'%s', tensor '%s': dimension 0 is %" PRIu64
                       ", expected a multiple of %u, the block of type %s",
                       label, kept, tensor.dims[0], info->block_elements, info->name);
    uint64_t elements = tensor.dims[0];
    tensor.bytes = tensor.dims[0] / info->block_elements;
    bool wraps = __builtin_mul_overflow(tensor.bytes, (uint64_t)info->block_bytes, &tensor.bytes);
    for (int i = 1; i < TENSOR_MAX_DIMS; i++) {
        wraps |= __builtin_mul_overflow(elements, tensor.dims[i], &elements);
        wraps |= __builtin_mul_overflow(tensor.bytes, tensor.dims[i], &tensor.bytes);
    }
    if (wraps || elements > INT64_MAX || tensor.bytes > INT64_MAX)
        return err_set(err, -EINVAL,
                       "'%s', tensor '%s': its dimensions %" PRIu64 " x %" PRIu64 " x %" PRIu64
                       " x %" PRIu64 " make a size beyond 63 bits",
                       label, kept, tensor.dims[0], tensor.dims[1], tensor.dims[2], tensor.dims[3]);
    format->tensor[format->n_tensors++] = tensor;
    return 0;
}

static int compare_names(const void *a, const void *b, void *arg)
{
    const struct format *format = arg;
    return strcmp(format->name[*(const uint32_t *)a], format->name[*(const uint32_t *)b]);
}

/* By part, then by place in it. */
static int compare_places(const void *a, const void *b, void *arg)
{
    const struct format *format = arg;
    const struct tensor *x = &format->tensor[*(const uint32_t *)a];
    const struct tensor *y = &format->tensor[*(const uint32_t *)b];
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static const char *label_of(const struct format *format, const struct tensor *tensor)
{
    return format->part[tensor->part].label;
}

static int check_names_differ(struct format *format, struct err *err)
{
    uint32_t *order = malloc(((size_t)format->n_tensors + 1) * sizeof *order);
    if (!order)
        return err_set(err, -ENOMEM, "'%.160s': no memory for %u tensors", format->path,
                       format->n_tensors);
    free(format->by_name);
    format->by_name = order;
    for (uint32_t i = 0; i < format->n_tensors; i++) {
        format->tensor[i].name = format->name[i];
        order[i] = i;
    }
    qsort_r(order, (size_t)format->n_tensors, sizeof *order, compare_names, format);
    for (uint32_t i = 1; i < format->n_tensors; i++) {
        if (strcmp(format->name[order[i - 1]], format->name[order[i]]))
            continue;
        uint32_t last = order[i] > order[i - 1] ? order[i] : order[i - 1];
        uint32_t first = order[i] > order[i - 1] ? order[i - 1] : order[i];
        const struct tensor *t = &format->tensor[last], *before = &format->tensor[first];
        if (t->part == before->part)
            return err_set(err, -EINVAL, "'%s', tensor '%s': found twice, expected once",
                           label_of(format, t), t->name);
        return err_set(err, -EINVAL, "'%s', tensor '%s': found also in '%s', expected once",
                       label_of(format, t), t->name, label_of(format, before));
    }
    return 0;
}

/* Each tensor's data: aligned, and inside its file; offsets become those of the file. */
static int place_tensors(struct format *format, struct err *err)
{
    for (uint32_t i = 0; i < format->n_tensors; i++) {
        struct tensor *t = &format->tensor[i];
        const struct part *part = &format->part[t->part];
        if (part->data > part->bytes)
            return err_set(err, -EINVAL,
                           "'%s': tensor data starts at byte %" PRIu64 ", but the file has %" PRIu64
                           " bytes",
                           part->label, part->data, part->bytes);
        uint64_t available = part->bytes - part->data;
        if (t->offset & (part->alignment - 1))
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': offset %" PRIu64
                           " is not a multiple of the alignment, %" PRIu64,
                           part->label, t->name, t->offset, part->alignment);
        if (t->offset > available || t->bytes > available - t->offset)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': needs %" PRIu64 " bytes at offset %" PRIu64
                           " of the data, but the file has %" PRIu64 " there",
                           part->label, t->name, t->bytes, t->offset,
                           t->offset > available ? 0 : available - t->offset);
        t->offset += part->data; /* ≤ part->bytes, by the line above */
    }
    return 0;
}

/* The tensors order[0 … n - 1] of one part, by place. The data must be accounted for to the byte:
 * an overlap, or a stretch that no tensor owns, means that somebody else reads this file in another
 * way. Padding up to the alignment is no one's. */
static int check_part(const struct format *format, const struct part *part, const uint32_t *order,
                      uint32_t n, struct err *err)
{
    uint64_t end = part->data;
    for (uint32_t i = 0; i < n; i++) {
        const struct tensor *t = &format->tensor[order[i]];
        const char *before = i ? format->name[order[i - 1]] : "the header";
        if (t->offset < end)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': starts at byte %" PRIu64 ", inside tensor '%s'"
                           ", which ends at %" PRIu64,
                           part->label, t->name, t->offset, before, end);
        if (t->offset - end >= part->alignment)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': starts at byte %" PRIu64 ", %" PRIu64
                           " bytes after the end of %s%s%s, expected less than %" PRIu64
                           " bytes of padding",
                           part->label, t->name, t->offset, t->offset - end, i ? "tensor '" : "",
                           before, i ? "'" : "", part->alignment);
        end = t->offset + t->bytes; /* ≤ part->bytes, see place_tensors() */
    }
    if (part->bytes > end && part->bytes - end >= part->alignment)
        return err_set(err, -EINVAL,
                       "'%s', byte %" PRIu64 ": found %" PRIu64
                       " bytes after the end of %s, expected less than %" PRIu64
                       " bytes of padding",
                       part->label, end, part->bytes - end, n ? "the last tensor" : "the header",
                       part->alignment);
    return 0;
}

static int check_no_overlap(const struct format *format, struct err *err)
{
    OWN_MEM uint32_t *order = calloc((size_t)format->n_tensors + 1, sizeof *order);
    if (!order)
        return err_set(err, -ENOMEM, "'%s': no memory for %u tensors", format->part[0].label,
                       format->n_tensors);
    for (uint32_t i = 0; i < format->n_tensors; i++)
        order[i] = i;
    qsort_r(order, (size_t)format->n_tensors, sizeof *order, compare_places, (void *)format);
    uint32_t at = 0;
    for (int i = 0; i < format->n_parts; i++) {
        uint32_t n = 0;
        while (at + n < format->n_tensors && format->tensor[order[at + n]].part == i)
            n++;
        int r = check_part(format, &format->part[i], order + at, n, err);
        if (r < 0)
            return r;
        at += n;
    }
    return 0;
}

/* Tensors that lie in the files as they are, but for experts that were written one by one. */
static int settle(struct format *format, struct err *err)
{
    int r = place_tensors(format, err);
    if (r == 0)
        r = check_no_overlap(format, err);
    if (r == 0)
        r = experts_join(format, err);
    return r == 0 && format->stack ? check_names_differ(format, err) : r;
}

/* ------------------------------------------------------------------ open */

static int choose_reader(struct format *format, struct err *err)
{
    const struct part *part = &format->part[0];
    unsigned char head[SNIFF_BYTES] = {0};
    size_t bytes = part->bytes < sizeof head ? (size_t)part->bytes : sizeof head;
    if (bytes < 4)
        return err_set(err, -EINVAL, "'%s': found %zu bytes, too few for any model file",
                       part->label, bytes);
    int r = part_read(part, 0, head, bytes, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof format_table / sizeof *format_table; i++) {
        format->reader = format_table[i];
        if (format->reader->sniff(head, bytes))
            return 0;
    }
    return err_set(err, -EINVAL,
                   "'%s', byte 0: found %02x %02x %02x %02x, expected \"GGUF\" or safetensors",
                   part->label, head[0], head[1], head[2], head[3]);
}

/* By its bare name in the folder, and the folder itself if it is a checkpoint. */
static int open_beneath(struct format *format, struct err *err)
{
    const char *slash = strrchr(format->path, '/');
    int inner;
    int r = part_open_folder(format->folder, format->path, &inner, err);
    if (r == 0) {
        close(format->folder);
        format->folder = inner;
        format->reader = &format_safetensors;
        return 0;
    }
    if (r == -ENOTDIR)
        r = part_open_beside(format->folder, format->path, slash ? slash + 1 : format->path,
                             &format->part[0], err);
    if (r < 0)
        return r;
    format->n_parts = 1;
    return choose_reader(format, err);
}

/* A folder has no first bytes: it is a checkpoint of several files. */
static int open_named(struct format *format, struct err *err)
{
    struct stat st;
    if (format->folder >= 0)
        return open_beneath(format, err);
    if (stat(format->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        format->reader = &format_safetensors;
        return 0;
    }
    int r = part_open(format->path, &format->part[0], err);
    if (r < 0)
        return r;
    format->n_parts = 1;
    return choose_reader(format, err);
}

/* `folder`: -1, or what open_beneath() shall look in. */
static int open_format(int folder, const char *path, struct format **ret, struct err *err)
{
    OWN(format) *format = calloc(1, sizeof *format);
    if (!format)
        return err_set(err, -ENOMEM, "no memory to open '%.160s'", path);
    format->folder = -1;
    if (folder >= 0) {
        format->folder = fcntl(folder, F_DUPFD_CLOEXEC, 0);
        if (format->folder < 0) {
            int code = -errno;
            return err_set(err, code, "cannot open '%.160s': %s", path, strerror(-code));
        }
    }
    format->path = strdup(path);
    format->part = malloc(sizeof *format->part);
    if (!format->path || !format->part)
        return err_set(err, -ENOMEM, "no memory to open '%.160s'", path);

    int r = open_named(format, err);
    if (r < 0)
        return r;
    r = format->reader->open(path, format, err);
    if (r < 0)
        return r;
    assert(format->n_tensors == format->room && format->meta);
    r = check_names_differ(format, err);
    if (r < 0)
        return r;
    if (!format->stack) /* else the reader has checked where the sources lie */
        r = settle(format, err);
    for (int i = 0; i < format->n_parts && r == 0; i++)
        r = part_check_unchanged(&format->part[i], err);
    if (r < 0)
        return r;

    *ret = TAKE(format);
    return 0;
}

int format_open(const char *path, struct format **ret, struct err *err)
{
    return open_format(-1, path, ret, err);
}

int format_open_at(int folder, const char *path, struct format **ret, struct err *err)
{
    assert(folder >= 0);
    return open_format(folder, path, ret, err);
}

int format_folder(const struct format *format, const char *inside, int *ret, struct err *err)
{
    if (format->folder < 0)
        return part_folder(inside, ret, err);
    int fd = fcntl(format->folder, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        int code = -errno;
        return err_set(err, code, "cannot open the folder of '%.160s': %s", inside,
                       strerror(-code));
    }
    *ret = fd;
    return 0;
}

void format_close(struct format *format)
{
    if (!format)
        return;
    int saved = errno;
    meta_free(format->meta);
    free(format->tensor);
    free(format->name);
    free(format->by_name);
    free(format->stack);
    free(format->source);
    free(format->path);
    for (int i = 0; i < format->n_parts; i++)
        part_close(&format->part[i]);
    free(format->part);
    if (format->folder >= 0)
        close(format->folder);
    free(format);
    errno = saved;
}

/* ------------------------------------------------------------------ questions */

const char *format_path(const struct format *format)
{
    return format->path;
}

const char *format_kind(const struct format *format)
{
    return format->kind;
}

uint64_t format_file_bytes(const struct format *format)
{
    uint64_t bytes = 0;
    for (int i = 0; i < format->n_parts; i++)
        bytes += format->part[i].bytes; /* 512 files of less than 2^63 bytes that a disk holds */
    return bytes;
}

bool format_stamp(const struct format *format, int i, struct format_stamp *ret)
{
    struct stat st;
    if (i >= format->n_parts || fstat(format->part[i].fd, &st) < 0)
        return false;
    *ret = (struct format_stamp){.inode = (uint64_t)st.st_ino,
                                 .bytes = (uint64_t)st.st_size,
                                 .modified = st.st_mtim,
                                 .changed = st.st_ctim};
    return true;
}

const struct meta *format_meta(const struct format *format)
{
    return format->meta;
}

int format_n_tensors(const struct format *format)
{
    return (int)format->n_tensors;
}

const struct tensor *format_tensor(const struct format *format, int i)
{
    return i >= 0 && (uint32_t)i < format->n_tensors ? &format->tensor[i] : NULL;
}

const struct tensor *format_find(const struct format *format, const char *name)
{
    uint32_t low = 0, high = format->n_tensors;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint32_t i = format->by_name[middle];
        int order = strcmp(name, format->name[i]);
        if (order == 0)
            return &format->tensor[i];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int format_read(const struct format *format, const struct tensor *tensor, uint64_t offset,
                void *dst, size_t bytes, struct err *err)
{
    const struct part *part = &format->part[tensor->part];
    if (offset > tensor->bytes || bytes > tensor->bytes - offset)
        return err_set(err, -EINVAL,
                       "'%s', tensor '%s': asked for %zu bytes at %" PRIu64 ", but it has %" PRIu64,
                       part->label, tensor->name, bytes, offset, tensor->bytes);
    if (format->stack)
        return stack_read(format, tensor, offset, dst, bytes, err);
    int r = part_read(part, tensor->offset + offset, dst, bytes, err);
    if (r < 0)
        return r;
    return part_check_unchanged(part, err);
}
