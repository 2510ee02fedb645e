/* SPDX-License-Identifier: MIT
 *
 * Protobuf messages to JSON and back by their descriptors, for any method at all.
 *
 * Field names are those of the .proto files; bytes are lower-case hex, enums go by name (numbers
 * are taken too), 64-bit numbers may be strings of digits, and are where they exceed JSON's.
 */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

enum { REFLECT_WORDS = 256 };

/* Only fields that are there. */
json_t *reflect_to_json(const ProtobufCMessage *message);
/* NULL: the words name field, found and expected. Free with protobuf_c_message_free_unpacked. */
ProtobufCMessage *reflect_from_json(const ProtobufCMessageDescriptor *type, const json_t *object,
                                    char words[REFLECT_WORDS]);
