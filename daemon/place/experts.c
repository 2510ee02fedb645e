/* SPDX-License-Identifier: MIT
 *
 * Feed-forward layers on the CPU place, dense ones and mixtures of experts. The engine's thread and
 * the workers.
 */
#include <string.h>

#include "place/job.h"

/* ------------------------------------------------------------------ feed forward */

/* hidden[n0, n1) = silu(gate · h) ⊙ (up · h) for m rows of the input, then times each row's weight.
 */
static void gate_up(const struct job *job, int worker, const struct weight *gate,
                    const struct weight *up, int index, const int32_t *rows,
                    const float *row_weight, int m, int n_decode, float *hidden, float *other,
                    int n0, int n1)
{
    struct cpu *cpu = job->cpu;
    struct made_rows made = job_input_rows(job, 0, worker);
    struct mk_mm mm = {
        .x = made.x,
        .rounded = made.rounded,
        .y = hidden,
        .xrow = rows,
        .m = m,
        .ldx = gate->k,
        .ldy = gate->n,
        .n0 = n0,
        .n1 = n1,
    };
    job_multiply_coarse(cpu, worker, gate, index, mm, n_decode);
    mm.y = other;
    job_multiply_coarse(cpu, worker, up, index, mm, n_decode);
    for (int i = 0; i < m; i++) {
        float *g = hidden + (size_t)i * (size_t)gate->n + n0;
        cpu->mk.swiglu(g, g, other + (size_t)i * (size_t)gate->n + n0, n1 - n0);
        if (row_weight)
            for (int j = 0; j < n1 - n0; j++)
                g[j] *= row_weight[i];
    }
}

static void ffn_gate_up(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_ffn *op = &job->op->ffn;
    struct scratch *s = &job->cpu->scratch;
    gate_up(job, worker, &op->gate, &op->up, 0, NULL, NULL, job->rows->n, job->rows->n_decode,
            s->hidden, s->other, tile * job->tile_n, min_int((tile + 1) * job->tile_n, op->gate.n));
}

static void ffn_down(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_ffn *op = &job->op->ffn;
    job_project_coarse(job, worker, &op->down, op->x->data, true, tile);
}

void ffn_run(struct job *job)
{
    const struct op_ffn *op = &job->op->ffn;
    int n = job->rows->n;
    job_run_input(job, 0,
                  (struct input){
                      .x = op->x->data,
                      .norm = &op->norm,
                      .eps = op->eps,
                      .n = n,
                      .k = op->gate.k,
                      .n_rounded = max_int(job_round_for(job, &op->gate, true),
                                           job_round_for(job, &op->up, true)),
                      .is_few = is_few(n),
                  });
    job->tile_n = job_tile_rows(job, op->gate.n);
    job_run(job, ffn_gate_up, ceil_div(op->gate.n, job->tile_n));
    job_run_input(job, 0,
                  (struct input){
                      .x = job->cpu->scratch.hidden,
                      .n = n,
                      .k = op->down.k,
                      .n_rounded = job_round_for(job, &op->down, true),
                      .is_few = is_few(n),
                  });
    job->tile_n = job_tile_rows(job, op->down.n);
    job_run(job, ffn_down, ceil_div(op->down.n, job->tile_n));
}

/* ------------------------------------------------------------------ mixture of experts */

/* logits of experts [n0, n1) for m rows of h from `first` on. */
static void router_rows(const struct job *job, int worker, const float *h, int first, int m,
                        float *logits, int n0, int n1)
{
    const struct op_moe *op = &job->op->moe;
    job_multiply(job->cpu, worker, &op->router, 0,
                 (struct mk_mm){
                     .x = h,
                     .y = logits,
                     .m = m,
                     .ldx = op->router.k,
                     .ldy = op->route.n_experts,
                     .n0 = n0,
                     .n1 = n1,
                 },
                 max_int(job->rows->n_decode - first, 0));
}

/* What m rows from `first` on choose by their logits. */
static void choose(const struct job *job, int worker, int first, int m, const float *logits)
{
    const struct mk_route *route = &job->op->moe.route;
    const struct scratch *s = &job->cpu->scratch;
    size_t n_experts = (size_t)route->n_experts, n_used = (size_t)route->n_used;
    for (int i = 0; i < m; i++) {
        size_t at = (size_t)(first + i) * n_used;
        job->cpu->mk.route(route, logits + (size_t)i * n_experts, s->chosen + at,
                           s->chosen_weight + at, s->worker[worker].route);
    }
}

