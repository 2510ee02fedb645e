/* SPDX-License-Identifier: MIT
 *
 * The header of one safetensors file. See safetensors.h.
 *
 * Source: the format's description, github.com/huggingface/safetensors.
 */
#include "format/safetensors.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "format/json.h"

enum { LENGTH_BYTES = 8 };
#define HEADER_MAX UINT64_C(100000000) /* the format's own limit */

const char *const st_dtype_name[ST_DTYPE_COUNT] = {
#define ST_DTYPE_NAME(name, bits) #name,
    ST_DTYPE_MAP(ST_DTYPE_NAME)
#undef ST_DTYPE_NAME
};

static const uint8_t dtype_bits[ST_DTYPE_COUNT] = {
#define ST_DTYPE_BITS(name, bits) bits,
    ST_DTYPE_MAP(ST_DTYPE_BITS)
#undef ST_DTYPE_BITS
};

struct header { /* one file being read */
    struct json json;
    const struct part *part;
    struct st_list *list;
    uint64_t data, data_bytes;
    uint16_t index;
};

bool safetensors_sniff(const void *head, size_t bytes)
{
    uint64_t length;
    if (bytes <= LENGTH_BYTES)
        return false;
    memcpy(&length, head, sizeof length);
    return le64toh(length) <= HEADER_MAX && ((const char *)head)[LENGTH_BYTES] == '{';
}

/* ------------------------------------------------------------------ one tensor */

static int read_dtype(struct header *h, const char *name, uint8_t *ret)
{
    struct json_text text;
    int r = json_string(&h->json, &text);
    if (r < 0)
        return r;
    for (int i = 0; i < ST_DTYPE_COUNT; i++) {
        if (!json_is(&text, st_dtype_name[i]))
            continue;
        *ret = (uint8_t)i;
        return 0;
    }
    return json_fail(&h->json, -ENOTSUP,
                     "tensor '%.100s' has the dtype '%.20s', expected BF16, F16, F32 or F8_E4M3",
                     name, text.at);
}

static int read_shape(struct header *h, const char *name, struct st_tensor *tensor,
                      uint64_t *elements)
{
    int r = json_array(&h->json);
    *elements = 1;
    while (r == 0 && (r = json_item(&h->json)) > 0) {
        if (tensor->n_dims == ST_MAX_DIMS)
            return json_fail(&h->json, -EINVAL, "tensor '%.100s' has more than %d dimensions", name,
                             ST_MAX_DIMS);
        uint64_t dim = 0;
        r = json_u64(&h->json, &dim);
        if (r < 0)
            return r;
        if (__builtin_mul_overflow(*elements, dim, elements) || dim > INT64_MAX)
            return json_fail(&h->json, -EINVAL,
                             "tensor '%.100s' has a shape whose product is beyond 64 bits", name);
        if (tensor->n_dims < 2)
            tensor->dims[tensor->n_dims] = dim;
        tensor->n_dims++;
    }
    return r;
}

static int read_offsets(struct header *h, const char *name, struct st_tensor *tensor)
{
    uint64_t end[2] = {0};
    int n = 0;
    int r = json_array(&h->json);
    while (r == 0 && (r = json_item(&h->json)) > 0) {
        if (n == 2)
            return json_fail(&h->json, -EINVAL, "tensor '%.100s' has more than two data_offsets",
                             name);
        r = json_u64(&h->json, &end[n++]);
    }
    if (r < 0)
        return r;
    if (n != 2)
        return json_fail(&h->json, -EINVAL, "tensor '%.100s' has %d data_offsets, expected two",
                         name, n);
    if (end[0] > end[1] || end[1] > h->data_bytes)
        return json_fail(&h->json, -EINVAL,
                         "tensor '%.100s' has data_offsets %" PRIu64 " to %" PRIu64
                         ", but the file has %" PRIu64 " bytes of data",
                         name, end[0], end[1], h->data_bytes);
    tensor->offset = h->data + end[0]; /* ≤ the size of the file, by the line above */
    tensor->bytes = end[1] - end[0];
    return 0;
}

static int check_size(struct header *h, const struct st_tensor *t, uint64_t elements)
{
    uint64_t bits = dtype_bits[t->dtype], all;
    if (__builtin_mul_overflow(elements, bits, &all) || all % 8)
        return json_fail(&h->json, -EINVAL,
                         "tensor '%.100s' has %" PRIu64 " elements of type %s: no whole number of "
                         "bytes that a file can have",
                         t->name, elements, st_dtype_name[t->dtype]);
    if (all / 8 != t->bytes)
        return json_fail(&h->json, -EINVAL,
                         "tensor '%.100s' has data_offsets that span %" PRIu64
                         " bytes, expected %" PRIu64 " for %" PRIu64 " elements of type %s",
                         t->name, t->bytes, all / 8, elements, st_dtype_name[t->dtype]);
    return 0;
}

