/* SPDX-License-Identifier: MIT
 *
 * The CPU place: ops are cut into phases, phases into tiles, a tile is a kernel call.
 *
 * Every output element is computed by exactly one tile with sums in a fixed order, so the answer
 * depends neither on the number of threads nor on who took which tile. Between two phases all
 * workers have met: a phase may read whatever the one before it wrote. Steps of few rows meet at
 * most five times a layer: norms are then made by every worker for itself, and what else is short
 * by whoever ends the phase's tiles that it depends on.
 */
#include "place/place.h"

#include <errno.h>
#include <string.h>

#include "place/job.h"
#include "place/plan_nodes.h"
#include "place/pool.h"
#include "place/scratch.h"
#include "place/topo.h"

/* ------------------------------------------------------------------ begin */

static void begin_rows(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    const struct op_begin *op = &job->op->begin;
    const struct mk_mat *mat = &job->cpu->mk.mat[op->embedding.type];
    int hidden = op->embedding.k;
    int end = min_int((tile + 1) * NORM_ROWS, job->rows->n);
    for (int i = tile * NORM_ROWS; i < end; i++) {
        int first, last;
        const void *rows = job_find_rows(&op->embedding, 0, job->rows->token[i], &first, &last);
        mat->row(op->x->data + (size_t)i * (size_t)hidden, rows, last - first, hidden,
                 job->rows->token[i] - first);
        mk_rope_table(op->frequency, op->rope, job->rows->position[i],
                      op->cs->data + (size_t)i * (size_t)op->rope);
    }
}

static void run_begin(struct job *job)
{
    job_run(job, begin_rows, ceil_div(job->rows->n, NORM_ROWS));
}

/* ------------------------------------------------------------------ head */

static void head_logits(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_head *op = &job->op->head;
    struct made_rows rows = job_input_rows(job, 0, worker);
    job_multiply(
        job->cpu, worker, &op->head, 0,
        (struct mk_mm){
            .x = rows.x,
            .rounded = rows.rounded,
            .y = op->logits->data,
            .m = job->rows->n_wanted,
            .ldx = op->head.k,
            .ldy = op->head.n,
            .n0 = tile * job->tile_n,
            .n1 = min_int((tile + 1) * job->tile_n, op->head.n),
        },
        job->rows->n_wanted); /* what is sampled from is of an answer, wherever it follows */
}

static void run_head(struct job *job)
{
    const struct op_head *op = &job->op->head;
    int n = job->rows->n_wanted;
    if (n == 0)
        return;
    job_run_input(job, 0,
                  (struct input){
                      .x = op->x->data,
                      .which = job->rows->wanted,
                      .norm = &op->norm,
                      .eps = op->eps,
                      .n = n,
                      .k = op->head.k,
                      .n_rounded = job->cpu->mk.mat[op->head.type].few == MK_CODES ? n : 0,
                      .is_few = is_few(n),
                  });
    job->tile_n = job_tile_rows(job, op->head.n);
    job_run(job, head_logits, ceil_div(op->head.n, job->tile_n));
}

/* ------------------------------------------------------------------ the place */

static void (*const run_op[])(struct job *job) = {
    [OP_BEGIN] = run_begin, [OP_MLA] = mla_run,   [OP_FFN] = ffn_run,
    [OP_MOE] = moe_run,     [OP_HEAD] = run_head,
};

static void cpu_submit(struct place *place, const struct op *ops, int n_ops,
                       const struct rows *rows)
{
    struct cpu *cpu = (struct cpu *)place;
    for (int i = 0; i < n_ops; i++)
        run_op[ops[i].kind](&(struct job){.cpu = cpu, .op = &ops[i], .rows = rows});
}

static void cpu_rest(struct place *place)
{
    pool_rest(((struct cpu *)place)->pool);
}

static uint64_t cpu_beat(const struct place *place)
{
    return pool_beat(((const struct cpu *)place)->pool);
}

static void cpu_drive(struct place *place)
{
    pool_pin_caller(((struct cpu *)place)->pool);
}

static int cpu_prepare(struct place *place, const struct op *ops, int n_ops, int max_rows,
                       struct err *err)
{
    struct cpu *cpu = (struct cpu *)place;
    int block = (int)mk_type_info[place->cache_type].block_elements;
    for (int i = 0; i < n_ops; i++)
        if (ops[i].kind == OP_MLA && ops[i].mla.latent % block)
            return err_set(err, -ENOTSUP,
                           "latents of %d numbers cannot be cached as %s, in blocks of %d; set "
                           "CacheFormat=float",
                           ops[i].mla.latent, mk_type_info[place->cache_type].name, block);
    return scratch_prepare(&cpu->scratch, ops, n_ops, max_rows, place->threads, ATTEND_ROWS,
                           place->cache_type, err);
}

static size_t cpu_scratch_bytes(const struct place *place)
{
    return ((const struct cpu *)place)->scratch.bytes;
}

static size_t cpu_pack_size(const struct place *place, const struct mat *mat)
{
    const struct cpu *cpu = (const struct cpu *)place;
    return cpu->mk.mat[mat->type].pack_size(mat->n, mat->k);
}

