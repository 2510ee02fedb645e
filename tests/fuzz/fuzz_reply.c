/* SPDX-License-Identifier: MIT
 *
 * Replies: any text and any markers, in every family's parser, cut in two ways.
 *
 *     byte 0        the family
 *     byte 1        1: thinking is asked for; 2: ｜DSML｜ is no token; the rest: how long pieces
 * are the rest      text; 0x80 to 0xBF are markers
 *
 * The events are the same for both, in an order that can be, without the bytes that markers travel
 * as; what DSML and GLM tell as arguments is a JSON object.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "families.h"
#include "target.h"
#include "text/chat.h"
#include "text/jtext.h"
#include "text/token.h"

struct heard {
    struct families_told told;
    struct jtext_out arguments; /* of the present call */
    bool is_object;             /* what arguments have to be */
};

static void note(void *arg, enum chat_part part, const char *text, size_t bytes)
{
    struct heard *heard = arg;
    for (size_t i = 0; i < bytes; i++)
        PROMISE((unsigned char)text[i] < 0xF5);
    families_note(&heard->told, part, text, bytes);
    if (part == CHAT_PART_ARGUMENTS)
        jtext_put(&heard->arguments, text, bytes);
    if (part != CHAT_PART_CALL_END)
        return;
    PROMISE(!heard->is_object || jtext_check(heard->arguments.data, heard->arguments.n,
                                             JTEXT_OBJECT, "arguments", NULL) == 0);
    jtext_fini(&heard->arguments);
}

static int32_t marker(const struct vocab *vocab, unsigned char c)
{
    unsigned i = c & 0x3F, n = 0;
    while (keys_toy_special[n])
        n++;
    if (i < n)
        return vocab_find(vocab, keys_toy_special[i]);
    for (unsigned at = 0; families_special[at]; at++)
        if (at == i - n)
            return vocab_find(vocab, families_special[at]);
    return -1;
}

/* Text and, from 0x100 on, markers. */
static size_t read_script(const uint8_t *data, size_t bytes, uint16_t *ret)
{
    static const char dsml[] = "｜DSML｜";
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] == 1)
            for (const char *c = dsml; *c; c++)
                ret[n++] = (uint8_t)*c;
        else
            ret[n++] = (uint16_t)((data[i] & 0xC0) == 0x80 ? 0x100 | data[i] : data[i]);
    }
    return n;
}

static void feed(const struct chat_family *family, const struct vocab *vocab, bool thinking,
                 const uint16_t *script, size_t n_script, size_t piece, struct heard *ret)
{
    const struct chat_options options = {.thinking = thinking, .add_generation_prompt = true};
    struct chat_reply *reply = NULL;
    *ret = (struct heard){.told = {.last = -1},
                          .is_object = family->calls == CHAT_CALLS_V32 ||
                                       family->calls == CHAT_CALLS_V4 ||
                                       family->calls == CHAT_CALLS_GLM};
    PROMISE(chat_reply_new(family, vocab, &options, &reply) == 0);
    char text[64];
    for (size_t at = 0; at < n_script;) {
        size_t n = 0;
        for (; at < n_script && n < piece && n < sizeof(text) && script[at] < 0x100; at++)
            text[n++] = (char)script[at];
        bool marks = at < n_script && script[at] >= 0x100;
        int32_t id = marks ? marker(vocab, (unsigned char)script[at++]) : -1;
        chat_reply_push(reply, id, text, n, note, ret);
    }
    chat_reply_finish(reply, note, ret);
    families_end(&ret->told);
    PROMISE(!ret->told.broken && chat_reply_n_calls(reply) == ret->told.n_calls);
    chat_reply_free(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct vocab *vocabs[2]; /* immutable, so made once */
    if (bytes < 2)
        return 0;
    struct vocab **vocab = &vocabs[data[1] >> 1 & 1];
    if (!*vocab) {
        OWN(meta) *meta = families_toy(vocab == &vocabs[0]);
        PROMISE(vocab_open(meta, vocab, NULL) == 0);
    }
    int n = 0;
    while (chat_table[n])
        n++;
    const struct chat_family *family = chat_table[data[0] % n];
    struct heard whole, cut;
    uint16_t *script = malloc((bytes - 1) * 16 * sizeof(*script));
    PROMISE(script);
    size_t n_script = read_script(data + 2, bytes - 2, script);
    feed(family, *vocab, data[1] & 1, script, n_script, SIZE_MAX, &whole);
    feed(family, *vocab, data[1] & 1, script, n_script, 1 + (data[1] >> 2) % 8, &cut);
    free(script);
    PROMISE(whole.told.n == cut.told.n &&
            memcmp(whole.told.text, cut.told.text, whole.told.n) == 0);
    free(whole.told.text);
    free(cut.told.text);
    return 0;
}
