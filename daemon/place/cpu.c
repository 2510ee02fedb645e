/* SPDX-License-Identifier: MIT
 *
 * The CPU place: ops are cut into phases, phases into tiles, a tile is a kernel call.
 *
 * Every output element is computed by exactly one tile with sums in a fixed order, so the answer
 * depends neither on the number of threads nor on who took which tile. Between two phases all
 * workers have met: a phase may read whatever the one before it wrote.
 */
#include "place/place.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "place/plan_nodes.h"
#include "place/pool.h"
#include "place/scratch.h"
#include "place/topo.h"

enum {
    NORM_ROWS = 8,                /* rows of a tile of row-wise work */
    ATTEND_ROWS = MK_ATTEND_ROWS, /* rows times heads of a tile of a prompt's attention */
    MIN_TILE = 16,                /* weight rows below which a tile isn't worth handing out */
    TILES_A_THREAD = 4,
};

struct cpu {
    struct place place;
    struct mk mk;
    struct topo topo;
    struct node_room node[TOPO_MAX_NODES];
    struct pool *pool;
    struct scratch scratch;
};

/* What a phase works on; one at a time, on the caller's stack. */
struct job {
    struct cpu *cpu;
    const struct op *op;
    const struct rows *rows;
    int tile_n;  /* weight rows of a tile */
    int n_tiles; /* tiles of the first matrix, where a phase has two */
    int n_second;
};

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

