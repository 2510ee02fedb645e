/* SPDX-License-Identifier: MIT
 *
 * The keys of a GGUF file: every value type checked and stored in struct meta. Nothing is trusted
 * but what struct reader gave. Belongs to the thread that opens the file.
 */
#include "format/gguf_keys.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "format/meta.h"
#include "format/reader.h"

enum {
    MAX_NESTING = 64,          /* arrays in arrays: legal, and no known file has any */
    LEAST_ARRAY_BYTES = 4 + 8, /* element type, count */
    LEAST_STRING_BYTES = 8,    /* length */
};

/* ------------------------------------------------------------------ value types */

enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_STR,
    VALUE_ARRAY,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64,
    VALUE_TYPE_COUNT
};

static const struct value_info {
    const char *name;
    enum meta_kind kind;
    unsigned least; /* bytes of one, of a string or an array the least */
} value_info[VALUE_TYPE_COUNT] = {
    [VALUE_U8] = {"u8", META_UINT, 1},
    [VALUE_I8] = {"i8", META_INT, 1},
    [VALUE_U16] = {"u16", META_UINT, 2},
    [VALUE_I16] = {"i16", META_INT, 2},
    [VALUE_U32] = {"u32", META_UINT, 4},
    [VALUE_I32] = {"i32", META_INT, 4},
    [VALUE_F32] = {"f32", META_FLOAT, 4},
    [VALUE_BOOL] = {"bool", META_BOOL, 1},
    [VALUE_STR] = {"string", META_STR, LEAST_STRING_BYTES},
    [VALUE_ARRAY] = {"array", META_ARRAY, LEAST_ARRAY_BYTES},
    [VALUE_U64] = {"u64", META_UINT, 8},
    [VALUE_I64] = {"i64", META_INT, 8},
    [VALUE_F64] = {"f64", META_FLOAT, 8},
};

static int read_value_type(struct reader *in, const char *what, enum value_type *ret)
{
    uint64_t offset = in->pos;
    uint32_t type;
    int r = reader_u32(in, what, &type);
    if (r < 0)
        return r;
    if (type >= VALUE_TYPE_COUNT)
        return reader_fail(in, offset, -EINVAL, "%s is %" PRIu32 ", expected 0 to %d", what, type,
                           VALUE_TYPE_COUNT - 1);
    *ret = (enum value_type)type;
    return 0;
}

/* One number or bool, widened. */
static int read_scalar(struct reader *in, enum value_type type, union meta_scalar *ret)
{
    uint64_t offset = in->pos;
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } raw = {0};
    int r = reader_bytes(in, &raw, value_info[type].least, "the value");
    if (r < 0)
        return r;
    uint16_t u16 = le16toh(raw.u16);
    uint32_t u32 = le32toh(raw.u32);
    uint64_t u64 = le64toh(raw.u64);
    float f32;
    switch (type) {
    case VALUE_U8:
        ret->u = raw.u8;
        return 0;
    case VALUE_I8:
        ret->i = (int8_t)raw.u8;
        return 0;
    case VALUE_U16:
        ret->u = u16;
        return 0;
    case VALUE_I16:
        ret->i = (int16_t)u16;
        return 0;
    case VALUE_U32:
        ret->u = u32;
        return 0;
    case VALUE_I32:
        ret->i = (int32_t)u32;
        return 0;
    case VALUE_U64:
        ret->u = u64;
        return 0;
    case VALUE_I64:
        ret->i = (int64_t)u64;
        return 0;
    case VALUE_F32:
        memcpy(&f32, &u32, sizeof f32);
        ret->f = f32;
        return 0;
    case VALUE_F64:
        memcpy(&ret->f, &u64, sizeof ret->f);
        return 0;
    default:
        break;
    }
    if (raw.u8 > 1)
        return reader_fail(in, offset, -EINVAL, "a bool is %u, expected 0 or 1", raw.u8);
    ret->b = raw.u8;
    return 0;
}

/* ------------------------------------------------------------------ strings */

