/* SPDX-License-Identifier: MIT
 *
 * A token completes a string either because it holds all of it, which never changes, or because it
 * begins with what is missing when the text ends with the first part. For every string and every
 * such cut the tokens are listed once; a step marks the lists of the cuts that the text stands at.
 */
#include "engine/ban.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "text/token.h"

struct string {
    char *text;
    int bytes;
    int first; /* cut k, of 1 to bytes - 1, is cut[first + k] */
};

struct cut {
    int at, n; /* its tokens are id[at] to id[at + n - 1] */
};

struct ban {
    const struct vocab *vocab;
    bool show_special;
    struct string *string;
    int n_strings;
    struct cut *cut;
    int n_cuts;
    int32_t *id;
    int *open; /* [n_cuts] the cuts that the text stands at */
    int n_open;
    uint8_t *always, *now; /* [vocabulary] */
    char *text;            /* the end of the answer, as far as a string may begin in it */
    int n_text, longest;
};
OWN_DEFINE(ban, ban_free);

void ban_free(struct ban *b)
{
    if (!b)
        return;
    for (int i = 0; i < b->n_strings; i++)
        free(b->string[i].text);
    free(b->string);
    free(b->cut);
    free(b->id);
    free(b->open);
    free(b->always);
    free(b->now);
    free(b->text);
    free(b);
}

static bool is_hidden(const struct ban *b, int32_t id)
{
    return !b->show_special && (vocab_is_special(b->vocab, id) || vocab_is_unused(b->vocab, id));
}

static int copy_strings(struct ban *b, const char *const *strings, int n)
{
    b->string = calloc((size_t)n, sizeof *b->string);
    for (int i = 0; b->string && i < n; i++) {
        struct string *s = &b->string[i];
        s->text = strdup(strings[i]);
        if (!s->text)
            return -ENOMEM;
        s->bytes = (int)strlen(s->text);
        s->first = b->n_cuts;
        b->n_cuts += s->bytes;
        b->n_strings++;
        if (s->bytes > b->longest)
            b->longest = s->bytes;
    }
    return b->string ? 0 : -ENOMEM;
}

/* Counts the tokens of every cut, or where there is room for them puts them there. */
static void visit(struct ban *b)
{
    for (int32_t id = 0; id < vocab_size(b->vocab); id++) {
        size_t size;
        const char *text = vocab_bytes(b->vocab, id, &size);
        int bytes = (int)size;
        for (int i = 0; i < b->n_strings && !is_hidden(b, id); i++) {
            const struct string *s = &b->string[i];
            if (memmem(text, size, s->text, (size_t)s->bytes))
                b->always[id] = 1;
            for (int k = s->bytes > bytes ? s->bytes - bytes : 1; k < s->bytes; k++) {
                struct cut *cut = &b->cut[s->first + k];
                if (memcmp(text, s->text + k, (size_t)(s->bytes - k)) != 0)
                    continue;
                if (b->id)
                    b->id[cut->at + cut->n] = id;
                cut->n++;
            }
        }
    }
}

static int list_tokens(struct ban *b)
{
    visit(b);
    size_t all = 0;
    for (int i = 0; i < b->n_cuts; i++) {
        b->cut[i].at = (int)all;
        all += (size_t)b->cut[i].n;
        b->cut[i].n = 0;
    }
    b->id = calloc(all + 1, sizeof *b->id);
    if (!b->id)
        return -ENOMEM;
    visit(b);
    return 0;
}

int ban_new(const struct vocab *vocab, const char *const *strings, int n, bool show_special,
            struct ban **ret)
{
    OWN(ban) *b = calloc(1, sizeof *b);
    if (!b)
        return -ENOMEM;
    b->vocab = vocab;
    b->show_special = show_special;
    int r = copy_strings(b, strings, n);
    if (r < 0)
        return r;
    size_t size = (size_t)vocab_size(vocab);
    b->cut = calloc((size_t)b->n_cuts, sizeof *b->cut);
    b->open = calloc((size_t)b->n_cuts, sizeof *b->open);
    b->always = calloc(size, 1);
    b->now = calloc(size, 1);
    b->text = malloc((size_t)b->longest + vocab_max_bytes(vocab));
    if (!b->cut || !b->open || !b->always || !b->now || !b->text)
        return -ENOMEM;
    r = list_tokens(b);
    if (r < 0)
        return r;
    *ret = TAKE(b);
    return 0;
}

int ban_count(const struct ban *b)
{
    return b->n_strings;
}

static void mark(struct ban *b, int cut, uint8_t value)
{
    for (int i = 0; i < b->cut[cut].n; i++)
        b->now[b->id[b->cut[cut].at + i]] = value;
}

static void add_text(struct ban *b, int32_t id)
{
    size_t bytes;
    const char *text = vocab_bytes(b->vocab, id, &bytes);
    memcpy(b->text + b->n_text, text, bytes);
    b->n_text += (int)bytes;
    int kept = b->n_text < b->longest ? b->n_text : b->longest - 1;
    memmove(b->text, b->text + b->n_text - kept, (size_t)kept);
    b->n_text = kept;
}

void ban_push(struct ban *b, int32_t id)
{
    while (b->n_open > 0)
        mark(b, b->open[--b->n_open], 0);
    if (is_hidden(b, id))
        b->n_text = 0;
    else
        add_text(b, id);
    for (int i = 0; i < b->n_strings; i++) {
        const struct string *s = &b->string[i];
        for (int k = 1; k < s->bytes && k <= b->n_text; k++)
            if (memcmp(b->text + b->n_text - k, s->text, (size_t)k) == 0)
                b->open[b->n_open++] = s->first + k;
    }
    for (int i = 0; i < b->n_open; i++)
        mark(b, b->open[i], 1);
}

bool ban_has(const struct ban *b, int32_t id)
{
    return b->always[id] || b->now[id];
}