static void cpu_pack(struct place *place, const struct mat *rows, const void *src, void *dst)
{
    struct cpu *cpu = (struct cpu *)place;
    cpu->mk.mat[rows->type].pack(dst, src, rows->n, rows->k);
}

static bool cpu_is_plain(const struct place *place, enum mk_type type)
{
    return ((const struct cpu *)place)->mk.mat[type].layout == MK_ROWS;
}

static void cpu_bind(struct place *place, const struct mat *mat, const void *packed,
                     struct weight *ret)
{
    *ret = (struct weight){
        .type = mat->type,
        .n = mat->n,
        .k = mat->k,
        .count = mat->count,
        .stride = cpu_pack_size(place, mat),
        .data = packed,
    };
}

static size_t cpu_shed(struct place *place)
{
    return scratch_shed(&((struct cpu *)place)->scratch, place->threads);
}

static void cpu_close(struct place *place)
{
    struct cpu *cpu = (struct cpu *)place;
    pool_free(cpu->pool);
    scratch_fini(&cpu->scratch);
    free(cpu);
}

static void destroy(struct cpu *cpu)
{
    if (cpu)
        cpu_close(&cpu->place);
}
OWN_DEFINE(cpu, destroy);

static int read_topo(const char *cores, struct topo *ret, struct err *err)
{
    static const char *const names[] = {
        [TOPO_AUTO] = "auto", [TOPO_PERFORMANCE] = "performance", [TOPO_ALL] = "all"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (!cores || !strcmp(names[i], cores))
            return topo_read((enum topo_cores)i, ret, err);
    return err_set(err, -EINVAL,
                   "no choice of cores is called '%s'; there are auto, performance, all", cores);
}

static int read_cache_type(const char *name, const struct mk *mk, enum mk_type *ret,
                           struct err *err)
{
    if (name && strcmp(name, "float") && strcmp(name, "int8"))
        return err_set(err, -EINVAL, "no format of a cache is called '%s'; there are float, int8",
                       name);
    *ret = name && !strcmp(name, "int8") ? MK_Q8_0 : mk->latents;
    return 0;
}

/* Shares of tiles in proportion to the rows on each node, so that a worker's tiles are of its own.
 * Without a topology for every thread they stay alike. */
static void weigh_workers(struct cpu *cpu)
{
    const struct place *place = &cpu->place;
    double share[TOPO_MAX_NODES], weight[TOPO_MAX_CORES];
    if (place->n_nodes < 2 || place->node[0].os < 0 || place->threads > cpu->topo.n_cores)
        return;
    plan_node_shares(place->node, place->n_nodes, share);
    for (int i = 0; i < place->threads; i++) {
        int at = cpu->topo.at[i];
        weight[i] = share[at] / place->node[at].workers;
    }
    pool_weigh(cpu->pool, weight);
}

static void cpu_describe(const struct place *place, struct place_words *ret)
{
    topo_describe(&((const struct cpu *)place)->topo, place->threads, ret->workers,
                  sizeof ret->workers);
}

extern const struct place_ops place_cpu;

static int cpu_open(const struct place_spec *spec, struct place **ret, struct err *err)
{
    OWN(cpu) *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return err_set(err, -ENOMEM, "no memory for a place");
    int r = mk_init(&cpu->mk, spec->isa);
    if (r == -EINVAL)
        return err_set(err, r, "no instruction set is called '%s'", spec->isa);
    if (r < 0)
        return err_set(err, r, "this processor lacks the instruction set '%s'", spec->isa);

    enum mk_type cache_type;
    r = read_cache_type(spec->cache, &cpu->mk, &cache_type, err);
    if (r == 0)
        r = read_topo(spec->cores, &cpu->topo, err);
    if (r < 0)
        return r;
    cpu->place = (struct place){
        .ops = &place_cpu,
        .cache_type = cache_type,
        .threads = spec->threads > 0 ? spec->threads : cpu->topo.n_workers,
        .isa = cpu->mk.isa,
        .attention = cpu->mk.prompt_expand ? "prompts expanded, answers absorbed" : "absorbed",
    };
    cpu->place.node = cpu->node;
    cpu->place.n_nodes = plan_node_rooms(&cpu->topo, cpu->place.threads, spec->nodes, cpu->node);
    r = pool_new(&cpu->topo, cpu->place.threads, &cpu->pool, err);
    if (r < 0)
        return r;
    weigh_workers(cpu);
    *ret = &TAKE(cpu)->place;
    return 0;
}

const struct place_ops place_cpu = {
    .kind = "cpu",
    .what = "all cores, the fastest kernels they run",
    .open = cpu_open,
    .close = cpu_close,
    .pack_size = cpu_pack_size,
    .pack = cpu_pack,
    .is_plain = cpu_is_plain,
    .bind = cpu_bind,
    .prepare = cpu_prepare,
    .scratch_bytes = cpu_scratch_bytes,
    .submit = cpu_submit,
    .rest = cpu_rest,
    .shed = cpu_shed,
    .beat = cpu_beat,
    .drive = cpu_drive,
    .describe = cpu_describe,
};