static void moe_route(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct scratch *s = &job->cpu->scratch;
    int first = tile * NORM_ROWS, m = min_int(NORM_ROWS, job->rows->n - first);
    float *logits = s->worker[worker].router;
    job_make_rows(job, 0, first, m);
    const float *h = s->h + (size_t)first * (size_t)job->op->moe.router.k;
    router_rows(job, worker, h, first, m, logits, 0, job->op->moe.route.n_experts);
    choose(job, worker, first, m, logits);
}

/* Sorts (row, expert) pairs by expert, rows in order inside: each expert's weights are read once.
 */
static void sort_by_expert(const struct op_moe *op, struct scratch *s, int n_rows)
{
    int n_used = op->route.n_used, n_experts = op->route.n_experts;
    memset(s->expert_start, 0, (size_t)(n_experts + 1) * sizeof *s->expert_start);
    for (int i = 0; i < n_rows * n_used; i++)
        s->expert_start[s->chosen[i] + 1]++;
    s->n_active = 0;
    for (int e = 0; e < n_experts; e++) {
        if (s->expert_start[e + 1]) {
            s->active[s->n_active++] = e;
            op_moe_count(op, e, s->expert_start[e + 1]);
        }
        s->expert_start[e + 1] += s->expert_start[e];
        s->expert_next[e] = s->expert_start[e];
    }
    for (int i = 0; i < n_rows * n_used; i++) {
        int slot = s->expert_next[s->chosen[i]]++;
        s->slot_row[slot] = i / n_used;
        s->slot_weight[slot] = s->chosen_weight[i];
    }
}

/* How many of an expert's rows are of answers. */
static int expert_decode(const struct job *job, int expert)
{
    const struct scratch *s = &job->cpu->scratch;
    int n = 0, m = s->expert_start[expert + 1] - s->expert_start[expert];
    while (n < m && s->slot_row[s->expert_start[expert] + n] < job->rows->n_decode)
        n++;
    return n;
}

/* Few rows: parts of the router until all are taken. Who ends the last one chooses and sorts. */
static void route_parts(struct job *job, int worker)
{
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    if (atomic_load_explicit(&job->routed, memory_order_acquire))
        return;
    for (int part; (part = atomic_fetch_add_explicit(&job->next_part, 1, memory_order_relaxed)) <
                   job->n_parts;) {
        router_rows(job, worker, job_input_rows(job, 0, worker).x, 0, job->rows->n, s->logits,
                    part * job->part_n, min_int((part + 1) * job->part_n, op->route.n_experts));
        if (atomic_fetch_add_explicit(&job->parts_done, 1, memory_order_acq_rel) + 1 < job->n_parts)
            continue;
        choose(job, worker, 0, job->rows->n, s->logits);
        sort_by_expert(op, s, job->rows->n);
        atomic_store_explicit(&job->routed, 1, memory_order_release);
    }
}

/* A tile of an expert: `index` counts those of all experts that have rows; expert by expert, so
 * that a worker reads on and on, or where each expert lies on several nodes, the same rows of all
 * of them, so that it reads what is near. */
static void expert_gate_up(const struct job *job, int worker, int index)
{
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    bool spread = op->gate.part != NULL;
    int expert = s->active[spread ? index % s->n_active : index / job->n_tiles];
    int n0 = (spread ? index / s->n_active : index % job->n_tiles) * job->tile_n;
    int start = s->expert_start[expert], m = s->expert_start[expert + 1] - start;
    size_t at = (size_t)start * (size_t)op->gate.n;
    gate_up(job, worker, &op->gate, &op->up, expert, s->slot_row + start, s->slot_weight + start, m,
            expert_decode(job, expert), s->hidden + at, s->other + at, n0,
            min_int(n0 + job->tile_n, op->gate.n));
}

/* Tiles of the shared expert, which need no router, then those of the chosen ones: as many as there
 * may be, among which those that there are lie evenly. */
