/* SPDX-License-Identifier: MIT
 *
 * Fill in the middle: what stands before a hole and after it, between markers. Part of chat.h. */
#include "text/chat.h"
#include "text/prompt.h"

int chat_render_hole(const struct vocab *vocab, const char *prefix, size_t prefix_bytes,
                     const char *suffix, size_t suffix_bytes, struct ids *ret, struct err *err)
{
    __attribute__((cleanup(prompt_fini))) struct prompt prompt;
    prompt_init(&prompt, vocab, ret, err);
    prompt_bos(&prompt);
    prompt_mark(&prompt, "<｜fim▁begin｜>");
    prompt_text(&prompt, prefix, prefix_bytes);
    prompt_mark(&prompt, "<｜fim▁hole｜>");
    prompt_text(&prompt, suffix, suffix_bytes);
    prompt_mark(&prompt, "<｜fim▁end｜>");
    return prompt_finish(&prompt);
}