static int read_tensor(struct header *h, const char *name)
{
    struct st_tensor tensor = {.name = name, .part = h->index, .dims = {1, 1}};
    uint64_t elements = 0;
    bool dtype = false, shape = false, offsets = false;
    struct json_text key;
    int r = json_object(&h->json);
    while (r == 0 && (r = json_key(&h->json, &key)) > 0) {
        if (json_is(&key, "dtype")) {
            dtype = true;
            r = read_dtype(h, name, &tensor.dtype);
        } else if (json_is(&key, "shape")) {
            if (shape)
                return json_fail(&h->json, -EINVAL, "tensor '%.100s' has 'shape' twice", name);
            shape = true;
            r = read_shape(h, name, &tensor, &elements);
        } else if (json_is(&key, "data_offsets")) {
            offsets = true;
            r = read_offsets(h, name, &tensor);
        } else {
            return json_fail(&h->json, -EINVAL,
                             "tensor '%.100s' has the key '%.40s', expected dtype, shape and "
                             "data_offsets",
                             name, key.at);
        }
    }
    if (r < 0)
        return r;
    if (!dtype || !shape || !offsets)
        return json_fail(&h->json, -EINVAL, "tensor '%.100s' lacks %s", name,
                         !dtype   ? "dtype"
                         : !shape ? "shape"
                                  : "data_offsets");
    r = check_size(h, &tensor, elements);
    if (r < 0)
        return r;

    struct st_list *list = h->list;
    if (list->n == ST_MAX_TENSORS)
        return json_fail(&h->json, -EINVAL, "found more than %d tensors, the most accepted",
                         ST_MAX_TENSORS);
    if (list->n == list->room) {
        size_t room = list->room ? list->room + list->room / 2 : 256;
        struct st_tensor *grown = realloc(list->tensor, room * sizeof *grown);
        if (!grown)
            return json_fail(&h->json, -ENOMEM, "no memory for %zu tensors", room);
        list->tensor = grown;
        list->room = room;
    }
    list->tensor[list->n++] = tensor;
    return 0;
}

/* ------------------------------------------------------------------ the whole */

static int read_metadata(struct header *h)
{
    struct json_text text;
    int r = json_object(&h->json);
    while (r == 0 && (r = json_key(&h->json, &text)) > 0)
        r = json_string(&h->json, &text);
    return r;
}

static int read_header(struct header *h)
{
    struct json_text name;
    int r = json_object(&h->json);
    while (r == 0 && (r = json_key(&h->json, &name)) > 0) {
        if (name.bytes == 0)
            return json_fail(&h->json, -EINVAL, "found a tensor with an empty name");
        r = json_is(&name, "__metadata__") ? read_metadata(h) : read_tensor(h, name.at);
    }
    return r < 0 ? r : json_end(&h->json);
}

static int compare_places(const void *a, const void *b, void *arg)
{
    const struct st_tensor *x = (const struct st_tensor *)arg + *(const uint32_t *)a;
    const struct st_tensor *y = (const struct st_tensor *)arg + *(const uint32_t *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* the empty first */
}

/* Bytes that nobody owns, or two do, mean that somebody reads the file in another way. */
static int check_cover(const struct header *h, size_t first, struct err *err)
{
    size_t n = h->list->n - first;
    struct st_tensor *tensor = n ? h->list->tensor + first : NULL;
    OWN_MEM uint32_t *order = calloc(n + 1, sizeof *order);
    if (!order)
        return err_set(err, -ENOMEM, "'%s': no memory for %zu tensors", h->part->label, n);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    if (n)
        qsort_r(order, n, sizeof *order, compare_places, tensor);
    uint64_t end = h->data;
    for (size_t i = 0; i < n; i++) {
        const struct st_tensor *t = &tensor[order[i]];
        if (t->offset != end)
            return err_set(err, -EINVAL,
                           "'%s', tensor '%.100s': starts at byte %" PRIu64
                           " of the data, %s %" PRIu64 ", where %s%.100s ends",
                           h->part->label, t->name, t->offset - h->data,
                           t->offset < end ? "before" : "after a hole from", end - h->data,
                           i ? "tensor " : "the header", i ? tensor[order[i - 1]].name : "");
        end = t->offset + t->bytes; /* ≤ the size of the file, see read_offsets() */
    }
    if (end != h->part->bytes)
        return err_set(err, -EINVAL,
                       "'%s', byte %" PRIu64 ": found %" PRIu64 " bytes after the end of the last "
                       "tensor, expected none",
                       h->part->label, end, h->part->bytes - end);
    return 0;
}

int safetensors_read(const struct part *part, uint16_t index, struct st_list *list, char **text,
                     struct err *err)
{
    uint64_t length;
    if (part->bytes < LENGTH_BYTES)
        return err_set(err, -EINVAL, "'%s': found %" PRIu64 " bytes, too few for safetensors",
                       part->label, part->bytes);
    int r = part_read(part, 0, &length, sizeof length, err);
    if (r < 0)
        return r;
    length = le64toh(length);
    if (length > HEADER_MAX || length > part->bytes - LENGTH_BYTES || length < 2)
        return err_set(err, -EINVAL,
                       "'%s', byte 0: found a header of %" PRIu64 " bytes, expected 2 to %" PRIu64,
                       part->label, length,
                       part->bytes - LENGTH_BYTES < HEADER_MAX ? part->bytes - LENGTH_BYTES
                                                               : HEADER_MAX);
    char *header = malloc((size_t)length);
    if (!header)
        return err_set(err, -ENOMEM, "'%s': no memory for a header of %" PRIu64 " bytes",
                       part->label, length);
    *text = header;
    r = part_read(part, LENGTH_BYTES, header, (size_t)length, err);
    if (r < 0)
        return r;
    if (header[0] != '{')
        return err_set(err, -EINVAL, "'%s', byte 8: found 0x%02x, expected '{'", part->label,
                       (unsigned char)header[0]);
    struct header h = {
        .part = part,
        .list = list,
        .index = index,
        .data = LENGTH_BYTES + length,
        .data_bytes = part->bytes - LENGTH_BYTES - length,
    };
    size_t first = list->n;
    json_init(&h.json, part->label, header, (size_t)length, err);
    h.json.base = LENGTH_BYTES;
    r = read_header(&h);
    json_fini(&h.json);
    if (r == 0)
        r = check_cover(&h, first, err);
    return r;
}
