/* SPDX-License-Identifier: MIT
 *
 * DSML, in which V3.2 and V4 write tool calls: tags that begin with ｜DSML｜.
 *
 * Where the vocabulary has that token it is a marker, elsewhere letters. Pure.
 */
#pragma once

#include "text/chat_common.h"

/* "\n\n", then what tells a model its tools: one function a line between head and tail. */
void dsml_put_tools(struct prompt *prompt, const char *head, const char *tools, const char *tail);
/* "\n\n", then how it shall reply. Nothing for NULL. */
void dsml_put_format(struct prompt *prompt, const char *schema);
/* "\n\n", then the calls in a block of a name; nothing if there are none. */
void dsml_put_calls(struct prompt *prompt, const char *block, const struct chat_message *message);
