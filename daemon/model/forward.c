/* SPDX-License-Identifier: MIT */
#include "model/forward.h"

#include <errno.h>
#include <math.h>

#include "model/cost.h"
#include "model/model.h"
#include "model/parts.h"

struct forward {
    struct place *place;
    struct program program;
    const struct rows *rows; /* of the step under way, whose next op is: */
    int next;
    struct kv_schema schema;
    double *frequency;
    int vocab;
    struct forward_experts experts;
    atomic_uint_fast64_t *chosen;  /* theirs, */
    atomic_uint_fast64_t *counted; /* if they are this one's own */
};

static size_t row_bytes(int numbers)
{
    return (size_t)numbers * sizeof(float);
}

static int buffers(struct forward *f, const struct hparams *hp, int max_rows, int max_wanted)
{
    size_t rows = (size_t)max_rows;
    int r = buf_new(f->place, rows * row_bytes(hp->hidden), &f->program.x);
    if (r == 0)
        r = buf_new(f->place, rows * row_bytes(hp->rope_dims), &f->program.cs);
    if (r == 0)
        r = buf_new(f->place, (size_t)max_wanted * row_bytes(hp->vocab), &f->program.logits);
    f->program.ops = calloc((size_t)hp->layers * ARCH_LAYER_OPS + 2, sizeof *f->program.ops);
    f->frequency = calloc((size_t)hp->rope_dims / 2, sizeof *f->frequency);
    return r < 0 || !f->program.ops || !f->frequency ? -ENOMEM : 0;
}

static int counters(struct forward *f, const struct hparams *hp)
{
    int n_moe = hp->experts ? hp->layers - hp->dense_layers : 0;
    f->counted = calloc((size_t)n_moe * (size_t)hp->experts + 1, sizeof *f->counted);
    f->chosen = f->counted;
    f->experts = (struct forward_experts){.first = hp->dense_layers,
                                          .n_layers = n_moe,
                                          .n_experts = hp->experts,
                                          .chosen = f->chosen};
    return f->counted ? 0 : -ENOMEM;
}

static void write_program(struct forward *f, const struct arch *arch, const struct hparams *hp,
                          const struct weights *weights)
{
    struct program *p = &f->program;
    place_frequencies(&hp->rope, f->frequency);
    p->ops[p->n++] = (struct op){
        .kind = OP_BEGIN,
        .begin = {.x = p->x,
                  .cs = p->cs,
                  .embedding = weights->file[ROLE_EMBEDDING],
                  .frequency = f->frequency,
                  .rope = hp->rope_dims},
    };
    for (int layer = 0; layer < hp->layers; layer++) {
        int first = p->n;
        arch->layer(hp, weights, layer, p);
        for (struct op *op = p->ops + first; op < p->ops + p->n; op++)
            if (op->kind == OP_MOE)
                op->moe.chosen =
                    f->chosen + (size_t)(layer - hp->dense_layers) * (size_t)hp->experts;
    }
    p->ops[p->n++] = (struct op){
        .kind = OP_HEAD,
        .head = {.x = p->x,
                 .logits = p->logits,
                 .eps = hp->eps,
                 .norm = weights->file[ROLE_FINAL_NORM],
                 .head = weights->file[ROLE_HEAD]},
    };
}

static int open_on(const struct forward *first, const struct model *model,
                   const struct loaded *loaded, int max_rows, int max_wanted, struct forward **ret,
                   struct err *err)
{
    const struct hparams *hp = model_hparams(model);
    OWN(forward) *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(err, -ENOMEM, "no memory for a program");
    f->place = loaded->place;
    f->vocab = hp->vocab;
    f->program.cache_type = f->place->cache_type;
    model_arch(model)->kv_schema(hp, &f->schema);
    int r = buffers(f, hp, max_rows, max_wanted);
    if (r == 0 && !first)
        r = counters(f, hp);
    if (r < 0)
        return err_set(err, r, "no memory for steps of %d rows", max_rows);
    if (first) {
        f->chosen = first->chosen;
        f->experts = first->experts;
    }
    write_program(f, model_arch(model), hp, &loaded->weights);
    if (!first)
        r = f->place->ops->prepare(f->place, f->program.ops, f->program.n, max_rows, err);
    if (r < 0)
        return r;
    *ret = TAKE(f);
    return 0;
}

