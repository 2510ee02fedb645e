/* SPDX-License-Identifier: MIT */
#include "moectl/prompts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/link.h"

static const char text[] =
    " The harbour master wrote down every ship that came in before noon, what it carried, and who "
    "had asked for it. Most of the grain went to the mill behind the old church, where two "
    "brothers kept the stones turning through the winter. If a captain could not pay, he left a "
    "rope, a lamp or a promise, and the book remembered. One morning a letter arrived from the "
    "capital: count the boats again, it said, and explain why twelve is not eleven. So she took "
    "her stick, walked along the quay in the rain, counted, and found a thirteenth that nobody "
    "had ever seen. It had no name, but its sails were warm, and on the deck a small machine was "
    "working out the tides for the next hundred years without making a mistake.";

int prompts_open(const struct options *o, struct moed *moed, struct prompts *ret)
{
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int started = moed_tokenize(moed, o->model, text, sizeof text - 1,
                                MOED_ADD_BOS | MOED_NO_SPECIAL, &call, &error);
    int r = link_wait(o, started, &call, &error);
    if (r)
        return r;
    size_t n = 0;
    const int32_t *ids = moed_call_ids(call, &n);
    if (n < 2)
        return link_error(o, "the daemon made %zu tokens of a text of many", n);
    *ret = (struct prompts){.first = ids[0],
                            .n_pool = n - 1,
                            .seed = (uint64_t)o->dice_seed,
                            .length = o->prompt,
                            .shared = o->shared};
    ret->pool = malloc((n - 1) * sizeof *ret->pool);
    if (!ret->pool)
        abort();
    memcpy(ret->pool, ids + 1, (n - 1) * sizeof *ret->pool);
    return 0;
}

void prompts_fini(struct prompts *prompts)
{
    free(prompts->pool);
    *prompts = (struct prompts){0};
}

int prompts_add(const struct prompts *p, uint64_t number, struct moed_request *request)
{
    /* Stream 0 is what all share; each prompt has a stream of its own for the rest. */
    struct dice common = dice_of(p->seed, 0), own = dice_of(p->seed, number + 1);
    int n = dice_range(&own, p->length);
    int n_shared = (int)(p->shared * n);
    OWN_MEM int32_t *ids = malloc((size_t)n * sizeof *ids);
    if (!ids)
        return -ENOMEM;
    ids[0] = p->first;
    for (int i = 1; i < n; i++)
        ids[i] = p->pool[dice_at(i < n_shared ? &common : &own, (uint64_t)i) % p->n_pool];
    int r = moed_request_add_ids(request, ids, (size_t)n);
    return r < 0 ? r : n;
}