/* Bytes of known length to dst, which has room; checks UTF-8 and adds the NUL. */
static int read_text(struct reader *in, char *dst, size_t bytes, const char *what)
{
    uint64_t offset = in->pos;
    int r = reader_bytes(in, dst, bytes, what);
    if (r < 0)
        return r;
    dst[bytes] = '\0';
    if (!reader_is_utf8(dst, bytes))
        return reader_fail(in, offset, -EINVAL, "%s of %zu bytes is not UTF-8", what, bytes);
    return 0;
}

static int read_string(struct reader *in, struct meta_value *v)
{
    uint64_t bytes;
    int r = reader_count(in, 1, "the length of the string", &bytes);
    if (r < 0)
        return r;
    uint64_t offset = in->pos;
    if (bytes > READER_HEADER_MAX) /* before malloc; the reader would say so anyway */
        return reader_skip(in, bytes, "the string");
    v->text = malloc((size_t)bytes + 1);
    if (!v->text)
        return reader_fail(in, offset, -ENOMEM, "no memory for %" PRIu64 " bytes", bytes);
    v->bytes = (size_t)bytes;
    r = read_text(in, v->text, v->bytes, "the string");
    if (r < 0)
        return r;
    if (memchr(v->text, '\0', v->bytes))
        return reader_fail(in, offset, -EINVAL, "the string has a NUL inside, expected text");
    return 0;
}

/* ------------------------------------------------------------------ arrays */

static int read_strings(struct reader *in, struct meta_value *v)
{
    uint64_t table = in->pos;
    v->start = malloc(((size_t)v->n + 1) * sizeof *v->start);
    if (!v->start)
        return reader_fail(in, table, -ENOMEM, "no memory for %" PRIu64 " strings", v->n);
    size_t used = 0, room = 0;
    v->start[0] = 0;
    for (uint64_t i = 0; i < v->n; i++) {
        uint64_t bytes;
        int r = reader_count(in, 1, "the length of a string", &bytes);
        if (r < 0)
            return r;
        if (bytes > READER_HEADER_MAX)
            return reader_skip(in, bytes, "a string");
        /* used and bytes are each below 2^29: all of the header, and a NUL a string */
        if (room - used < (size_t)bytes + 1) {
            size_t more = (used + (size_t)bytes + 1) * 2;
            char *text = realloc(v->text, more);
            if (!text)
                return reader_fail(in, table, -ENOMEM, "no memory for %zu bytes of strings", more);
            v->text = text;
            room = more;
        }
        r = read_text(in, v->text + used, (size_t)bytes, "a string");
        if (r < 0)
            return r;
        used += (size_t)bytes + 1;
        v->start[i + 1] = (uint32_t)used;
    }
    if (used) {
        char *text = realloc(v->text, used);
        if (text)
            v->text = text;
    }
    return 0;
}

/* Integers are kept as int32; of an array that does not fit, only the reason is kept. */
static int read_integers(struct reader *in, enum value_type type, struct meta *meta,
                         struct meta_value *v)
{
    uint64_t offset = in->pos;
    if (v->n > READER_HEADER_MAX) /* at least so many bytes: let the reader refuse them */
        return reader_skip(in, v->n, "the array");
    if (value_info[type].least < sizeof *v->ints) {
        uint64_t widened = v->n * sizeof *v->ints;
        if (widened > META_WIDENED_MAX - meta->widened)
            v->misfit = "more than are kept of that width";
        else
            meta->widened += widened;
    }
    if (!v->misfit) {
        v->ints = malloc((size_t)v->n * sizeof *v->ints + 1);
        if (!v->ints)
            return reader_fail(in, offset, -ENOMEM, "no memory for %" PRIu64 " integers", v->n);
    }
    bool is_signed = value_info[type].kind == META_INT;
    for (uint64_t i = 0; i < v->n; i++) {
        union meta_scalar s;
        int r = read_scalar(in, type, &s);
        if (r < 0)
            return r;
        if (v->misfit)
            continue;
        if (is_signed ? s.i < INT32_MIN || s.i > INT32_MAX : s.u > INT32_MAX) {
            v->misfit = "one of them beyond 32 bits signed";
            free(v->ints);
            v->ints = NULL;
            continue;
        }
        v->ints[i] = is_signed ? (int32_t)s.i : (int32_t)s.u;
    }
    return 0;
}

