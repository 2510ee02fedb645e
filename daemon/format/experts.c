/* SPDX-License-Identifier: MIT
 *
 * See experts.h.
 */
#include "format/experts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "format/stack.h"
#include "format/table.h"

struct expert {
    unsigned layer, number;
    char kind[5];
    uint32_t tensor;
};

/* Whether it is the tensor of an expert; leading zeros, signs or blanks make another name. */
static bool parse(const char *name, struct expert *ret)
{
    char again[FORMAT_NAME_BYTES];
    if (sscanf(name, "blk.%5u.ffn_%4[a-z].%5u.weight", &ret->layer, ret->kind, &ret->number) != 3)
        return false;
    snprintf(again, sizeof again, "blk.%u.ffn_%s.%u.weight", ret->layer, ret->kind, ret->number);
    return strcmp(name, again) == 0 &&
           (!strcmp(ret->kind, "gate") || !strcmp(ret->kind, "up") || !strcmp(ret->kind, "down"));
}

static int compare_stacks(const struct expert *x, const struct expert *y)
{
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return strcmp(x->kind, y->kind);
}

static int compare(const void *a, const void *b)
{
    const struct expert *x = a, *y = b;
    int order = compare_stacks(x, y);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static const char *label_of(const struct format *format, const struct expert *expert)
{
    return format->part[format->tensor[expert->tensor].part].label;
}

/* The experts e[0 … n - 1] of one stack: numbered without a gap, alike in type and shape. */
static int check_stack(const struct format *format, const struct expert *e, size_t n,
                       struct err *err)
{
    const struct tensor *first = &format->tensor[e[0].tensor];
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = &format->tensor[e[i].tensor];
        if (e[i].number != i)
            return err_set(err, -EINVAL,
                           "'%s', tensor 'blk.%u.ffn_%s.%zu.weight': it is missing, but '%s' is "
                           "there",
                           label_of(format, &e[i]), e[i].layer, e[i].kind, i, t->name);
        if (t->type != first->type || t->n_dims != 2 || t->dims[0] != first->dims[0] ||
            t->dims[1] != first->dims[1])
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': found type %s in %d dimensions, expected a matrix "
                           "of the type and size of expert 0, which is of %s",
                           label_of(format, &e[i]), t->name, mk_type_info[t->type].name, t->n_dims,
                           mk_type_info[first->type].name);
    }
    return 0;
}

struct joined { /* the table that takes the place of the format's */
    struct tensor *tensor;
    char (*name)[FORMAT_NAME_BYTES];
    struct stack *stack;
    struct source *source;
    uint32_t n, n_sources;
};

static void add_source(struct joined *j, const struct tensor *t)
{
    j->source[j->n_sources++] = (struct source){.offset = t->offset, .part = (uint16_t)t->part};
}

static void add_stack(const struct format *format, const struct expert *e, size_t n,
                      struct joined *j)
{
    struct tensor *t = &j->tensor[j->n];
    *t = format->tensor[e[0].tensor];
    t->dims[2] = n;
    t->n_dims = 3;
    t->bytes *= n; /* no more than the files have, as each lies in them alone */
    j->stack[j->n] = (struct stack){.first = j->n_sources, .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        add_source(j, &format->tensor[e[i].tensor]);
    snprintf(j->name[j->n++], FORMAT_NAME_BYTES, "blk.%u.ffn_%s_exps.weight", e[0].layer,
             e[0].kind);
}

static void add_alone(const struct format *format, uint32_t i, struct joined *j)
{
    j->tensor[j->n] = format->tensor[i];
    j->stack[j->n] = (struct stack){.first = j->n_sources, .n = 1};
    add_source(j, &format->tensor[i]);
    memcpy(j->name[j->n++], format->name[i], FORMAT_NAME_BYTES);
}

static int join(struct format *format, struct expert *e, size_t n_experts, struct joined *j,
                struct err *err)
{
    struct expert unused;
    for (uint32_t i = 0; i < format->n_tensors; i++)
        if (!parse(format->name[i], &unused))
            add_alone(format, i, j);
    qsort(e, n_experts, sizeof *e, compare);
    for (size_t at = 0, n; at < n_experts; at += n) {
        n = 1;
        while (at + n < n_experts && compare_stacks(&e[at], &e[at + n]) == 0)
            n++;
        int r = check_stack(format, e + at, n, err);
        if (r < 0)
            return r;
        add_stack(format, e + at, n, j);
    }
    return 0;
}

int experts_join(struct format *format, struct err *err)
{
    size_t n = format->n_tensors, n_experts = 0;
    OWN_MEM struct expert *e = malloc((n + 1) * sizeof *e);
    OWN_MEM struct tensor *tensor = calloc(n + 1, sizeof *tensor);
    OWN_MEM char(*name)[FORMAT_NAME_BYTES] = calloc(n + 1, sizeof *name);
    OWN_MEM struct stack *stack = calloc(n + 1, sizeof *stack);
    OWN_MEM struct source *source = calloc(n + 1, sizeof *source);
    if (!e || !tensor || !name || !stack || !source)
        return err_set(err, -ENOMEM, "'%.160s': no memory for %zu tensors", format->path, n);
    for (uint32_t i = 0; i < n; i++) {
        e[n_experts].tensor = i;
        n_experts += parse(format->name[i], &e[n_experts]);
    }
    if (n_experts == 0)
        return 0;
    struct joined j = {.tensor = tensor, .name = name, .stack = stack, .source = source};
    int r = join(format, e, n_experts, &j, err);
    if (r < 0)
        return r;
    free(format->tensor);
    free(format->name);
    format->tensor = TAKE(tensor);
    format->name = TAKE(name);
    format->stack = TAKE(stack);
    format->source = TAKE(source);
    format->n_tensors = format->room = j.n;
    return 0;
}
