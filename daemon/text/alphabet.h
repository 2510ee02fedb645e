/* SPDX-License-Identifier: MIT
 *
 * The alphabet of byte-level BPE: every byte as one printable character.
 *
 * Vocabulary files spell ordinary tokens and merges in it, because their formats hold text and not
 * bytes: a space is 'Ġ', a newline 'Ċ'. Added tokens are plain text and stay out of here. Pure.
 */
#pragma once

#include <stddef.h>

/* Writes the bytes a spelling stands for to dst (room for `bytes`); -EINVAL: a character that is
 * not of the alphabet. Returns how many. */
long alphabet_decode(const char *text, size_t bytes, char *dst);