static void moe_gate_up(void *arg, int worker, int tile)
{
    struct job *job = arg;
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    int shared_n = op->shared_gate.data ? op->shared_gate.n : 0;
    int shared_tiles = ceil_div(shared_n, job->tile_n);
    route_parts(job, worker);
    if (tile < shared_tiles) {
        gate_up(job, worker, &op->shared_gate, &op->shared_up, 0, NULL, NULL, job->rows->n,
                job->rows->n_decode, s->shared_hidden, s->shared_other, tile * job->tile_n,
                min_int((tile + 1) * job->tile_n, shared_n));
        return;
    }
    pool_await(&job->routed, 1);
    int64_t t = tile - shared_tiles;
    for (int64_t i = t * s->n_active / job->n_slots; i < (t + 1) * s->n_active / job->n_slots; i++)
        expert_gate_up(job, worker, (int)i);
}

/* A block of output columns for all experts in ascending order, then the shared one. */
static void moe_down(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    struct made_rows slots = job_input_rows(job, 0, worker);
    size_t bytes = mk_rounded_bytes(op->down.k);
    struct mk_mm mm = {
        .y = op->x->data,
        .ldx = op->down.k,
        .ldy = op->down.n,
        .n0 = tile * job->tile_n,
        .n1 = min_int((tile + 1) * job->tile_n, op->down.n),
        .add = true,
    };
    for (int a = 0; a < s->n_active; a++) {
        int expert = s->active[a], start = s->expert_start[expert];
        mm.x = slots.x + (size_t)start * (size_t)op->down.k;
        mm.rounded = slots.rounded ? slots.rounded + (size_t)start * bytes : NULL;
        mm.yrow = s->slot_row + start;
        mm.m = s->expert_start[expert + 1] - start;
        job_multiply_coarse(job->cpu, worker, &op->down, expert, mm, expert_decode(job, expert));
    }
    if (op->shared_down.data) {
        struct made_rows shared = job_input_rows(job, 1, worker);
        mm.x = shared.x;
        mm.rounded = shared.rounded;
        mm.yrow = NULL;
        mm.m = job->rows->n;
        mm.ldx = op->shared_down.k;
        job_multiply_coarse(job->cpu, worker, &op->shared_down, 0, mm, job->rows->n_decode);
    }
}

/* What the experts made: rows of all slots, and of the shared one. */
static void run_down_inputs(struct job *job)
{
    const struct op_moe *op = &job->op->moe;
    const struct scratch *s = &job->cpu->scratch;
    int n = job->rows->n, slots = n * op->route.n_used;
    job_run_input(job, 0,
                  (struct input){
                      .x = s->hidden,
                      .n = slots,
                      .k = op->down.k,
                      .n_rounded = job_round_for(job, &op->down, true) ? slots : 0,
                      .is_few = is_few(n),
                  });
    if (op->shared_down.data)
        job_run_input(job, 1,
                      (struct input){
                          .x = s->shared_hidden,
                          .n = n,
                          .k = op->shared_down.k,
                          .n_rounded = job_round_for(job, &op->shared_down, true),
                          .is_few = is_few(n),
                      });
}

void moe_run(struct job *job)
{
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    int n = job->rows->n;
    int shared_n = op->shared_gate.data ? op->shared_gate.n : 0;
    int n_rounded = max_int(job_round_for(job, &op->gate, true), job_round_for(job, &op->up, true));
    if (shared_n)
        n_rounded = max_int(n_rounded, max_int(job_round_for(job, &op->shared_gate, true),
                                               job_round_for(job, &op->shared_up, true)));
    job_set_input(job, 0,
                  (struct input){
                      .x = op->x->data,
                      .norm = &op->norm,
                      .eps = op->eps,
                      .n = n,
                      .k = op->gate.k,
                      .n_rounded = n_rounded,
                      .is_few = is_few(n),
                  });
    if (is_few(n)) {
        job->part_n = job_tile_rows(job, op->route.n_experts);
        job->n_parts = ceil_div(op->route.n_experts, job->part_n);
        job->n_slots = min_int(n * op->route.n_used, op->route.n_experts);
    } else {
        job_run(job, moe_route, ceil_div(n, NORM_ROWS));
        sort_by_expert(op, s, n);
        job->n_slots = s->n_active;
    }
    atomic_store(&job->routed, !is_few(n));

    job->tile_n = job_tile_rows(job, job->n_slots * op->gate.n + shared_n);
    job->n_tiles = ceil_div(op->gate.n, job->tile_n);
    job_run_two(job, moe_gate_up, ceil_div(shared_n, job->tile_n), job->n_slots * job->n_tiles);
    run_down_inputs(job);
    job->tile_n = job_tile_rows(job, op->down.n);
    job_run(job, moe_down, ceil_div(op->down.n, job->tile_n));
}