/* Weight rows a tile, so that every thread gets a few tiles of n rows. */
static int tile_rows(const struct cpu *cpu, int n)
{
    int tile = ceil_div(n, cpu->place.threads * TILES_A_THREAD);
    tile = ceil_div(tile, MIN_TILE) * MIN_TILE;
    return tile > 0 ? tile : MIN_TILE;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void run_phase(struct job *job, const char *name, void (*phase)(void *, int, int),
                      int n_tiles)
{
    const struct place *place = &job->cpu->place;
    uint64_t start = place->trace ? now_ns() : 0;
    pool_run(job->cpu->pool, phase, job, n_tiles);
    if (place->trace)
        place->trace(place->trace_arg, name, start, now_ns());
}
#define run(job, phase, n_tiles) run_phase(job, #phase, phase, n_tiles)

/* Where row `row` of matrix `index` lies: rows [*first, *end) of it, the first of them at what is
 * returned. */
static const void *find_rows(const struct weight *w, int index, int row, int *first, int *end)
{
    const struct weight_part *part = w->part;
    *first = 0;
    *end = w->n;
    if (!part)
        return (const char *)w->data + (size_t)index * w->stride;
    while (part->end <= (w->by_matrix ? index : row))
        part++;
    if (w->by_matrix)
        return (const char *)part->data + (size_t)(index - part->first) * part->stride;
    *first = part->first;
    *end = part->end;
    return (const char *)part->data + (size_t)index * part->stride;
}

/* What lies together of a matrix times m rows. */
static void multiply_part(const struct mk_mat *mat, struct mk_mm mm, int n_decode)
{
    int m = mm.m;
    mm.m = max_int(0, min_int(m, n_decode));
    if (mm.m > 0)
        mat->gemv(&mm);
    if (mm.m == m)
        return;
    if (mm.xrow)
        mm.xrow += mm.m;
    else
        mm.x += (size_t)mm.m * (size_t)mm.ldx;
    if (mm.yrow)
        mm.yrow += mm.m;
    else
        mm.y += (size_t)mm.m * (size_t)mm.ldy;
    mm.m = m - mm.m;
    mat->gemm(&mm);
}

/* Matrix `index` of w times m rows, of which the first n_decode are of answers; the caller fills in
 * x, y, tile and options. */
static void multiply(const struct cpu *cpu, int worker, const struct weight *w, int index,
                     struct mk_mm mm, int n_decode)
{
    mm.k = w->k;
    mm.tmp = cpu->scratch.worker[worker].mm;
    for (int n0 = mm.n0, n1 = mm.n1, first, end; n0 < n1; n0 = end) {
        struct mk_mm part = mm;
        part.w = find_rows(w, index, n0, &first, &end);
        part.n = end - first;
        end = min_int(end, n1);
        part.y += first;
        part.n0 = n0 - first;
        part.n1 = end - first;
        multiply_part(cpu->mk.mat[w->type], part, n_decode);
    }
}

static void norm_tile(const struct job *job, const struct buf *x, const struct weight *norm,
                      float eps, int tile)
{
    const struct scratch *s = &job->cpu->scratch;
    int end = min_int((tile + 1) * NORM_ROWS, job->rows->n);
    for (int i = tile * NORM_ROWS; i < end; i++)
        job->cpu->mk.rms_norm(s->h + (size_t)i * (size_t)norm->k,
                              x->data + (size_t)i * (size_t)norm->k, norm->data, norm->k, eps);
}

/* ------------------------------------------------------------------ begin */

static void begin_rows(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    const struct op_begin *op = &job->op->begin;
    const struct mk_mat *mat = job->cpu->mk.mat[op->embedding.type];
    int hidden = op->embedding.k;
    int end = min_int((tile + 1) * NORM_ROWS, job->rows->n);
    for (int i = tile * NORM_ROWS; i < end; i++) {
        int first, end;
        const void *rows = find_rows(&op->embedding, 0, job->rows->token[i], &first, &end);
        mat->row(op->x->data + (size_t)i * (size_t)hidden, rows, end - first, hidden,
                 job->rows->token[i] - first);
        mk_rope_table(op->frequency, op->rope, job->rows->position[i],
                      op->cs->data + (size_t)i * (size_t)op->rope);
    }
}

static void run_begin(struct job *job)
{
    run(job, begin_rows, ceil_div(job->rows->n, NORM_ROWS));
}

/* ------------------------------------------------------------------ latent attention */

static void mla_norm(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    norm_tile(job, job->op->mla.x, &job->op->mla.norm, job->op->mla.eps, tile);
}

/* One tile of y = h · wᵀ for all rows. */
static void project(const struct job *job, int worker, const struct weight *w, const float *x,
                    float *y, bool add, int tile)
{
    multiply(job->cpu, worker, w, 0,
             (struct mk_mm){
                 .x = x,
                 .y = y,
                 .m = job->rows->n,
                 .ldx = w->k,
                 .ldy = w->n,
                 .n0 = tile * job->tile_n,
                 .n1 = min_int((tile + 1) * job->tile_n, w->n),
                 .add = add,
             },
             job->rows->n_decode);
}

static void mla_down(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    struct scratch *s = &job->cpu->scratch;
    if (tile >= job->n_tiles)
        project(job, worker, &op->kv_a, s->h, s->kv, false, tile - job->n_tiles);
    else if (op->q_rank)
        project(job, worker, &op->q_a, s->h, s->q_latent, false, tile);
    else
        project(job, worker, &op->q_b, s->h, s->q, false, tile);
}

static void *cached_row(const struct op_mla *op, enum mk_type type, void *const *pages,
                        int position)
{
    size_t bytes = mk_row_bytes(type, (size_t)(op->latent + op->rope));
    return (char *)pages[position / op->page_tokens] + op->plane +
           (size_t)(position % op->page_tokens) * bytes;
}

static void mla_store(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    const struct mk *mk = &job->cpu->mk;
    struct scratch *s = &job->cpu->scratch;
    int width = op->latent + op->rope;
    int end = min_int((tile + 1) * NORM_ROWS, job->rows->n);
    for (int i = tile * NORM_ROWS; i < end; i++) {
        float *kv = s->kv + (size_t)i * (size_t)width;
        mk->rms_norm(kv, kv, op->kv_a_norm.data, op->latent, op->eps);
        mk->rope(kv + op->latent, op->cs->data + (size_t)i * (size_t)op->rope, op->rope);
        void *row =
            cached_row(op, job->cpu->place.cache_type, job->rows->page[i], job->rows->position[i]);
        mk->store(row, job->cpu->place.cache_type, kv, width);
        if (op->q_rank) {
            float *q = s->q_latent + (size_t)i * (size_t)op->q_rank;
            mk->rms_norm(q, q, op->q_a_norm.data, op->q_rank, op->eps);
        }
    }
}

static void mla_query(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    struct scratch *s = &job->cpu->scratch;
    project(job, worker, &job->op->mla.q_b, s->q_latent, s->q, false, tile);
}

/* The pages of a row's sequence as this layer sees them. */
static void look_at_pages(const struct job *job, struct worker_scratch *w, int row, int n)
{
    const struct op_mla *op = &job->op->mla;
    for (int p = 0; p < ceil_div(n, op->page_tokens); p++)
        w->page[p] = (const char *)job->rows->page[row][p] + op->plane;
}

/* Head `head` of rows [first, first + m): k_b into the queries, at every `stride`-th of
 * w->absorbed. */
static void absorb(const struct job *job, int worker, int head, int first, int m, float *absorbed,
                   int stride)
{
    const struct op_mla *op = &job->op->mla;
    const struct cpu *cpu = job->cpu;
    int ldq = op->heads * (op->nope + op->rope);
    int width = op->latent + op->rope;
    const float *q =
        cpu->scratch.q + (size_t)first * (size_t)ldq + (size_t)head * (size_t)(op->nope + op->rope);
    multiply(cpu, worker, &op->k_b, head,
             (struct mk_mm){
                 .x = q,
                 .y = absorbed,
                 .m = m,
                 .ldx = ldq,
                 .ldy = stride,
                 .n1 = op->latent,
             },
             job->rows->n_decode - first);
    for (int i = 0; i < m; i++, absorbed += stride, q += ldq) {
        float *rotated = absorbed + op->latent;
        memcpy(rotated, q + op->nope, (size_t)op->rope * sizeof *q);
        cpu->mk.rope(rotated, op->cs->data + (size_t)(first + i) * (size_t)op->rope, op->rope);
        for (int c = 0; c < width; c++)
            absorbed[c] *= op->scale;
    }
}

/* What the head's rows found leaves the latent through v_b. */
static void reveal(const struct job *job, int worker, int head, int first, int m,
                   const float *latent, int stride)
{
    const struct op_mla *op = &job->op->mla;
    int ldo = op->heads * op->value;
    multiply(job->cpu, worker, &op->v_b, head,
             (struct mk_mm){
                 .x = latent,
                 .y = job->cpu->scratch.o + (size_t)first * (size_t)ldo +
                      (size_t)head * (size_t)op->value,
                 .m = m,
                 .ldx = stride,
                 .ldy = ldo,
                 .n1 = op->value,
             },
             job->rows->n_decode - first);
}

/* Tokens [from, to) of a row's past, for heads [head, head + heads). */
static struct mk_attend look_back(const struct job *job, int worker, int row, int from, int to)
{
    const struct op_mla *op = &job->op->mla;
    struct worker_scratch *w = &job->cpu->scratch.worker[worker];
    look_at_pages(job, w, row, to);
    return (struct mk_attend){
        .page = w->page,
        .tmp = w->attend,
        .type = job->cpu->place.cache_type,
        .ldq = op->latent + op->rope,
        .ldo = op->latent,
        .latent = op->latent,
        .rope = op->rope,
        .page_tokens = op->page_tokens,
        .from = from,
        .to = to,
    };
}

/* ---- rows of answers: absorb | attend to parts of the past | merge and reveal */

/* Tokens of a part of the past: whole pages. */
static int part_tokens(const struct op_mla *op)
{
    return ceil_div(MK_ATTEND_PART, op->page_tokens) * op->page_tokens;
}

static int parts_of(const struct job *job, int row)
{
    return ceil_div(job->rows->position[row] + 1, part_tokens(&job->op->mla));
}

static void absorb_head(const struct job *job, int worker, int head)
{
    const struct op_mla *op = &job->op->mla;
    const struct block *group = &job->cpu->scratch.answers;
    int width = op->latent + op->rope;
    absorb(job, worker, head, group->first, group->m,
           job->cpu->scratch.absorbed + (size_t)head * (size_t)width, op->heads * width);
}

/* Part `part` of a row of the group, for some heads. */
static void attend_part(const struct job *job, int worker, int i, int part, int head, int heads)
{
    const struct op_mla *op = &job->op->mla;
    const struct scratch *s = &job->cpu->scratch;
    int row = s->answers.first + i, tokens = part_tokens(op);
    int to = min_int((part + 1) * tokens, job->rows->position[row] + 1);
    size_t slot = (size_t)(s->part_start[i] + part) * (size_t)op->heads + (size_t)head;
    struct mk_attend a = look_back(job, worker, row, part * tokens, to);
    a.q = s->absorbed + (size_t)(i * op->heads + head) * (size_t)a.ldq;
    a.n_heads = heads;
    a.out = s->part + slot * (size_t)op->latent;
    a.peak = s->peak + slot;
    job->cpu->mk.attend(&a);
}

static void reveal_head(const struct job *job, int worker, int head)
{
    const struct op_mla *op = &job->op->mla;
    const struct scratch *s = &job->cpu->scratch;
    float *latent = s->worker[worker].latent;
    for (int i = 0; i < s->answers.m; i++) {
        size_t slot = (size_t)s->part_start[i] * (size_t)op->heads + (size_t)head;
        job->cpu->mk.merge(&(struct mk_merge){
            .part = s->part + slot * (size_t)op->latent,
            .peak = s->peak + slot,
            .out = latent + (size_t)i * (size_t)op->latent,
            .part_stride = (size_t)op->heads * (size_t)op->latent,
            .peak_stride = (size_t)op->heads,
            .n = s->part_start[i + 1] - s->part_start[i],
            .latent = op->latent,
        });
    }
    reveal(job, worker, head, s->answers.first, s->answers.m, latent, op->latent);
}

/* All three for some heads, where nobody's past is longer than a part. */
static void mla_answers(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    int first = tile * job->tile_n, end = min_int(first + job->tile_n, job->op->mla.heads);
    for (int head = first; head < end; head++)
        absorb_head(job, worker, head);
    for (int i = 0; i < job->cpu->scratch.answers.m; i++)
        attend_part(job, worker, i, 0, first, end - first);
    for (int head = first; head < end; head++)
        reveal_head(job, worker, head);
}

static void mla_absorb(void *arg, int worker, int tile)
{
    absorb_head(arg, worker, tile);
}

/* A part of one row's past for tile_n heads. */
static void mla_parts(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct scratch *s = &job->cpu->scratch;
    int slot = tile / job->n_tiles, head = tile % job->n_tiles * job->tile_n, i = 0;
    while (s->part_start[i + 1] <= slot)
        i++;
    attend_part(job, worker, i, slot - s->part_start[i], head,
                min_int(job->tile_n, job->op->mla.heads - head));
}

static void mla_reveal(void *arg, int worker, int tile)
{
    reveal_head(arg, worker, tile);
}

/* The next rows of answers, as many as there is room for; how many. */
static int next_answers(const struct job *job, int first)
{
    struct scratch *s = &job->cpu->scratch;
    int m = 0, slots = 0;
    for (; first + m < job->rows->n_decode && m < SCRATCH_ANSWERS; m++) {
        int parts = parts_of(job, first + m);
        if (m && slots + parts > s->n_slots)
            break;
        s->part_start[m] = slots;
        slots += parts;
    }
    s->part_start[m] = slots;
    s->answers = (struct block){.first = first, .m = m};
    return m;
}

/* Heads of a tile, of a row's part: together they read the cache once, but every worker wants
 * some. */
static int heads_together(const struct job *job, int parts)
{
    int heads = job->op->mla.heads, together = MK_ATTEND_ROWS;
    while (together > 1 && ceil_div(heads, together) * parts < job->cpu->place.threads)
        together /= 2;
    return together;
}

static void run_answers(struct job *job)
{
    int heads = job->op->mla.heads;
    const struct scratch *s = &job->cpu->scratch;
    for (int first = 0, m; first < job->rows->n_decode; first += m) {
        m = next_answers(job, first);
        int slots = s->part_start[m];
        if (slots == m && heads >= job->cpu->place.threads) {
            job->tile_n = heads_together(job, 1);
            run(job, mla_answers, ceil_div(heads, job->tile_n));
            continue;
        }
        run(job, mla_absorb, heads);
        job->tile_n = heads_together(job, slots);
        job->n_tiles = ceil_div(heads, job->tile_n);
        run(job, mla_parts, slots * job->n_tiles);
        run(job, mla_reveal, heads);
    }
}

/* ---- rows of prompts */

/* `heads` heads of rows [first, first + m), row by row. */
static void attend_heads(const struct job *job, int worker, int head, int heads, int first, int m)
{
    const struct op_mla *op = &job->op->mla;
    const struct cpu *cpu = job->cpu;
    struct worker_scratch *w = &cpu->scratch.worker[worker];
    int width = op->latent + op->rope;
    for (int h = 0; h < heads; h++)
        absorb(job, worker, head + h, first, m, w->absorbed + (size_t)h * (size_t)width,
               heads * width);
    for (int i = 0; i < m; i++) {
        float *latent = w->latent + (size_t)i * (size_t)(heads * op->latent);
        struct mk_peak peak[ATTEND_ROWS];
        struct mk_attend a =
            look_back(job, worker, first + i, 0, job->rows->position[first + i] + 1);
        a.q = w->absorbed + (size_t)i * (size_t)(heads * width);
        a.n_heads = heads;
        a.out = latent;
        a.peak = peak;
        cpu->mk.attend(&a);
        for (int h = 0; h < heads; h++, latent += op->latent)
            cpu->mk.merge(&(struct mk_merge){
                .part = latent, .peak = &peak[h], .out = latent, .n = 1, .latent = op->latent});
    }
    for (int h = 0; h < heads; h++)
        reveal(job, worker, head + h, first, m, w->latent + (size_t)h * (size_t)op->latent,
               heads * op->latent);
}

/* One head of rows [first, first + m), together. */
static void attend_prompt(const struct job *job, int worker, int head, int first, int m)
{
    const struct op_mla *op = &job->op->mla;
    const struct cpu *cpu = job->cpu;
    struct worker_scratch *w = &cpu->scratch.worker[worker];
    int32_t n[MK_ATTEND_ROWS];
    for (int i = 0; i < m; i++)
        n[i] = job->rows->position[first + i] + 1;
    look_at_pages(job, w, first, n[m - 1]);
    absorb(job, worker, head, first, m, w->absorbed, op->latent + op->rope);
    cpu->mk.attend_rows(&(struct mk_attend_rows){
        .q = w->absorbed,
        .n = n,
        .page = w->page,
        .out = w->latent,
        .tmp = w->attend,
        .m = m,
        .ldq = op->latent + op->rope,
        .ldo = op->latent,
        .latent = op->latent,
        .rope = op->rope,
        .page_tokens = op->page_tokens,
    });
    reveal(job, worker, head, first, m, w->latent, op->latent);
}

/* First the last blocks of rows, which see the most. */
static void mla_prompts(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    const struct scratch *s = &job->cpu->scratch;
    const struct block *block = &s->block[s->n_blocks - 1 - tile / job->n_tiles];
    int head = tile % job->n_tiles * job->tile_n;
    if (job->cpu->mk.attend_rows)
        attend_prompt(job, worker, head, block->first, block->m);
    else
        attend_heads(job, worker, head, min_int(job->tile_n, op->heads - head), block->first,
                     block->m);
}

/* Cuts the step's rows of prompts into blocks of neighbours of one prompt. A block's queries of a
 * tile are at most ATTEND_ROWS. */
static void cut_blocks(struct job *job)
{
    const struct rows *rows = job->rows;
    struct scratch *s = &job->cpu->scratch;
    int most = ATTEND_ROWS / job->tile_n;
    s->n_blocks = 0;
    for (int i = rows->n_decode, m; i < rows->n; i += m) {
        for (m = 1; m < most && i + m < rows->n && rows->page[i + m] == rows->page[i];)
            m++;
        s->block[s->n_blocks++] = (struct block){.first = i, .m = m};
    }
}

static void run_prompts(struct job *job)
{
    enum { HEADS_AT_ONCE = 4 }; /* more don't fit into registers */
    job->tile_n = job->cpu->mk.attend_rows ? 1 : HEADS_AT_ONCE;
    job->n_tiles = ceil_div(job->op->mla.heads, job->tile_n);
    cut_blocks(job);
    run(job, mla_prompts, job->n_tiles * job->cpu->scratch.n_blocks);
}

static void mla_out(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    project(job, worker, &op->out, job->cpu->scratch.o, op->x->data, true, tile);
}

static void run_mla(struct job *job)
{
    const struct op_mla *op = &job->op->mla;
    int row_tiles = ceil_div(job->rows->n, NORM_ROWS);
    run(job, mla_norm, row_tiles);

    int n_query = op->q_rank ? op->q_a.n : op->q_b.n;
    job->tile_n = tile_rows(job->cpu, n_query + op->kv_a.n);
    job->n_tiles = ceil_div(n_query, job->tile_n);
    run(job, mla_down, job->n_tiles + ceil_div(op->kv_a.n, job->tile_n));

    run(job, mla_store, row_tiles);
    if (op->q_rank) {
        job->tile_n = tile_rows(job->cpu, op->q_b.n);
        run(job, mla_query, ceil_div(op->q_b.n, job->tile_n));
    }
    run_answers(job);
    run_prompts(job);
    job->tile_n = tile_rows(job->cpu, op->out.n);
    run(job, mla_out, ceil_div(op->out.n, job->tile_n));
}

/* ------------------------------------------------------------------ feed forward */

/* hidden[n0, n1) = silu(gate · h) ⊙ (up · h) for m rows of h, then times each row's weight. */
static void gate_up(const struct job *job, int worker, const struct weight *gate,
                    const struct weight *up, int index, const int32_t *rows,
                    const float *row_weight, int m, int n_decode, float *hidden, float *other,
                    int n0, int n1)
{
    struct cpu *cpu = job->cpu;
    struct mk_mm mm = {
        .x = cpu->scratch.h,
        .y = hidden,
        .xrow = rows,
        .m = m,
        .ldx = gate->k,
        .ldy = gate->n,
        .n0 = n0,
        .n1 = n1,
    };
    multiply(cpu, worker, gate, index, mm, n_decode);
    mm.y = other;
    multiply(cpu, worker, up, index, mm, n_decode);
    for (int i = 0; i < m; i++) {
        float *g = hidden + (size_t)i * (size_t)gate->n + n0;
        cpu->mk.swiglu(g, g, other + (size_t)i * (size_t)gate->n + n0, n1 - n0);
        if (row_weight)
            for (int j = 0; j < n1 - n0; j++)
                g[j] *= row_weight[i];
    }
}

static void ffn_norm(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    norm_tile(job, job->op->ffn.x, &job->op->ffn.norm, job->op->ffn.eps, tile);
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
    project(job, worker, &op->down, job->cpu->scratch.hidden, op->x->data, true, tile);
}

static void run_ffn(struct job *job)
{
    const struct op_ffn *op = &job->op->ffn;
    run(job, ffn_norm, ceil_div(job->rows->n, NORM_ROWS));
    job->tile_n = tile_rows(job->cpu, op->gate.n);
    run(job, ffn_gate_up, ceil_div(op->gate.n, job->tile_n));
    job->tile_n = tile_rows(job->cpu, op->down.n);
    run(job, ffn_down, ceil_div(op->down.n, job->tile_n));
}

/* ------------------------------------------------------------------ mixture of experts */

static void moe_route(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_moe *op = &job->op->moe;
    const struct cpu *cpu = job->cpu;
    const struct scratch *s = &cpu->scratch;
    norm_tile(job, op->x, &op->norm, op->eps, tile);
    int first = tile * NORM_ROWS, n_experts = op->route.n_experts, n_used = op->route.n_used;
    int m = min_int(NORM_ROWS, job->rows->n - first);
    float *logits = s->worker[worker].router;
    multiply(cpu, worker, &op->router, 0,
             (struct mk_mm){
                 .x = s->h + (size_t)first * (size_t)op->router.k,
                 .y = logits,
                 .m = m,
                 .ldx = op->router.k,
                 .ldy = n_experts,
                 .n1 = n_experts,
             },
             max_int(job->rows->n_decode - first, 0));
    for (int i = 0; i < m; i++)
        cpu->mk.route(&op->route, logits + (size_t)i * (size_t)n_experts,
                      s->chosen + (size_t)(first + i) * (size_t)n_used,
                      s->chosen_weight + (size_t)(first + i) * (size_t)n_used,
                      logits + (size_t)NORM_ROWS * (size_t)n_experts);
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
        if (s->expert_start[e + 1])
            s->active[s->n_active++] = e;
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

static void moe_gate_up(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    if (tile >= s->n_active * job->n_tiles) {
        tile -= s->n_active * job->n_tiles;
        gate_up(job, worker, &op->shared_gate, &op->shared_up, 0, NULL, NULL, job->rows->n,
                job->rows->n_decode, s->shared_hidden, s->shared_other, tile * job->tile_n,
                min_int((tile + 1) * job->tile_n, op->shared_gate.n));
        return;
    }
    int expert = s->active[tile / job->n_tiles];
    int n0 = tile % job->n_tiles * job->tile_n;
    int start = s->expert_start[expert], m = s->expert_start[expert + 1] - start;
    size_t at = (size_t)start * (size_t)op->gate.n;
    gate_up(job, worker, &op->gate, &op->up, expert, s->slot_row + start, s->slot_weight + start, m,
            expert_decode(job, expert), s->hidden + at, s->other + at, n0,
            min_int(n0 + job->tile_n, op->gate.n));
}

/* A block of output columns for all experts in ascending order, then the shared one. */
static void moe_down(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
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
        mm.x = s->hidden + (size_t)start * (size_t)op->down.k;
        mm.yrow = s->slot_row + start;
        mm.m = s->expert_start[expert + 1] - start;
        multiply(job->cpu, worker, &op->down, expert, mm, expert_decode(job, expert));
    }
    if (op->shared_down.data) {
        mm.x = s->shared_hidden;
        mm.yrow = NULL;
        mm.m = job->rows->n;
        mm.ldx = op->shared_down.k;
        multiply(job->cpu, worker, &op->shared_down, 0, mm, job->rows->n_decode);
    }
}

static void run_moe(struct job *job)
{
    const struct op_moe *op = &job->op->moe;
    struct scratch *s = &job->cpu->scratch;
    run(job, moe_route, ceil_div(job->rows->n, NORM_ROWS));
    sort_by_expert(op, s, job->rows->n);

    int shared_n = op->shared_gate.data ? op->shared_gate.n : 0;
    job->tile_n = tile_rows(job->cpu, s->n_active * op->gate.n + shared_n);
    job->n_tiles = ceil_div(op->gate.n, job->tile_n);
    run(job, moe_gate_up, s->n_active * job->n_tiles + ceil_div(shared_n, job->tile_n));
    job->tile_n = tile_rows(job->cpu, op->down.n);
    run(job, moe_down, ceil_div(op->down.n, job->tile_n));
}

/* ------------------------------------------------------------------ head */

static void head_norm(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    const struct op_head *op = &job->op->head;
    size_t hidden = (size_t)op->norm.k;
    job->cpu->mk.rms_norm(job->cpu->scratch.h + (size_t)tile * hidden,
                          op->x->data + (size_t)job->rows->wanted[tile] * hidden, op->norm.data,
                          op->norm.k, op->eps);
}

static void head_logits(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_head *op = &job->op->head;
    multiply(job->cpu, worker, &op->head, 0,
             (struct mk_mm){
                 .x = job->cpu->scratch.h,
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
    if (job->rows->n_wanted == 0)
        return;
    run(job, head_norm, job->rows->n_wanted);
    job->tile_n = tile_rows(job->cpu, job->op->head.head.n);
    run(job, head_logits, ceil_div(job->op->head.head.n, job->tile_n));
}

/* ------------------------------------------------------------------ the place */

static void (*const run_op[])(struct job *job) = {
    [OP_BEGIN] = run_begin, [OP_MLA] = run_mla,   [OP_FFN] = run_ffn,
    [OP_MOE] = run_moe,     [OP_HEAD] = run_head,
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

static int cpu_prepare(struct place *place, const struct op *ops, int n_ops, int max_rows,
                       struct err *err)
{
    struct cpu *cpu = (struct cpu *)place;
    return scratch_prepare(&cpu->scratch, ops, n_ops, max_rows, place->threads, ATTEND_ROWS,
                           NORM_ROWS, err);
}

static size_t cpu_scratch_bytes(const struct place *place)
{
    return ((const struct cpu *)place)->scratch.bytes;
}

static size_t cpu_pack_size(const struct place *place, const struct mat *mat)
{
    const struct cpu *cpu = (const struct cpu *)place;
    return cpu->mk.mat[mat->type]->pack_size(mat->n, mat->k);
}

static void cpu_pack(struct place *place, const struct mat *rows, const void *src, void *dst)
{
    struct cpu *cpu = (struct cpu *)place;
    cpu->mk.mat[rows->type]->pack(dst, src, rows->n, rows->k);
}

static bool cpu_is_plain(const struct place *place, enum mk_type type)
{
    return ((const struct cpu *)place)->mk.mat[type]->pack_id == mk_type_info[type].gguf_id;
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

    r = read_topo(spec->cores, &cpu->topo, err);
    if (r < 0)
        return r;
    cpu->place = (struct place){
        .ops = &place_cpu,
        .cache_type = cpu->mk.attend_rows ? MK_BF16 : MK_F16, /* tiles take bf16 as it lies */
        .threads = spec->threads > 0 ? spec->threads : cpu->topo.n_workers,
        .isa = cpu->mk.isa,
        .attention = "absorbed",
    };
    cpu->place.node = cpu->node;
    cpu->place.n_nodes = plan_node_rooms(&cpu->topo, cpu->place.threads, spec->nodes, cpu->node);
    r = pool_new(&cpu->topo, cpu->place.threads, &cpu->pool, err);
    if (r < 0)
        return r;
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
    .describe = cpu_describe,
};
