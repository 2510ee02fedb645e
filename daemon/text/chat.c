/* SPDX-License-Identifier: MIT
 *
 * The table of chat families, and the way from a file to one of them. See chat.h. */
#include "text/chat.h"

#include <string.h>

#include "format/format.h"
#include "text/chat_deepseek3.h"
#include "text/chat_families.h"
#include "text/chat_guess.h"
#include "text/token.h"

const struct chat_family *const chat_table[] = {
    &chat_deepseek_v3,   &chat_deepseek_r1,  &chat_deepseek_r1_0528, &chat_deepseek_v2,
    &chat_deepseek_v2_5, &chat_deepseek_v31, &chat_deepseek_v32,     &chat_deepseek_v4,
    &chat_kimi_k2,       &chat_moonlight,    &chat_glm_4_7,          NULL,
};

static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, ".");
        b += strspn(b, ".");
        if (*a != *b)
            return false;
        if (!*a)
            return true;
    }
}

const struct chat_family *chat_by_name(const char *name)
{
    for (int i = 0; chat_table[i]; i++)
        if (same_name(chat_table[i]->name, name))
            return chat_table[i];
    return NULL;
}

static bool holds(const char *text, size_t bytes, const char *word)
{
    return memmem(text, bytes, word, strlen(word)) != NULL;
}

/* Converters drop templates, and V3.2 and V4 never had one; the names they leave are the only
 * other sign. What they leave open stays open: no chat is better than a wrong one. */
static const char *by_vocabulary(const struct meta *meta, const struct vocab *vocab)
{
    const char *arch = "", *name = "";
    size_t arch_bytes = 0, name_bytes = 0;
    meta_str(meta, "general.architecture", &arch, &arch_bytes, NULL); /* "" where absent */
    meta_str(meta, "general.name", &name, &name_bytes, NULL);

    if (strcmp(arch, "deepseek4") == 0 || vocab_find(vocab, "｜DSML｜") >= 0)
        return "deepseek-v4";
    if (vocab_find(vocab, "<|im_middle|>") >= 0 && vocab_find(vocab, "<|im_user|>") >= 0)
        return holds(name, name_bytes, "oonlight") ? "moonlight" : "kimi-k2";
    if (vocab_find(vocab, "[gMASK]") >= 0 && vocab_find(vocab, "<|observation|>") >= 0)
        return vocab_find(vocab, "<think>") >= 0 ? "glm-4.7" : "glm";
    if (strncmp(arch, "deepseek", 8) != 0)
        return NULL;
    bool speaks = vocab_find(vocab, "<｜User｜>") >= 0 && vocab_find(vocab, "<｜Assistant｜>") >= 0;
    if (vocab_find(vocab, "<think>") >= 0) {
        if (!speaks)
            return NULL;
        if (holds(name, name_bytes, "V3.1") || holds(name, name_bytes, "v3.1"))
            return "deepseek-v3.1";
        if (holds(name, name_bytes, "V3.2") || holds(name, name_bytes, "v3.2"))
            return "deepseek-v3.2";
        if (holds(name, name_bytes, "0528"))
            return "deepseek-r1-0528";
        if (holds(name, name_bytes, "R1") || holds(name, name_bytes, "r1"))
            return "deepseek-r1";
        return NULL;
    }
    if (vocab_size(vocab) == 129280 && speaks)
        return "deepseek-v3";
    if (vocab_size(vocab) == 102400)
        return speaks ? "deepseek-v2.5" : "deepseek-v2";
    return NULL;
}

const char *chat_recognise(const struct meta *meta, const struct vocab *vocab)
{
    const char *template;
    size_t bytes;
    int r = meta_str(meta, "tokenizer.chat_template", &template, &bytes, NULL);
    if (r == 0)
        return chat_guess(template, bytes);
    return r == -ENOENT ? by_vocabulary(meta, vocab) : NULL;
}

const struct chat_family *chat_detect(const struct meta *meta, const struct vocab *vocab)
{
    const char *name = chat_recognise(meta, vocab);
    return name ? chat_by_name(name) : NULL;
}

bool chat_begins_thinking(const struct chat_family *family, const struct chat_options *options)
{
    return family->opens_thinking(options) || options->continues_thinking;
}

bool chat_think_marks(const struct chat_family *family, const struct vocab *vocab, int32_t *open,
                      int32_t *close)
{
    *open = family->can_think ? vocab_find(vocab, "<think>") : -1;
    *close = family->can_think ? vocab_find(vocab, "</think>") : -1;
    return *open >= 0 && *close >= 0;
}

struct chat_options chat_options_for(const struct chat_family *family,
                                     const struct chat_message *messages, int n_messages,
                                     const struct chat_options *options)
{
    struct chat_options fitting = *options;
    if (family->is_open(messages, n_messages)) {
        fitting.add_generation_prompt = false;
        fitting.continues_thinking =
            family->is_open_thinking && family->is_open_thinking(messages, n_messages, options);
    }
    return fitting;
}
