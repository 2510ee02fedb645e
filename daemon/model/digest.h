/* SPDX-License-Identifier: MIT
 *
 * What tells one model from another for those who keep what it computed: a digest.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct model;

enum { MODEL_IDENT_CHARS = 33 };

/**
 * Digest of a model: all its keys, the names, types and shapes of its tensors, samples of each
 * tensor's data, and when its file was changed last. Files of hundreds of gigabytes are not read
 * for it; two that differ are told apart by their samples, one changed in its place by the time.
 *
 *   fails   as reading does     thread   any; it reads the file
 */
int model_digest(const struct model *model, uint64_t ret[2], struct err *err);
/* The same in hexadecimal, without the file's time: a copy of it on another machine has the same.
 */
int model_ident(const struct model *model, char ret[MODEL_IDENT_CHARS], struct err *err);
