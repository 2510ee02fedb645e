/* SPDX-License-Identifier: MIT
 *
 * Reflection. Works on the memory layout that protobuf-c's descriptors state; one-ofs, maps and
 * groups are not among our messages and are refused.
 */
#include "moectl/reflect.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/screen.h"

typedef ProtobufCFieldDescriptor Field;

/* ---- to JSON */
static json_t *unsigned_json(uint64_t value)
{
    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    return json_string(digits);
}

static json_t *enum_json(const Field *field, int value)
{
    const ProtobufCEnumValue *known =
        protobuf_c_enum_descriptor_get_value(field->descriptor, value);
    return known ? json_string(known->name) : json_integer(value);
}

static json_t *value_json(const Field *field, const void *at)
{
    const ProtobufCBinaryData *bytes = at;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_integer(*(const int64_t *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return unsigned_json(*(const uint64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return screen_json_real(*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return screen_json_real(*(const double *)at);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_ENUM:
        return enum_json(field, *(const int *)at);
    case PROTOBUF_C_TYPE_STRING:
        return screen_json_word(*(char *const *)at);
    case PROTOBUF_C_TYPE_BYTES:
        return screen_json_hex(bytes->data, bytes->len);
    case PROTOBUF_C_TYPE_MESSAGE:
        return reflect_to_json(*(const ProtobufCMessage *const *)at);
    }
    return json_null();
}

static size_t element_size(const Field *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

static bool is_pointer(const Field *field)
{
    return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
}

static json_t *field_json(const Field *field, const char *base)
{
    const char *at = base + field->offset;
    const char *quantifier = base + field->quantifier_offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        json_t *list = json_array();
        size_t n = *(const size_t *)(const void *)quantifier;
        const char *data = *(const char *const *)(const void *)at;
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, value_json(field, data + i * element_size(field)));
        return list;
    }
    if (is_pointer(field) && !*(void *const *)(const void *)at)
        return NULL;
    if (!is_pointer(field) && field->label != PROTOBUF_C_LABEL_REQUIRED &&
        !*(const protobuf_c_boolean *)(const void *)quantifier)
        return NULL;
    return value_json(field, at);
}

json_t *reflect_to_json(const ProtobufCMessage *message)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const Field *field = &message->descriptor->fields[i];
        json_t *value = field_json(field, (const char *)message);
        if (value)
            json_object_set_new(object, field->name, value);
    }
    return object;
}

/* ---- from JSON */
__attribute__((format(printf, 3, 4))) static int wrong(char *words, const Field *field,
                                                       const char *fmt, ...)
{
    int n = snprintf(words, REFLECT_WORDS, "%s: ", field->name);
    va_list args;
    va_start(args, fmt);
    vsnprintf(words + n, (size_t)(REFLECT_WORDS - n), fmt, args);
    va_end(args);
    return -EINVAL;
}

static int read_signed(const Field *field, const json_t *value, int64_t least, int64_t most,
                       int64_t *ret, char *words)
{
    const char *text = json_string_value(value);
    char *end = NULL;
    errno = 0;
    if (text)
        *ret = strtoll(text, &end, 10);
    else if (json_is_integer(value))
        *ret = json_integer_value(value);
    if ((!text && !json_is_integer(value)) || (text && (end == text || *end || errno)))
        return wrong(words, field, "expected a whole number");
    if (*ret < least || *ret > most)
        return wrong(words, field, "found %lld, expected %lld … %lld", (long long)*ret,
                     (long long)least, (long long)most);
    return 0;
}

static int read_unsigned(const Field *field, const json_t *value, uint64_t *ret, char *words)
{
    const char *text = json_string_value(value);
    char *end = NULL;
    errno = 0;
    if (text) {
        *ret = strtoull(text, &end, 10);
        if (end != text && !*end && !errno && !strchr(text, '-'))
            return 0;
    } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *ret = (uint64_t)json_integer_value(value);
        return 0;
    }
    return wrong(words, field, "expected a whole number of at least 0");
}

static int read_enum(const Field *field, const json_t *value, int *ret, char *words)
{
    if (json_is_integer(value)) {
        int64_t number = 0;
        int r = read_signed(field, value, INT32_MIN, INT32_MAX, &number, words);
        *ret = (int)number;
        return r;
    }
    const char *text = json_string_value(value);
    const ProtobufCEnumValue *known =
        text ? protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, text) : NULL;
    if (!known)
        return wrong(words, field, "found '%s', expected a name of %s", text ? text : "no string",
                     ((const ProtobufCEnumDescriptor *)field->descriptor)->short_name);
    *ret = known->value;
    return 0;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

