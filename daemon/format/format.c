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

#include "format/meta.h"
#include "format/reader.h"
#include "format/table.h"

/* A new container: its file, and a line here. */
static const struct format_reader *const format_table[] = {
    &format_gguf,
};

enum { SNIFF_BYTES = 16 };

/* ------------------------------------------------------------------ tensors */

int format_expect_tensors(struct format *format, uint64_t n, struct err *err)
{
    assert(n <= FORMAT_MAX_TENSORS && !format->tensor);
    format->tensor = calloc((size_t)n + 1, sizeof *format->tensor);
    format->name = calloc((size_t)n + 1, sizeof *format->name);
    format->by_name = calloc((size_t)n + 1, sizeof *format->by_name);
    if (!format->tensor || !format->name || !format->by_name)
        return err_set(err, -ENOMEM, "'%s': no memory for %" PRIu64 " tensors", format->label, n);
    format->room = (uint32_t)n;
    return 0;
}

int format_check_name(const struct format *format, const char *name, size_t bytes, struct err *err)
{
    if (bytes == 0 || bytes >= FORMAT_NAME_BYTES)
        return err_set(err, -EINVAL, "'%s', tensor %u: found a name of %zu bytes, expected 1 to %d",
                       format->label, format->n_tensors, bytes, FORMAT_NAME_BYTES - 1);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f)
            return err_set(err, -EINVAL,
                           "'%s', tensor %u: found byte 0x%02x in its name, expected text",
                           format->label, format->n_tensors, c);
    }
    if (!reader_is_utf8(name, bytes))
        return err_set(err, -EINVAL, "'%s', tensor %u: its name is not UTF-8", format->label,
                       format->n_tensors);
    return 0;
}

int format_add_tensor(struct format *format, const char *name, size_t name_bytes, enum mk_type type,
                      const uint64_t *dims, int n_dims, uint64_t offset, struct err *err)
{
    assert(format->n_tensors < format->room && (unsigned)type < MK_TYPE_COUNT);
    int r = format_check_name(format, name, name_bytes, err);
    if (r < 0)
        return r;
    char *kept = format->name[format->n_tensors];
    memcpy(kept, name, name_bytes);
    kept[name_bytes] = '\0';

    if (n_dims < 1 || n_dims > TENSOR_MAX_DIMS)
        return err_set(err, -EINVAL, "'%s', tensor '%s': found %d dimensions, expected 1 to %d",
                       format->label, kept, n_dims, TENSOR_MAX_DIMS);
    struct tensor tensor = {.name = kept, .type = type, .n_dims = n_dims, .offset = offset};
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) {
        tensor.dims[i] = i < n_dims ? dims[i] : 1;
        if (tensor.dims[i] == 0)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': dimension %d is 0, expected at least 1",
                           format->label, kept, i);
    }
    const struct mk_type_info *info = &mk_type_info[type];
    if (tensor.dims[0] % info->block_elements)
        return err_set(err, -EINVAL,
                       "'%s', tensor '%s': dimension 0 is %" PRIu64
                       ", expected a multiple of %u, the block of type %s",
                       format->label, kept, tensor.dims[0], info->block_elements, info->name);
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
                       format->label, kept, tensor.dims[0], tensor.dims[1], tensor.dims[2],
                       tensor.dims[3]);
    format->tensor[format->n_tensors++] = tensor;
    return 0;
}

static int compare_names(const void *a, const void *b, void *arg)
{
    const struct format *format = arg;
    return strcmp(format->name[*(const uint32_t *)a], format->name[*(const uint32_t *)b]);
}

static int compare_offsets(const void *a, const void *b, void *arg)
{
    const struct format *format = arg;
    uint64_t x = format->tensor[*(const uint32_t *)a].offset;
    uint64_t y = format->tensor[*(const uint32_t *)b].offset;
    return x < y ? -1 : x > y;
}

static int check_names_differ(struct format *format, struct err *err)
{
    uint32_t *order = format->by_name;
    for (uint32_t i = 0; i < format->n_tensors; i++)
        order[i] = i;
    qsort_r(order, (size_t)format->n_tensors, sizeof *order, compare_names, format);
    for (uint32_t i = 1; i < format->n_tensors; i++)
        if (strcmp(format->name[order[i - 1]], format->name[order[i]]) == 0)
            return err_set(err, -EINVAL, "'%s', tensor '%s': found twice, expected once",
                           format->label, format->name[order[i]]);
    return 0;
}

