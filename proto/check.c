/* SPDX-License-Identifier: MIT
 *
 * What a message from a peer may look like, looked at before protobuf-c spends memory on it.
 * Pure; any thread.
 */
#include "ttrpc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ttrpc.pb-c.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct walk {
    const uint8_t *at;
    size_t left;
    int *n_fields; /* of the whole message */
    char *words;
};

/* An expression, so that the compiler sees that its value is an error. */
#define SAY(walk, ...)     SAY_TO((walk)->words, __VA_ARGS__)
#define SAY_TO(words, ...) (say((words), __VA_ARGS__), -EBADMSG)

static void __attribute__((format(printf, 2, 3))) say(char *words, const char *fmt, ...)
{
    if (words) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(words, TTRPC_WORDS, fmt, args);
        va_end(args);
    }
}

bool ttrpc_is_utf8(const void *bytes, size_t n)
{
    const uint8_t *s = bytes;
    size_t i = 0;
    while (i < n) {
        uint8_t lead = s[i];
        if (lead < 0x80) {
            i++;
            continue;
        }
        size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || n - i <= more)
            return false;
        /* The second byte rules out overlong forms, surrogates and what lies above U+10FFFF. */
        uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (s[i + 1] < least || s[i + 1] > most)
            return false;
        for (size_t j = 2; j <= more; j++)
            if ((s[i + j] & 0xc0) != 0x80)
                return false;
        i += more + 1;
    }
    return true;
}

static int take_varint(struct walk *w, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 10 && i < w->left; i++) {
        value |= (uint64_t)(w->at[i] & 0x7f) << (7 * i);
        if (w->at[i] & 0x80)
            continue;
        w->at += i + 1;
        w->left -= i + 1;
        *ret = value;
        return 0;
    }
    return -EBADMSG;
}

static int check_message(const ProtobufCMessageDescriptor *type, struct walk *w, int depth);

static int check_bytes(const ProtobufCMessageDescriptor *type,
                       const ProtobufCFieldDescriptor *field, struct walk *w, size_t n, int depth)
{
    if (!field)
        return 0;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (!ttrpc_is_utf8(w->at, n))
            return SAY(w, "%s.%s is not valid UTF-8", type->short_name, field->name);
        if (memchr(w->at, 0, n))
            return SAY(w, "%s.%s has a NUL byte in it", type->short_name, field->name);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        struct walk inner = {w->at, n, w->n_fields, w->words};
        return check_message(field->descriptor, &inner, depth + 1);
    }
    return 0;
}

/* One field's key and size; a varint is already behind us then and its size is 0. */
static int take_key(const char *name, struct walk *w, unsigned *number, unsigned *wire,
                    uint64_t *size)
{
    uint64_t key, value;
    if (take_varint(w, &key) < 0)
        return SAY(w, "%s: a field key is cut or too long", name);
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return SAY(w, "%s: field number %llu is none", name, (unsigned long long)(key >> 3));
    *number = (unsigned)(key >> 3);
    *wire = (unsigned)(key & 7);
    *size = *wire == WIRE_FIXED64 ? 8 : *wire == WIRE_FIXED32 ? 4 : 0;
    if (*wire > WIRE_BYTES && *wire != WIRE_FIXED32)
        return SAY(w, "%s: field %u has wire type %u, which is not taken", name, *number, *wire);
    if (*wire == WIRE_VARINT && take_varint(w, &value) < 0)
        return SAY(w, "%s: the number in field %u is cut or too long", name, *number);
    if (*wire == WIRE_BYTES && take_varint(w, size) < 0)
        return SAY(w, "%s: the length of field %u is cut or too long", name, *number);
    if (*size > w->left)
        return SAY(w, "%s: field %u has %llu bytes, %zu are left", name, *number,
                   (unsigned long long)*size, w->left);
    return 0;
}

static int check_field(const ProtobufCMessageDescriptor *type, struct walk *w, int depth)
{
    unsigned number, wire;
    uint64_t size;
    int r = take_key(type->short_name, w, &number, &wire, &size);
    if (r < 0)
        return r;
    if (wire == WIRE_BYTES) {
        r = check_bytes(type, protobuf_c_message_descriptor_get_field(type, number), w,
                        (size_t)size, depth);
        if (r < 0)
            return r;
    }
    w->at += size;
    w->left -= (size_t)size;
    return 0;
}

static int check_message(const ProtobufCMessageDescriptor *type, struct walk *w, int depth)
{
    if (depth > TTRPC_MAX_DEPTH)
        return SAY(w, "messages nested more than %d deep", TTRPC_MAX_DEPTH);
    while (w->left > 0) {
        if (++*w->n_fields > TTRPC_MAX_FIELDS)
            return SAY(w, "more than %d fields in one message", TTRPC_MAX_FIELDS);
        int r = check_field(type, w, depth);
        if (r < 0)
            return r;
    }
    return 0;
}

int ttrpc_check(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n, char *words)
{
    int n_fields = 0;
    struct walk w = {bytes, n, &n_fields, words};
    return check_message(type, &w, 1);
}

bool ttrpc_peek(const void *bytes, size_t n, unsigned number, const char **ret, size_t *n_ret)
{
    struct walk w = {bytes, n, NULL, NULL};
    *ret = NULL;
    *n_ret = 0;
    for (int n_fields = 0; w.left > 0; n_fields++) {
        unsigned found, wire;
        uint64_t size;
        if (n_fields == TTRPC_MAX_FIELDS || take_key("", &w, &found, &wire, &size) < 0)
            return false;
        if (found == number && wire == WIRE_BYTES) {
            *ret = (const char *)w.at;
            *n_ret = (size_t)size;
        }
        w.at += size;
        w.left -= (size_t)size;
    }
    return true;
}

ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                               char *words)
{
    if (ttrpc_check(type, bytes, n, words) < 0)
        return NULL;
    /* protobuf-c asks for a pointer even where there is nothing to read. */
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, NULL, n, n ? bytes : (const uint8_t *)"");
    if (!message)
        say(words, "%s: a field has another wire type than its own, or there is no memory",
            type->short_name);
    return message;
}

static size_t length(const char *text)
{
    return text ? strlen(text) : 0;
}

int ttrpc_check_metadata(const struct Ttrpc__Request *request, char *words)
{
    if (request->n_metadata > TTRPC_MAX_METADATA)
        return SAY_TO(words, "%zu pairs of metadata, at most %d are taken", request->n_metadata,
                      TTRPC_MAX_METADATA);
    size_t bytes = 0;
    for (size_t i = 0; i < request->n_metadata; i++)
        bytes += length(request->metadata[i]->key) + length(request->metadata[i]->value);
    if (bytes > TTRPC_MAX_METADATA_BYTES)
        return SAY_TO(words, "%zu bytes of metadata, at most %d are taken", bytes,
                      TTRPC_MAX_METADATA_BYTES);
    return 0;
}
