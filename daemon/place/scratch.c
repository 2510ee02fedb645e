/* SPDX-License-Identifier: MIT */
#include "place/scratch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "place/mem.h"

/* The largest of each dimension over all ops. */
struct need {
    size_t hidden, q_rank, q, kv, o, wide, shared, experts, used;
    size_t k;      /* longest row of any weight */
    size_t attend; /* floats of mk_attend_tmp and mk_prompt_tmp */
    size_t matrices;
    size_t latent, width, pages, heads, parts;
    size_t widened;                 /* bytes of a part or span that is */
    size_t rounded[SCRATCH_INPUTS]; /* bytes a row of the step */
};

static void grow(size_t *most, size_t value)
{
    if (value > *most)
        *most = value;
}

static void need_weight(struct need *need, const struct weight *w)
{
    grow(&need->k, (size_t)w->k);
}

/* `times` rows of length k for each of the step, as integers. */
static void need_rounded(struct need *need, int input, size_t times, int k)
{
    grow(&need->rounded[input], times * mk_rounded_bytes(k));
}

static void need_mla(struct need *need, const struct op_mla *op, enum mk_type cache_type)
{
    grow(&need->hidden, (size_t)op->norm.k);
    grow(&need->q_rank, (size_t)op->q_rank);
    grow(&need->q, (size_t)op->heads * (size_t)(op->nope + op->rope));
    grow(&need->kv, (size_t)(op->latent + op->rope));
    grow(&need->o, (size_t)op->heads * (size_t)op->value);
    need_rounded(need, 0, 1, op->norm.k);
    need_rounded(need, 0, 1, op->q_rank);
    need_rounded(need, 0, 1, op->out.k);
    grow(&need->latent, (size_t)op->latent);
    grow(&need->width, (size_t)(op->latent + op->rope));
    grow(&need->pages, (size_t)(op->max_tokens / op->page_tokens + 1));
    if (cache_type == MK_Q8_0) { /* in whole pages */
        size_t row = mk_cache_row_bytes(MK_BF16, op->latent, op->rope);
        grow(&need->widened, (size_t)(MK_ATTEND_PART + op->page_tokens) * row);
        grow(&need->widened, (size_t)(MK_PROMPT_SPAN + op->page_tokens) * row);
    }
    grow(&need->heads, (size_t)op->heads);
    grow(&need->parts, (size_t)(op->max_tokens / MK_ATTEND_PART + 1));
    grow(&need->attend, mk_attend_tmp(op->page_tokens, op->latent, op->rope));
    grow(&need->attend, mk_prompt_tmp(op->latent, op->nope, op->rope, op->value));
    grow(&need->matrices, (size_t)op->latent * (size_t)(op->nope + op->value));
    const struct weight *all[] = {&op->q_a, &op->q_b, &op->kv_a, &op->k_b, &op->v_b, &op->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        need_weight(need, all[i]);
}

static void need_moe(struct need *need, const struct op_moe *op)
{
    size_t used = (size_t)op->route.n_used;
    grow(&need->hidden, (size_t)op->norm.k);
    grow(&need->experts, (size_t)op->route.n_experts);
    grow(&need->used, used);
    grow(&need->wide, used * (size_t)op->gate.n);
    grow(&need->shared, (size_t)op->shared_gate.n);
    need_rounded(need, 0, 1, op->norm.k);
    need_rounded(need, 0, used, op->down.k);
    need_rounded(need, 1, 1, op->shared_down.k);
    const struct weight *all[] = {&op->router, &op->gate, &op->down, &op->shared_gate,
                                  &op->shared_down};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        need_weight(need, all[i]);
}

static void need_op(struct need *need, const struct op *op, enum mk_type cache_type)
{
    switch (op->kind) {
    case OP_BEGIN:
        grow(&need->hidden, (size_t)op->begin.embedding.k);
        break;
    case OP_MLA:
        need_mla(need, &op->mla, cache_type);
        break;
    case OP_FFN:
        grow(&need->hidden, (size_t)op->ffn.norm.k);
        grow(&need->wide, (size_t)op->ffn.gate.n);
        need_rounded(need, 0, 1, op->ffn.norm.k);
        need_rounded(need, 0, 1, op->ffn.down.k);
        need_weight(need, &op->ffn.gate);
        need_weight(need, &op->ffn.down);
        break;
    case OP_MOE:
        need_moe(need, &op->moe);
        break;
    case OP_HEAD:
        grow(&need->hidden, (size_t)op->head.norm.k);
        need_rounded(need, 0, 1, op->head.norm.k);
        need_weight(need, &op->head.head);
        break;
    }
}

/* Hands out pieces of a block; without one it only counts, so one walk serves both. */
struct cutter {
    char *mem;
    size_t used;
};

static void *cut(struct cutter *c, size_t count, size_t element)
{
    void *ret = c->mem ? c->mem + c->used : NULL;
    c->used += (count * element + 63) / 64 * 64;
    return ret;
}

static float *cut_floats(struct cutter *c, size_t count)
{
    return cut(c, count, sizeof(float));
}

static void lay_out(struct scratch *s, struct cutter *c, const struct need *need, size_t rows,
                    int threads, size_t attend_rows)
{
    size_t normed = need->hidden > need->q_rank ? need->hidden : need->q_rank;
    s->h = cut_floats(c, rows * normed);
    for (int i = 0; i < SCRATCH_INPUTS; i++)
        s->rounded[i] = cut(c, rows, need->rounded[i]);
    s->q_latent = cut_floats(c, rows * need->q_rank);
    s->q = cut_floats(c, rows * need->q);
    s->kv = cut_floats(c, rows * need->kv);
    s->o = cut_floats(c, rows * need->o);
    s->hidden = cut_floats(c, rows * need->wide);
    s->other = cut_floats(c, rows * need->wide);
    s->shared_hidden = cut_floats(c, rows * need->shared);
    s->shared_other = cut_floats(c, rows * need->shared);
    s->logits = cut_floats(c, SCRATCH_FEW * need->experts);
    s->chosen = cut(c, rows * need->used, sizeof *s->chosen);
    s->chosen_weight = cut_floats(c, rows * need->used);
    s->slot_row = cut(c, rows * need->used, sizeof *s->slot_row);
    s->slot_weight = cut_floats(c, rows * need->used);
    s->expert_start = cut(c, need->experts + 1, sizeof *s->expert_start);
    s->expert_next = cut(c, need->experts, sizeof *s->expert_next);
    s->active = cut(c, need->experts, sizeof *s->active);
    s->block = cut(c, rows, sizeof *s->block);
    size_t slots = need->parts > 2 * SCRATCH_ANSWERS ? need->parts : 2 * SCRATCH_ANSWERS;
    s->n_slots = (int)slots;
    s->part_start = cut(c, SCRATCH_ANSWERS + 1, sizeof *s->part_start);
    s->absorbed = cut_floats(c, SCRATCH_ANSWERS * need->heads * need->width);
    s->part = cut_floats(c, slots * need->heads * need->latent);
    s->peak = cut(c, slots * need->heads, sizeof *s->peak);
    s->worker = cut(c, (size_t)threads, sizeof *s->worker);
    for (int i = 0; i < threads; i++) {
        struct worker_scratch w = {
            .mm = cut_floats(c, mk_mm_tmp((int)need->k, (int)rows)),
            .attend = cut_floats(c, need->attend),
            .absorbed = cut_floats(c, attend_rows * need->width),
            .latent = cut_floats(c, attend_rows * need->latent),
            .router = cut_floats(c, SCRATCH_FEW * need->experts),
            .route = cut_floats(c, 2 * need->experts),
            .h = cut_floats(c, SCRATCH_FEW * normed),
            .matrices = cut_floats(c, need->matrices),
            .peak = cut(c, rows, sizeof *w.peak),
            .page = cut(c, need->pages, sizeof *w.page),
            .wide = cut(c, need->widened, 1),
        };
        for (int j = 0; j < SCRATCH_INPUTS; j++)
            w.rounded[j] = cut(c, SCRATCH_FEW, need->rounded[j]);
        if (c->mem)
            s->worker[i] = w;
    }
}

int scratch_prepare(struct scratch *s, const struct op *ops, int n_ops, int max_rows, int threads,
                    int attend_rows, enum mk_type cache_type, struct err *err)
{
    scratch_fini(s);
    struct need need = {0};
    for (int i = 0; i < n_ops; i++)
        need_op(&need, &ops[i], cache_type);

    struct cutter count = {0};
    lay_out(s, &count, &need, (size_t)max_rows, threads, (size_t)attend_rows);
    int r = mem_alloc(count.used, &s->mem);
    if (r < 0)
        return err_set(err, r, "no memory for %zu MiB of scratch for steps of %d rows",
                       count.used >> 20, max_rows);
    s->bytes = count.used;
    struct cutter real = {.mem = s->mem};
    lay_out(s, &real, &need, (size_t)max_rows, threads, (size_t)attend_rows);
    return 0;
}

size_t scratch_shed(struct scratch *s, int threads)
{
    if (!s->mem)
        return 0;
    char *mem = s->mem, *end = mem + s->bytes;
    char *kept = (char *)s->worker, *behind = (char *)(s->worker + threads);
    return mem_give_back(mem, (size_t)(kept - mem)) + mem_give_back(behind, (size_t)(end - behind));
}

void scratch_fini(struct scratch *s)
{
    mem_free(s->mem, s->bytes);
    *s = (struct scratch){0};
}
