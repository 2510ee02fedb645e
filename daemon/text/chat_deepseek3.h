/* SPDX-License-Identifier: MIT
 *
 * The wire format that V2.5, V3, V3-0324 and both R1 share, and where they differ.
 */
#pragma once

#include <stdbool.h>

#include "text/chat.h"

struct deepseek3_style {
    const char *name;
    enum { THINK_NEVER, THINK_ASKED, THINK_ALWAYS } think; /* what the generation prompt opens */
    bool cut_thinking; /* answers of old turns lose everything up to the last </think> */
    bool trim_answer;  /* and white space in front */
};

int deepseek3_render(const struct deepseek3_style *style, const struct vocab *vocab,
                     const struct chat_message *messages, int n_messages,
                     const struct chat_options *options, struct ids *ret, struct err *err);
bool deepseek3_is_open(const struct chat_message *messages, int n_messages);

extern const struct chat_family chat_deepseek_v3, chat_deepseek_v2_5;
extern const struct chat_family chat_deepseek_r1, chat_deepseek_r1_0528; /* chat_r1.c */
