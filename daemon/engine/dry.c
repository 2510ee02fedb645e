/* SPDX-License-Identifier: MIT */
#include "engine/dry.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/token.h"

enum { LONGEST = 50 };           /* match: bounds the time, and the power */
static const double most = 1e30; /* of a penalty, so that scores stay finite */

const char *const dry_usual_breakers[DRY_USUAL_BREAKERS] = {"\n", ":", "\"", "*"};

int dry_init(struct dry *d, const struct dry_params *params, const struct vocab *vocab, int rows,
             int room)
{
    *d = (struct dry){.params = params, .vocab = vocab, .room = room, .rows = rows};
    for (int i = 0; i < params->n_breakers; i++) {
        int n = (int)strlen(params->breakers[i]);
        if (n > d->longest_breaker)
            d->longest_breaker = n;
    }
    d->token = calloc((size_t)room, sizeof *d->token);
    d->breaks = calloc((size_t)room, 1);
    d->match = calloc((size_t)rows, 1);
    d->text = malloc((size_t)d->longest_breaker + vocab_max_bytes(vocab) + 1);
    if (d->token && d->breaks && d->match && d->text)
        return 0;
    dry_fini(d);
    return -ENOMEM;
}

void dry_fini(struct dry *d)
{
    free(d->token);
    free(d->breaks);
    free(d->match);
    free(d->text);
    *d = (struct dry){0};
}

/* Whether a breaker ends in the last n bytes of the text. */
static bool ends_a_breaker(const struct dry *d, int n)
{
    for (int i = 0; i < d->params->n_breakers; i++) {
        const char *breaker = d->params->breakers[i];
        int bytes = (int)strlen(breaker), reach = n + bytes - 1; /* from where it ends in there */
        if (reach > d->n_text)
            reach = d->n_text;
        if (bytes > 0 && memmem(d->text + d->n_text - reach, (size_t)reach, breaker, (size_t)bytes))
            return true;
    }
    return false;
}

void dry_push(struct dry *d, int32_t id)
{
    size_t bytes;
    const char *text = vocab_bytes(d->vocab, id, &bytes);
    memcpy(d->text + d->n_text, text, bytes);
    d->n_text += (int)bytes;
    d->token[d->n] = id;
    d->breaks[d->n++] = ends_a_breaker(d, (int)bytes);
    int kept = d->n_text < d->longest_breaker ? d->n_text : d->longest_breaker;
    memmove(d->text, d->text + d->n_text - kept, (size_t)kept);
    d->n_text = kept;
}

/* How many tokens up to and with i are those at the end; token i and the last one are the same. */
static int match_length(const struct dry *d, int first, int i)
{
    int n = 1;
    while (n < LONGEST && i - n >= first && d->token[i - n] == d->token[d->n - 1 - n] &&
           !d->breaks[i - n] && !d->breaks[d->n - 1 - n])
        n++;
    return n;
}

void dry_match(struct dry *d)
{
    int last = d->n - 1, range = d->params->range;
    int first = range > 0 && range < d->n ? d->n - range : 0;
    memset(d->match, 0, (size_t)d->rows);
    if (d->n == 0 || d->breaks[last])
        return;
    for (int i = first; i < last; i++) {
        if (d->token[i] != d->token[last] || d->breaks[i] || d->breaks[i + 1])
            continue;
        int n = match_length(d, first, i);
        uint8_t *match = &d->match[d->token[i + 1]];
        if (n > *match)
            *match = (uint8_t)n;
    }
}

float dry_penalty(const struct dry *d, int32_t id)
{
    int over = d->match[id] - d->params->allowed_length;
    if (!d->match[id] || over < 0)
        return 0;
    return (float)fmin((double)d->params->multiplier * pow((double)d->params->base, over), most);
}
