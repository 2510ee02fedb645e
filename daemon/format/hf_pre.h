/* SPDX-License-Identifier: MIT
 *
 * Which splitting rule a tokenizer.json has: told by its patterns, since it has no name there. One
 * thread walks the JSON.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

struct json;

/* Walks the value of "pre_tokenizer". -ENOTSUP quoting the patterns, if they are no known rule. */
int hf_pre_read(struct json *json, const char **ret);
/* Walks the value of "normalizer": none may be asked for. */
int hf_normalizer_read(struct json *json);
