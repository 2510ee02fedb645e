/* SPDX-License-Identifier: MIT
 *
 * How methods of one message begin.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "moed/moed.h"

/* Packs the request and starts the call. Fails as moed.h says. */
int method_start(struct moed *moed, const char *method, bool is_stream,
                 const ProtobufCMessage *request, uint64_t timeout_ms, struct moed_call **ret,
                 struct moed_error *error);
/* -EINVAL: what is named is no text that a message can carry. NULL is taken. */
int method_check(const char *text, const char *name, struct moed_error *error);