/* Each tensor's data: aligned, and inside the file; offsets become those of the file. */
static int place_tensors(struct format *format, struct err *err)
{
    if (format->n_tensors == 0)
        return 0;
    if (format->data > format->file_bytes)
        return err_set(err, -EINVAL,
                       "'%s': tensor data starts at byte %" PRIu64 ", but the file has %" PRIu64
                       " bytes",
                       format->label, format->data, format->file_bytes);
    uint64_t available = format->file_bytes - format->data;
    for (uint32_t i = 0; i < format->n_tensors; i++) {
        struct tensor *t = &format->tensor[i];
        if (t->offset & (format->alignment - 1))
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': offset %" PRIu64
                           " is not a multiple of the alignment, %" PRIu64,
                           format->label, t->name, t->offset, format->alignment);
        if (t->offset > available || t->bytes > available - t->offset)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': needs %" PRIu64 " bytes at offset %" PRIu64
                           " of the data, but the file has %" PRIu64 " there",
                           format->label, t->name, t->bytes, t->offset,
                           t->offset > available ? 0 : available - t->offset);
        t->offset += format->data; /* ≤ file_bytes, by the line above */
    }
    return 0;
}

/* The data must be accounted for to the byte: an overlap, or a stretch that no tensor owns, means
 * that somebody else reads this file in another way. Padding up to the alignment is no one's. */
static int check_no_overlap(const struct format *format, struct err *err)
{
    OWN_MEM uint32_t *order = calloc((size_t)format->n_tensors + 1, sizeof *order);
    if (!order)
        return err_set(err, -ENOMEM, "'%s': no memory for %u tensors", format->label,
                       format->n_tensors);
    for (uint32_t i = 0; i < format->n_tensors; i++)
        order[i] = i;
    qsort_r(order, (size_t)format->n_tensors, sizeof *order, compare_offsets, (void *)format);
    uint64_t end = format->data;
    for (uint32_t i = 0; i < format->n_tensors; i++) {
        const struct tensor *t = &format->tensor[order[i]];
        const char *before = i ? format->name[order[i - 1]] : "the header";
        if (t->offset < end)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': starts at byte %" PRIu64 ", inside tensor '%s'"
                           ", which ends at %" PRIu64,
                           format->label, t->name, t->offset, before, end);
        if (t->offset - end >= format->alignment)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': starts at byte %" PRIu64 ", %" PRIu64
                           " bytes after the end of %s%s%s, expected less than %" PRIu64
                           " bytes of padding",
                           format->label, t->name, t->offset, t->offset - end, i ? "tensor '" : "",
                           before, i ? "'" : "", format->alignment);
        end = t->offset + t->bytes; /* ≤ file_bytes, see place_tensors() */
    }
    if (format->file_bytes > end && format->file_bytes - end >= format->alignment)
        return err_set(err, -EINVAL,
                       "'%s', byte %" PRIu64 ": found %" PRIu64
                       " bytes after the end of %s, expected less than %" PRIu64
                       " bytes of padding",
                       format->label, end, format->file_bytes - end,
                       format->n_tensors ? "the last tensor" : "the header", format->alignment);
    return 0;
}

/* ------------------------------------------------------------------ open */

/* The path as messages show it: printable, and short enough to leave room for the words. */
static void make_label(char *dst, size_t size, const char *path)
{
    size_t length = strlen(path);
    size_t from = 0;
    if (length >= size) {
        from = length - (size - 4);
        while ((path[from] & 0xc0) == 0x80)
            from++;
    }
    snprintf(dst, size, "%s%s", from ? "..." : "", path + from);
    bool text = reader_is_utf8(dst, strlen(dst));
    for (char *c = dst; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || (!text && (*c & 0x80)))
            *c = '?';
}

