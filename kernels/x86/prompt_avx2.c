/* SPDX-License-Identifier: MIT
 *
 * Attention of a prompt's rows on AVX2: prompt.h. Pure; any thread.
 */
#include "prompt.h"

void mk_avx2_prompt(struct mk *mk)
{
    mk->prompt_head = prompt_head;
    mk->prompt_expand = prompt_expand;
    mk->prompt_attend = prompt_attend;
}