static int read_hex(const Field *field, const json_t *value, ProtobufCBinaryData *ret, char *words)
{
    const char *text = json_string_value(value);
    size_t n = text ? strlen(text) : 0;
    if (!text || n % 2 != 0)
        return wrong(words, field, "expected bytes in hex");
    ret->data = malloc(n / 2 + 1);
    if (!ret->data)
        return wrong(words, field, "no memory");
    ret->len = n / 2;
    for (size_t i = 0; i < n; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return wrong(words, field, "expected bytes in hex");
        ret->data[i / 2] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int read_string(const Field *field, const json_t *value, char **ret, char *words)
{
    const char *text = json_string_value(value);
    if (!text)
        return wrong(words, field, "expected a string");
    if (strlen(text) != json_string_length(value))
        return wrong(words, field, "holds a zero byte");
    *ret = strdup(text);
    return *ret ? 0 : wrong(words, field, "no memory");
}

static int read_message(const Field *field, const json_t *value, ProtobufCMessage **ret,
                        char *words)
{
    char inner[REFLECT_WORDS] = "";
    *ret = reflect_from_json(field->descriptor, value, inner);
    return *ret ? 0 : wrong(words, field, "%s", inner);
}

static int read_real(const Field *field, const json_t *value, double most, double *ret, char *words)
{
    *ret = json_number_value(value);
    if (!json_is_number(value) || fabs(*ret) > most)
        return wrong(words, field, "expected a number of at most %g", most);
    return 0;
}

static int read_value(const Field *field, const json_t *value, void *at, char *words)
{
    int64_t number = 0;
    uint64_t natural = 0;
    double real = 0;
    int r = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        r = read_signed(field, value, INT32_MIN, INT32_MAX, &number, words);
        *(int32_t *)at = (int32_t)number;
        return r;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        r = read_signed(field, value, 0, UINT32_MAX, &number, words);
        *(uint32_t *)at = (uint32_t)number;
        return r;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        r = read_signed(field, value, INT64_MIN, INT64_MAX, &number, words);
        *(int64_t *)at = number;
        return r;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        r = read_unsigned(field, value, &natural, words);
        *(uint64_t *)at = natural;
        return r;
    case PROTOBUF_C_TYPE_FLOAT:
        r = read_real(field, value, (double)FLT_MAX, &real, words);
        *(float *)at = r < 0 ? 0 : (float)real;
        return r;
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_real(field, value, DBL_MAX, at, words);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value))
            return wrong(words, field, "expected true or false");
        *(protobuf_c_boolean *)at = json_is_true(value);
        return 0;
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(field, value, at, words);
    case PROTOBUF_C_TYPE_STRING:
        return read_string(field, value, at, words);
    case PROTOBUF_C_TYPE_BYTES:
        return read_hex(field, value, at, words);
    case PROTOBUF_C_TYPE_MESSAGE:
        return read_message(field, value, at, words);
    }
    return wrong(words, field, "a type that moectl cannot write");
}

static int read_list(const Field *field, const json_t *value, char *base, char *words)
{
    size_t n = json_array_size(value), size = element_size(field);
    if (!json_is_array(value))
        return wrong(words, field, "expected a list");
    if (n == 0)
        return 0;
    char *data = calloc(n, size);
    if (!data)
        return wrong(words, field, "no memory");
    *(char **)(void *)(base + field->offset) = data;
    for (size_t i = 0; i < n; i++) {
        int r = read_value(field, json_array_get(value, i), data + i * size, words);
        /* an element that failed half-way is the list's too, if it left something to free */
        bool is_kept = r == 0 || field->type == PROTOBUF_C_TYPE_BYTES;
        *(size_t *)(void *)(base + field->quantifier_offset) = i + is_kept;
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_field(const Field *field, const json_t *value, char *base, char *words)
{
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return wrong(words, field, "one-ofs are not supported");
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return read_list(field, value, base, words);
    if (!is_pointer(field) && field->label == PROTOBUF_C_LABEL_OPTIONAL)
        *(protobuf_c_boolean *)(void *)(base + field->quantifier_offset) = true;
    return read_value(field, value, base + field->offset, words);
}

ProtobufCMessage *reflect_from_json(const ProtobufCMessageDescriptor *type, const json_t *object,
                                    char words[REFLECT_WORDS])
{
    if (!json_is_object(object)) {
        snprintf(words, REFLECT_WORDS, "expected an object, a %s", type->short_name);
        return NULL;
    }
    ProtobufCMessage *message = calloc(1, type->sizeof_message);
    if (!message) {
        snprintf(words, REFLECT_WORDS, "no memory");
        return NULL;
    }
    protobuf_c_message_init(type, message);
    const char *key;
    json_t *value;
    int r = 0;
    json_object_foreach((json_t *)object, key, value)
    {
        const Field *field = protobuf_c_message_descriptor_get_field_by_name(type, key);
        if (!field)
            snprintf(words, REFLECT_WORDS, "%s has no field '%s'", type->short_name, key);
        r = field ? read_field(field, value, (char *)message, words) : -EINVAL;
        if (r < 0)
            break;
    }
    if (r == 0)
        return message;
    protobuf_c_message_free_unpacked(message, NULL);
    return NULL;
}