static int open_regular(struct format *format, struct err *err)
{
    /* Without O_NONBLOCK the open of a FIFO would wait for its other end. */
    OWN_FD fd = open(format->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENXIO) /* a socket, or a device without a driver */
        return err_set(err, -EINVAL, "'%s': found a special file, expected a regular file",
                       format->label);
    if (fd < 0) {
        int code = -errno;
        return err_set(err, code, "cannot open '%s': %s", format->label, strerror(-code));
    }
    struct stat st;
    if (fstat(fd, &st) < 0) {
        int code = -errno;
        return err_set(err, code, "cannot examine '%s': %s", format->label, strerror(-code));
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "'%s': found a %s, expected a regular file", format->label,
                       S_ISDIR(st.st_mode)    ? "directory"
                       : S_ISFIFO(st.st_mode) ? "FIFO"
                                              : "special file");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        int code = -errno;
        return err_set(err, code, "cannot use '%s': %s", format->label, strerror(-code));
    }
    format->file_bytes = (uint64_t)st.st_size;
    format->changed = st.st_mtim;
    format->fd = TAKE_FD(fd);
    return 0;
}

static int read_exactly(const struct format *format, uint64_t offset, void *dst, size_t bytes,
                        struct err *err)
{
    char *to = dst;
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(format->fd, to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int code = -errno;
            return err_set(err, code, "'%s', byte %" PRIu64 ": cannot read: %s", format->label,
                           offset + done, strerror(-code));
        }
        if (got == 0)
            return err_set(err, -EIO,
                           "'%s', byte %" PRIu64 ": the file ends here, expected %" PRIu64
                           " bytes: it became shorter after it was opened",
                           format->label, offset + done, format->file_bytes);
        done += (size_t)got;
    }
    return 0;
}

/* What was read belongs to the file that was checked, if nobody wrote to it in between. */
static int check_unchanged(const struct format *format, struct err *err)
{
    struct stat st;
    if (fstat(format->fd, &st) < 0) {
        int code = -errno;
        return err_set(err, code, "cannot examine '%s': %s", format->label, strerror(-code));
    }
    if ((uint64_t)st.st_size != format->file_bytes || st.st_mtim.tv_sec != format->changed.tv_sec ||
        st.st_mtim.tv_nsec != format->changed.tv_nsec)
        return err_set(err, -EIO,
                       "'%s': it was changed after it was opened: found %lld bytes, expected "
                       "%" PRIu64 " and the same time of change",
                       format->label, (long long)st.st_size, format->file_bytes);
    return 0;
}

static int choose_reader(struct format *format, struct err *err)
{
    unsigned char head[SNIFF_BYTES] = {0};
    size_t bytes = format->file_bytes < sizeof head ? (size_t)format->file_bytes : sizeof head;
    if (bytes < 4)
        return err_set(err, -EINVAL, "'%s': found %zu bytes, too few for any model file",
                       format->label, bytes);
    int r = read_exactly(format, 0, head, bytes, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof format_table / sizeof *format_table; i++) {
        format->reader = format_table[i];
        if (format->reader->sniff(head, bytes))
            return 0;
    }
    return err_set(err, -EINVAL, "'%s', byte 0: found %02x %02x %02x %02x, expected \"GGUF\"",
                   format->label, head[0], head[1], head[2], head[3]);
}

int format_open(const char *path, struct format **ret, struct err *err)
{
    OWN(format) *format = calloc(1, sizeof *format);
    if (!format)
        return err_set(err, -ENOMEM, "no memory to open a model file");
    format->fd = -1;
    make_label(format->label, sizeof format->label, path);
    format->path = strdup(path);
    if (!format->path)
        return err_set(err, -ENOMEM, "no memory to open '%s'", format->label);

    int r = open_regular(format, err);
    if (r < 0)
        return r;
    r = choose_reader(format, err);
    if (r < 0)
        return r;
    r = format->reader->open(path, format, err);
    if (r < 0)
        return r;
    assert(format->n_tensors == format->room && format->meta && format->alignment > 0);
    r = check_names_differ(format, err);
    if (r < 0)
        return r;
    r = place_tensors(format, err);
    if (r < 0)
        return r;
    r = check_no_overlap(format, err);
    if (r < 0)
        return r;
    r = check_unchanged(format, err);
    if (r < 0)
        return r;

    *ret = TAKE(format);
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
    free(format->path);
    if (format->fd >= 0)
        close(format->fd);
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
    return format->file_bytes;
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
    if (offset > tensor->bytes || bytes > tensor->bytes - offset)
        return err_set(err, -EINVAL,
                       "'%s', tensor '%s': asked for %zu bytes at %" PRIu64 ", but it has %" PRIu64,
                       format->label, tensor->name, bytes, offset, tensor->bytes);
    int r = read_exactly(format, tensor->offset + offset, dst, bytes, err);
    if (r < 0)
        return r;
    return check_unchanged(format, err);
}
