/* SPDX-License-Identifier: MIT
 *
 * The families that chat.c lists, beside V3 and R1 (chat_deepseek3.h).
 */
#pragma once

#include "text/chat.h"

extern const struct chat_family chat_deepseek_v2;             /* chat_v2.c */
extern const struct chat_family chat_deepseek_v31;            /* chat_v31.c */
extern const struct chat_family chat_deepseek_v32;            /* chat_v32.c */
extern const struct chat_family chat_deepseek_v4;             /* chat_v4.c */
extern const struct chat_family chat_kimi_k2, chat_moonlight; /* chat_kimi.c */
extern const struct chat_family chat_glm_4_7;                 /* chat_glm.c */
