/* SPDX-License-Identifier: MIT
 *
 * A family's renderer is asked twice, with users who say different things: what is the same in both
 * is said whoever asks, up to the last token that does not hang on what follows it.
 */
#include "engine/preamble.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/own.h"
#include "model/model.h"
#include "text/chat.h"
#include "text/token.h"

#define OWN_IDS __attribute__((cleanup(ids_fini))) struct ids

/* What may follow: of no two of them the first byte, or the kind of it, is the same. */
static const char *const follows[] = {"A", "\n\n\xe4\xb8\xad"};

struct text {
    char *bytes; /* with room for what follows */
    size_t n;
};

static int read_file(const char *path, char **ret, size_t *ret_n, struct err *err)
{
    OWN_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, -errno, "cannot open it: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "it is not a file");
    if (st.st_size > PREAMBLE_BYTES)
        return err_set(err, -EFBIG, "it has %lld bytes, expected at most %d", (long long)st.st_size,
                       PREAMBLE_BYTES);
    size_t n = 0;
    OWN_MEM char *bytes = malloc(PREAMBLE_BYTES + sizeof "\n\n....");
    if (!bytes)
        return err_set(err, -ENOMEM, "no memory for it");
    for (;;) {
        ssize_t got = read(fd, bytes + n, PREAMBLE_BYTES - n);
        if (got < 0)
            return err_set(err, -errno, "cannot read it: %s", strerror(errno));
        if (got == 0)
            break;
        n += (size_t)got;
    }
    while (n > 0 && bytes[n - 1] == '\n') /* an editor's, not the prompt's */
        n--;
    if (n == 0 || memchr(bytes, '\0', n))
        return err_set(err, -EINVAL, "expected text");
    *ret = TAKE(bytes);
    *ret_n = n;
    return 0;
}

/* ------------------------------------------------------------------ tokens */

static int say_chat(const struct model *model, const struct text *text, const char *next,
                    bool thinking, struct ids *ret, struct err *err)
{
    const struct chat_message said[] = {
        {.role = CHAT_SYSTEM, .content = text->bytes, .bytes = text->n},
        {.role = CHAT_USER, .content = next, .bytes = strlen(next)},
    };
    const struct chat_options options = {.thinking = thinking, .add_generation_prompt = true};
    text->bytes[text->n] = '\0';
    return model_chat(model)->render(model_vocab(model), said, 2, &options, ret, err);
}

static int say_plain(const struct model *model, const struct text *text, const char *next,
                     struct ids *ret, struct err *err)
{
    const struct vocab *vocab = model_vocab(model);
    size_t more = strlen(next);
    memcpy(text->bytes + text->n, next, more);
    if (vocab_add_bos(vocab) && vocab_bos(vocab) >= 0 && ids_push(ret, vocab_bos(vocab)) < 0)
        return err_set(err, -ENOMEM, "no memory for its tokens");
    return vocab_encode(vocab, text->bytes, text->n + more, VOCAB_SPECIAL, ret, err);
}

enum way { PLAIN, CHAT, CHAT_THINKING };

static int say(const struct model *model, const struct text *text, const char *next, enum way way,
               struct ids *ret, struct err *err)
{
    return way == PLAIN ? say_plain(model, text, next, ret, err)
                        : say_chat(model, text, next, way == CHAT_THINKING, ret, err);
}

static bool begins_with(const struct preamble *a, const struct ids *b, int n)
{
    return a->n >= n && memcmp(a->token, b->id, (size_t)n * sizeof *a->token) == 0;
}

/* Unless it is there. */
static int add(struct preambles *p, const char *path, struct ids *ids, int n, struct err *err)
{
    for (int i = 0; i < p->n; i++)
        if (begins_with(&p->at[i], ids, n))
            return 0;
    struct preamble *more = reallocarray(p->at, (size_t)p->n + 1, sizeof *more);
    if (!more)
        return err_set(err, -ENOMEM, "no memory for its tokens");
    p->at = more;
    p->at[p->n++] = (struct preamble){.path = path, .token = TAKE(ids->id), .n = n};
    *ids = (struct ids){0};
    return 0;
}

static int add_way(struct preambles *p, const char *path, const struct text *text,
                   const struct model *model, enum way way, struct err *err)
{
    OWN_IDS one = {0};
    OWN_IDS other = {0};
    int r = say(model, text, follows[0], way, &one, err);
    if (r == 0)
        r = say(model, text, follows[1], way, &other, err);
    if (r < 0)
        return r;
    size_t n = 0;
    while (n < one.n && n < other.n && one.id[n] == other.id[n])
        n++;
    return n > 0 ? add(p, path, &one, (int)n, err) : 0;
}

static int add_file(struct preambles *p, const char *path, const struct model *model,
                    struct err *err)
{
    OWN_MEM char *bytes = NULL;
    size_t n = 0;
    int r = read_file(path, &bytes, &n, err);
    if (r < 0)
        return r;
    const struct text text = {bytes, n};
    if (model_chat(model))
        for (enum way way = CHAT; r == 0 && way <= CHAT_THINKING; way++)
            r = add_way(p, path, &text, model, way, err);
    return r < 0 ? r : add_way(p, path, &text, model, PLAIN, err);
}

void preambles_read(struct preambles *p, char *const *path, int n_paths, const struct model *model)
{
    *p = (struct preambles){0};
    for (int i = 0; i < n_paths; i++) {
        struct err err = {0};
        if (add_file(p, path[i], model, &err) < 0)
            log_about(LOG_LEVEL_WARNING, "models", LOG_ABOUT(.model = model_info(model)->name),
                      "model '%s': SharedPrompt=%s is not shared: %s", model_info(model)->name,
                      path[i], err.text);
    }
}

void preambles_fini(struct preambles *p)
{
    for (int i = 0; i < p->n; i++)
        free(p->at[i].token);
    free(p->at);
    *p = (struct preambles){0};
}
