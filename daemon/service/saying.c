/* SPDX-License-Identifier: MIT */
#include "service/saying.h"

#include <errno.h>
#include <stdlib.h>

#include "service/transcript.h"

void saying_fini(struct saying *saying)
{
    for (int i = 0; i < saying->n; i++)
        line_unref(saying->line[i]);
    free(saying->line);
    *saying = (struct saying){0};
}

uint64_t saying_bytes(const struct saying *saying)
{
    uint64_t n = 0;
    for (int i = 0; i < saying->n; i++)
        n += line_bytes(saying->line[i]);
    return n;
}

static int reserve(struct saying *saying, size_t n, struct err *err)
{
    saying->line = calloc(n + 1, sizeof(struct line *));
    return saying->line ? 0 : err_set(err, -ENOMEM, "no memory for what is said");
}

static int add(struct saying *saying, struct line *line, struct err *err)
{
    if (!line)
        return err_set(err, -ENOMEM, "no memory for what is said");
    saying->line[saying->n++] = line;
    return 0;
}

static int check_end(Moed__V1__Message **messages, size_t n, size_t n_held, struct err *err)
{
    const Moed__V1__Message *last = n > 0 ? messages[n - 1] : NULL;
    bool is_answer = last && last->role == MOED__V1__ROLE__ROLE_ASSISTANT;
    if (n == n_held && is_answer && !last->prefix)
        return err_set(
            err, -EINVAL,
            "nothing new is said, and the session's last answer is whole: say something, "
            "or rewind it");
    if (n > n_held && is_answer && last->prefix)
        return err_set(err, -EINVAL,
                       "messages[%zu] is a prefix: in a session an answer is the model's own",
                       n - n_held - 1);
    return 0;
}

int saying_of_chat(struct saying *saying, Moed__V1__Message **messages, size_t n, size_t n_held,
                   struct err *err)
{
    int r = check_end(messages, n, n_held, err);
    if (r < 0)
        return r;
    bool is_cut = n_held > 0 && messages[n_held - 1]->prefix;
    size_t kept = n_held - is_cut;
    saying->n_kept = (int)kept;
    if (is_cut && n == n_held)
        return 0; /* it becomes a longer one */
    if (is_cut)
        messages[kept]->has_prefix = messages[kept]->prefix = false;
    r = reserve(saying, n - kept, err);
    for (size_t i = kept; i < n && r == 0; i++)
        r = add(saying, line_of_message(messages[i]), err);
    return r;
}

int saying_of_ids(struct saying *saying, const struct ids *ids, size_t n_held, int n_lines,
                  struct err *err)
{
    saying->is_raw = true;
    saying->n_kept = n_lines;
    int r = reserve(saying, 1, err);
    if (r < 0 || ids->n == n_held)
        return r;
    return add(saying, line_of_tokens(ids->id + n_held, ids->n - n_held), err);
}