static int skip_string(struct reader *in)
{
    uint64_t bytes;
    int r = reader_count(in, 1, "the length of a string", &bytes);
    if (r < 0)
        return r;
    return reader_skip(in, bytes, "a string");
}

static int read_array_head(struct reader *in, enum value_type *type, uint64_t *n)
{
    int r = read_value_type(in, "the type of the elements", type);
    if (r < 0)
        return r;
    return reader_count(in, value_info[*type].least, "the number of elements", n);
}

/* Arrays of arrays are walked for their structure and not kept: no key of a model needs one. */
static int skip_nested(struct reader *in, uint64_t n)
{
    struct {
        enum value_type type;
        uint64_t left;
    } level[MAX_NESTING];
    int depth = 0;
    level[0].type = VALUE_ARRAY;
    level[0].left = n;
    while (depth >= 0) {
        if (level[depth].left == 0) {
            depth--;
            continue;
        }
        level[depth].left--;
        enum value_type type = level[depth].type;
        int r;
        if (type == VALUE_ARRAY) {
            if (depth + 1 == MAX_NESTING)
                return reader_fail(in, in->pos, -EINVAL,
                                   "arrays are nested deeper than %d, the most accepted",
                                   MAX_NESTING);
            depth++;
            r = read_array_head(in, &level[depth].type, &level[depth].left);
        } else if (type == VALUE_STR) {
            r = skip_string(in);
        } else {
            union meta_scalar s;
            r = read_scalar(in, type, &s);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_array(struct reader *in, struct meta *meta, struct meta_value *v)
{
    enum value_type type;
    int r = read_array_head(in, &type, &v->n);
    if (r < 0)
        return r;
    v->type = value_info[type].name;
    v->element = value_info[type].kind;
    switch (v->element) {
    case META_STR:
        if (v->n > READER_HEADER_MAX / LEAST_STRING_BYTES)
            return reader_skip(in, v->n * LEAST_STRING_BYTES, "the array"); /* n · 8 ≤ remaining */
        return read_strings(in, v);
    case META_UINT:
    case META_INT:
        return read_integers(in, type, meta, v);
    case META_ARRAY:
        return skip_nested(in, v->n);
    case META_FLOAT:
        return reader_skip(in, v->n * value_info[type].least, "the array"); /* ≤ remaining */
    case META_BOOL:
        break;
    }
    for (uint64_t i = 0; i < v->n; i++) {
        union meta_scalar s;
        r = read_scalar(in, type, &s);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ------------------------------------------------------------------ keys */

/* Keys whose type the format's description fixes, checked also where nobody asks for the value: a
 * file that is wrong there was not written by what it claims. Integers may be of any width. */
static const struct {
    const char *key;
    enum meta_kind kind; /* META_UINT: any integer */
    enum meta_kind element;
} standard_keys[] = {
    {"general.architecture", META_STR},
    {"general.type", META_STR},
    {"general.name", META_STR},
    {"general.alignment", META_UINT},
    {"general.file_type", META_UINT},
    {"general.quantization_version", META_UINT},
    {"split.no", META_UINT},
    {"split.count", META_UINT},
    {"split.tensors.count", META_UINT},
    {"tokenizer.ggml.model", META_STR},
    {"tokenizer.ggml.pre", META_STR},
    {"tokenizer.ggml.tokens", META_ARRAY, META_STR},
    {"tokenizer.ggml.token_type", META_ARRAY, META_UINT},
    {"tokenizer.ggml.scores", META_ARRAY, META_FLOAT},
    {"tokenizer.ggml.merges", META_ARRAY, META_STR},
    {"tokenizer.ggml.bos_token_id", META_UINT},
    {"tokenizer.ggml.eos_token_id", META_UINT},
    {"tokenizer.ggml.eot_token_id", META_UINT},
    {"tokenizer.ggml.eom_token_id", META_UINT},
    {"tokenizer.ggml.unknown_token_id", META_UINT},
    {"tokenizer.ggml.padding_token_id", META_UINT},
    {"tokenizer.ggml.seperator_token_id", META_UINT},
    {"tokenizer.ggml.add_bos_token", META_BOOL},
    {"tokenizer.ggml.add_eos_token", META_BOOL},
    {"tokenizer.ggml.add_space_prefix", META_BOOL},
    {"tokenizer.ggml.ignore_merges", META_BOOL},
    {"tokenizer.chat_template", META_STR},
};

static const char *const kind_names[] = {
    [META_UINT] = "an integer", [META_FLOAT] = "f32 or f64", [META_BOOL] = "bool",
    [META_STR] = "a string",    [META_ARRAY] = "an array",
};

static bool is_kind(enum meta_kind found, enum meta_kind expected)
{
    return found == expected || (found == META_INT && expected == META_UINT);
}

static int check_standard_key(const struct reader *in, const struct meta_value *v, uint64_t offset)
{
    size_t i = 0, n = sizeof standard_keys / sizeof *standard_keys;
    while (i < n && strcmp(standard_keys[i].key, v->key))
        i++;
    if (i == n)
        return 0;
    enum meta_kind kind = standard_keys[i].kind, element = standard_keys[i].element;
    if (is_kind(v->kind, kind) && (kind != META_ARRAY || is_kind(v->element, element)))
        return 0;
    return reader_fail(in, offset, -EINVAL, "found %s%s, expected %s%s%s",
                       v->kind == META_ARRAY ? "an array of " : "type ", v->type, kind_names[kind],
                       kind == META_ARRAY ? " of elements each " : "",
                       kind == META_ARRAY ? kind_names[element] : "");
}

static int read_key(struct reader *in, uint64_t i, char **ret)
{
    reader_where(in, "key %" PRIu64, i);
    uint64_t offset = in->pos;
    uint64_t bytes;
    int r = reader_count(in, 1, "the length of the key", &bytes);
    if (r < 0)
        return r;
    if (bytes == 0 || bytes > META_MAX_KEY_BYTES)
        return reader_fail(in, offset, -EINVAL,
                           "found a key of %" PRIu64 " bytes, expected 1 to %d", bytes,
                           META_MAX_KEY_BYTES);
    OWN_MEM char *key = malloc((size_t)bytes + 1);
    if (!key)
        return reader_fail(in, offset, -ENOMEM, "no memory for a key of %" PRIu64 " bytes", bytes);
    offset = in->pos;
    r = reader_bytes(in, key, (size_t)bytes, "the key");
    if (r < 0)
        return r;
    key[bytes] = '\0';
    for (size_t k = 0; k < bytes; k++)
        if (key[k] < 0x20 || key[k] > 0x7e)
            return reader_fail(in, offset + k, -EINVAL,
                               "found byte 0x%02x in the key, expected printable ASCII",
                               (unsigned char)key[k]);
    *ret = TAKE(key);
    return 0;
}

int gguf_keys_read(struct reader *in, uint64_t n, struct meta **ret)
{
    OWN(meta) *meta = NULL;
    int r = meta_new(in->label, n, &meta);
    if (r < 0)
        return reader_fail(in, in->pos, r, "no memory for %" PRIu64 " keys", n);
    for (uint64_t i = 0; i < n; i++) {
        char *key = NULL;
        r = read_key(in, i, &key);
        if (r < 0)
            return r;
        struct meta_value *v = meta_append(meta, key);
        reader_where(in, "key '%.100s'", key);
        uint64_t offset = in->pos;
        enum value_type type;
        r = read_value_type(in, "the type of the value", &type);
        if (r < 0)
            return r;
        v->type = value_info[type].name;
        v->kind = value_info[type].kind;
        if (type == VALUE_STR) {
            r = read_string(in, v);
        } else if (type == VALUE_ARRAY) {
            r = read_array(in, meta, v);
        } else {
            union meta_scalar s;
            r = read_scalar(in, type, &s);
            if (r == 0)
                v->scalar = s;
        }
        if (r < 0)
            return r;
        r = check_standard_key(in, v, offset);
        if (r < 0)
            return r;
    }
    reader_where(in, "%s", "");
    r = meta_seal(meta, in->err);
    if (r < 0)
        return r;
    *ret = TAKE(meta);
    return 0;
}
