/* SPDX-License-Identifier: MIT
 *
 * Recognises a chat family by the text of a Jinja template, which is read and never run. Pure.
 */
#pragma once

#include <stddef.h>

/* "deepseek-v3.1", "kimi-k2" …; NULL: none of those known. Takes time linear in the template. */
const char *chat_guess(const char *template, size_t bytes);
