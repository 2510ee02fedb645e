/* SPDX-License-Identifier: MIT
 *
 * embed: a text as a vector. One thread.
 */
#include <stdio.h>

#include "moectl/input.h"
#include "moectl/link.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

static json_t *values_json(const float *values, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, screen_json_real((double)values[i]));
    return list;
}

int verb_embed(const struct options *o)
{
    OWN_MEM char *text = NULL;
    size_t bytes = 0, n = 0;
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = input_question(o, &text, &bytes);
    if (r == 0)
        r = input_check(o, "the text", text, bytes);
    if (r == 0)
        r = link_open(o, &moed);
    if (r)
        return r;
    moed_set_timeout(moed, 0); /* a long text takes long to read */
    unsigned flags = o->normalize ? MOED_NORMALIZE : 0u;
    r = link_wait(o, moed_embed(moed, o->model, text, bytes, o->pooling, flags, &call, &error),
                  &call, &error);
    if (r)
        return r;
    const float *values = moed_call_values(call, &n);
    if (o->json)
        screen_json(json_pack("{s:o}", "values", values_json(values, n)));
    for (size_t i = 0; i < n && !o->json; i++)
        printf("%.9g\n", (double)values[i]);
    return EXIT_DONE;
}