int forward_new(const struct model *model, int max_rows, int max_wanted, struct forward **ret,
                struct err *err)
{
    return open_on(NULL, model, model_loaded(model), max_rows, max_wanted, ret, err);
}

int forward_beside(const struct forward *first, const struct model *model, int max_rows,
                   int max_wanted, struct forward **ret, struct err *err)
{
    return open_on(first, model, model_loaded(model), max_rows, max_wanted, ret, err);
}

uint64_t forward_beside_bytes(const struct model *model, int max_rows, int max_wanted)
{
    const struct hparams *hp = model_hparams(model);
    return (uint64_t)max_rows * (row_bytes(hp->hidden) + row_bytes(hp->rope_dims)) +
           (uint64_t)max_wanted * row_bytes(hp->vocab);
}

int forward_measure(const struct model *model, struct place *place, int max_rows, int max_wanted,
                    struct forward_size *ret, struct err *err)
{
    OWN(forward) *f = NULL;
    struct loaded loaded;
    int r = weights_pretend(model_plan(model), model_hparams(model), place, &loaded);
    if (r < 0)
        return err_set(err, r, "no memory to measure a model");
    r = open_on(NULL, model, &loaded, max_rows, max_wanted, &f, err);
    if (r == 0)
        *ret = (struct forward_size){
            .weights = plan_bytes(model_plan(model), place),
            .scratch = f->program.x->bytes + f->program.cs->bytes + f->program.logits->bytes +
                       place->ops->scratch_bytes(place),
            .page = kv_page_bytes(&f->schema, f->program.cache_type),
        };
    weights_unload(&loaded);
    return r;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    buf_free(f->program.x);
    buf_free(f->program.cs);
    buf_free(f->program.logits);
    free(f->program.ops);
    free(f->frequency);
    free(f->counted);
    free(f);
}

void forward_schema(const struct forward *f, struct kv_schema *ret)
{
    *ret = f->schema;
}

enum mk_type forward_cache_type(const struct forward *f)
{
    return f->program.cache_type;
}

void forward_run(struct forward *f, const struct rows *rows)
{
    f->place->ops->submit(f->place, f->program.ops, f->program.n, rows);
}

void forward_begin(struct forward *f, const struct rows *rows)
{
    f->rows = rows;
    f->next = 0;
}

bool forward_go_on(struct forward *f)
{
    f->place->ops->submit(f->place, &f->program.ops[f->next], 1, f->rows);
    return ++f->next == f->program.n;
}

void forward_logits(struct forward *f, int i, float *dst)
{
    size_t bytes = (size_t)f->vocab * sizeof *dst;
    buf_fetch(f->place, f->program.logits, (size_t)i * bytes, dst, bytes);
}

void forward_experts(const struct forward *f, struct forward_experts *ret)
{
    *ret = f->experts;
}

void forward_hidden(struct forward *f, int i, float *dst)
{
    const struct op_head *head = &f->program.ops[f->program.n - 1].head;
    int hidden = head->norm.k;
    const float *weight = head->norm.data;
    size_t bytes = (size_t)hidden * sizeof *dst;
    buf_fetch(f->place, f->program.x, (size_t)i * bytes, dst, bytes);
    double sum = 0;
    for (int k = 0; k < hidden; k++)
        sum += (double)dst[k] * dst[k];
    double scale = 1 / sqrt(sum / hidden + (double)head->eps);
    for (int k = 0; k < hidden; k++)
        dst[k] = (float)(dst[k] * scale * weight[k]);
}

void forward_cost(const struct forward *f, int rows, double context, int sharing, int n_wanted,
                  struct cost *ret)
{
    cost_of(f->program.ops, f->program.n, f->program.cache_type, rows, context, sharing, n_wanted,
            ret);
}

void forward_rest(struct forward *f)
{
    f->place->ops->rest(f->place);
}

size_t forward_shed(struct forward *f)
{
    size_t bytes = buf_shed(f->program.x) + buf_shed(f->program.cs) + buf_shed(f->program.logits);
    return bytes + (f->place->ops->shed ? f->place->ops->shed(f->place) : 0);
}
